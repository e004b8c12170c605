"""The code of today reads what the version before the rearranged packages left, and means the same by it."""

import json
import re
import shutil
import sqlite3
from contextlib import closing
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from hostenv_node.comin import spool
from hostenv_node.comin.generation import Generation, Slice
from hostenv_node.config import Config as NodeConfig
from hostenv_node.environment.entry import parse_environment
from hostenv_node.environment.layout import Layout
from hostenv_node.jobs.decide import next_step, predecessors, step_of_job
from hostenv_node.jobs.job_status import JobSnapshot, Row
from hostenv_node.jobs.journal_store import JournalStore
from hostenv_node.render.files import render
from hostenv_node.runtime.freeze import Freezes
from hostenv_node.runtime.leftovers import Leftovers
from hostenv_node.runtime.record import Phase, Records
from hostenv_provider.config import Config
from hostenv_provider.disks.free_space import Disks
from hostenv_provider.plan.lock_file import Input
from hostenv_provider.plan.plan import Plan, State
from hostenv_provider.rules.intents import derive_actions
from hostenv_provider.secrets import webhook_secrets
from hostenv_provider.secrets.tokens import TokenFile
from hostenv_provider.store.store import Store
from hostenv_provider.web.api import Api
from hostenv_provider.web.messages import HttpRequest

RECORDED = Path(__file__).parent / "recorded"
RENAMED = {"Revert": "SwitchBack"}
"""What steps are called now, and were called then."""


def read(path: str) -> Any:
    return json.loads((RECORDED / path).read_text())


@dataclass(frozen=True)
class Published:
    """Commits are numbers here, as in the recorded answers, and older ones are ancestors."""

    plan: Plan

    def published_plan(self) -> Plan:
        return self.plan

    def published_inputs(self) -> dict[str, Input]:
        return {}

    def is_ancestor(self, *commits: str) -> bool:
        older, newer = commits[-2:]
        return int(older, 16) <= int(newer, 16)


class Before:
    """A copy of the recorded data folder."""

    def __init__(self, folder: Path) -> None:
        shutil.copytree(RECORDED / "provider/data", folder)
        self.database = folder / "provider.sqlite3"
        with closing(sqlite3.connect(self.database)) as connection:
            connection.executescript((folder / "provider.sql").read_text())
        self.config = Config(folder, folder / "socket", "hostenv-provider", "http://provider")
        self.answers = read("provider/answers.json")
        self.plan = Plan.from_json(json.loads((folder / "plan.json").read_text()))

    def store(self) -> Store:
        return Store(self.database, lambda: datetime.fromisoformat(self.answers["now"]))

    def ask(self, store: Store, asked: dict[str, Any]) -> dict[str, Any]:
        """The question with the answer of today."""
        published = Published(self.plan)
        api = Api(self.config, store, published, published, Disks(self.config), lambda: None)
        query, headers = asked["query"], {}
        if "node" in query:
            headers["authorization"] = f"Bearer {TokenFile(self.config).show(query['node'])}"
        answer = api.answer(HttpRequest("GET", asked["path"], query, headers))
        return {"path": asked["path"], "query": query, "status": answer.status, "document": answer.document}

    def dump(self) -> list[str]:
        with closing(sqlite3.connect(self.database)) as connection:
            version = connection.execute("PRAGMA user_version").fetchone()[0]
            return [str(version), *connection.iterdump()]


@pytest.fixture
def before(tmp_path: Path) -> Before:
    return Before(tmp_path / "data")


def test_the_provider_answers_as_before(before: Before) -> None:
    store = before.store()
    for moment in ("before", "after"):
        if moment == "after":
            store.recover()
        for recorded in before.answers[moment]:
            assert before.ask(store, recorded) == recorded
    store.close()


def test_recorded_jobs_are_in_every_state_and_rows_of_every_status(before: Before) -> None:
    jobs = before.answers["before"][0]["document"]["jobs"]
    states = {"queued", "running", "waiting", "succeeded", "failed", "superseded"}
    assert {job["state"] for job in jobs} == states
    rows = {action["status"] for job in jobs for action in job["actions"]}
    assert rows == {"queued", "running", "success", "failed", "timed_out"}
    assert any("cancelled" in (job["reason"] or "") for job in jobs)


def test_the_providers_rules_say_as_before(before: Before) -> None:
    store, recorded = before.store(), before.answers["rules"]
    actions = {}
    for project in recorded["actions"]:
        found = derive_actions(
            store.deployed(project), before.plan.of_project(project), store.stale(project), {}, frozenset()
        )
        actions[project] = {node: [each.to_json() for each in found[node]] for node in sorted(found)}
    assert actions == recorded["actions"]
    assert [[each.job_id, each.user] for each in store.verifiable()] == recorded["verifiable"]
    assert [job.job_id for job in store.unpushed()] == recorded["unpushed"]
    assert [list(each) for each in store.accounts()] == recorded["accounts"]
    nodes = before.plan.nodes
    assert {node: [asdict(each) for each in store.holdings(node)] for node in nodes} == recorded["holdings"]
    assert {node: store.follows_provider(node) for node in nodes} == recorded["follows"]
    store.close()


def test_the_tables_are_brought_up_to_date_once(before: Before) -> None:
    old = before.dump()
    before.store().close()
    upgraded = before.dump()
    assert upgraded[0] > old[0]
    before.store().close()
    assert before.dump() == upgraded


def test_plan_and_state_are_written_as_they_were_read() -> None:
    for name, kind in (("plan", Plan), ("state", State)):
        document = read(f"provider/data/{name}.json")
        assert kind.from_json(document).to_json() == document


def test_tokens_and_webhook_secrets_are_read(before: Before) -> None:
    tokens, recorded = TokenFile(before.config), read("provider/data/tokens.json")
    (former,) = read("provider/data/tokens.previous.json")["node-b"]
    assert tokens.is_valid("node-b", former)
    assert tokens.is_valid("node-a", recorded["node-a"])
    assert not tokens.is_valid("node-b", recorded["node-a"])
    secret = webhook_secrets.read(before.config, "demo__drupal")
    recorded = read("provider/data/webhooks/demo__drupal.json")
    assert secret is not None
    assert (secret.value, list(secret.previous)) == (recorded["secret"], recorded["previous"])
    shop = webhook_secrets.read(before.config, "demo__shop")
    assert shop is not None
    assert shop.value is None


@pytest.fixture
def node() -> NodeConfig:
    config = NodeConfig.load(RECORDED / "node/node.json", {})
    return replace(config, state_dir=RECORDED / "node/state")


def snapshot(job: str, state: str, rows: list[list[str]]) -> JobSnapshot:
    return JobSnapshot(job, state, tuple(Row(*row) for row in rows))


def shown(step: Any) -> str:
    name = type(step).__name__
    return " ".join([RENAMED.get(name, name), *(str(value) for value in asdict(step).values())])


def without_types(text: str) -> str:
    """The file but for its list of media types, which is nginx' own since then."""
    return re.sub(r"(  include /etc/nginx/mime\.types;\n)?  types \{.*?\}\n", "", text, flags=re.DOTALL)


def test_a_node_takes_the_same_next_step_from_each_journal(node: NodeConfig) -> None:
    recorded, journals = read("node/answers.json"), JournalStore(node.jobs_dir).load()
    steps = {
        each.job_id: [shown(step_of_job(each, snapshot(each.job_id, *case))) for case in recorded["cases"]]
        for each in journals
    }
    assert steps == recorded["steps"]
    first = journals[0]
    assert predecessors(first, journals) == []
    step = next_step(first, snapshot(first.job_id, *recorded["cases"][0]))
    assert [first.job_id, shown(step)] == recorded["first"]


def test_journals_and_records_are_written_as_they_were_read(node: NodeConfig) -> None:
    for journal in JournalStore(node.jobs_dir).load():
        assert journal.to_json() == read(f"node/state/jobs/{journal.job_id}.json")
    records = Records(node.environments_dir)
    phases = set()
    for user in records.users():
        record = records.get(user)
        assert record is not None
        assert record.to_json() == read(f"node/state/environments/{user}.json")
        phases.add(record.phase)
    assert phases == set(Phase)


def test_records_render_to_the_same_files(node: NodeConfig) -> None:
    records = Records(node.environments_dir)
    for user, before in read("node/answers.json")["rendered"].items():
        record = records.get(user)
        assert record is not None
        home, freeze = Path("/home") / user, Path("/var/lib/hostenv/freeze") / user
        layout = Layout(user, record.uid, record.codebase, home, freeze)
        files = render(parse_environment(record.applied.entry), layout, node).files
        now = {file.path: [file.content, file.mode] for file in files}
        assert now.keys() == before.keys()
        for path, (content, mode) in now.items():
            # Since then a backup copies the database's files, and MariaDB keeps a binary log.
            if "/backup-" not in path and not path.endswith("my.cnf"):
                old, old_mode = before[path]
                assert (without_types(content), mode) == (without_types(old), old_mode), path


def test_the_rest_of_a_nodes_state_is_read(node: NodeConfig) -> None:
    (frozen,) = node.freeze_dir.iterdir()
    assert Freezes(node.freeze_dir).holder(frozen.name) == frozen.read_text().strip()
    (left,) = node.leftovers_dir.iterdir()
    leftovers, noted = Leftovers(node.leftovers_dir), json.loads(left.read_text())
    assert leftovers.reason(left.stem) == noted["reason"]
    assert leftovers.rest(left.stem, noted["triedAt"] + 1)
    recorded, generation = read("node/state/generation.json"), Generation.recorded(node)
    assert generation is not None
    assert (generation.commit, str(generation.toplevel), generation.late) == (
        recorded["commit"],
        recorded["toplevel"],
        recorded["late"],
    )
    found = Slice.recorded(node)
    assert found is not None
    assert found.users() == read("node/state/users.json")
    assert [(each.deployment.commit[0], each.deployment.failure is None) for each in spool.entries(node)] == [
        ("c", True),
        ("d", False),
    ]


def test_a_configuration_of_before_is_taken(node: NodeConfig) -> None:
    assert "nix" in node.tools
    assert node.mime_types == Path("/etc/nginx/mime.types")
