import json
import os
import pwd
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from boxes import boxes
from hostenv_provider.cli import build_parser, completion, main
from hostenv_provider.config import PATH_VARIABLE, Config
from hostenv_provider.repository.repository import Repository

GIT = shutil.which("git") or "git"
NIX = shutil.which("nix")
INIT = ["init", "--hostname", "demo.hostenv.test", "--node", "node-a=192.0.2.1", "--node", "node-b=192.0.2.2"]
COMMAND_NAMES = list(completion.commands(build_parser()))

needs_nix = pytest.mark.skipif(NIX is None, reason="nix is not installed")


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    folder = tmp_path / "data"
    folder.mkdir()
    document = {
        "dataDir": str(folder),
        "socket": str(tmp_path / "socket"),
        "user": pwd.getpwuid(os.geteuid()).pw_name,
        "publicUrl": "http://provider",
        "sourceFolders": [str(tmp_path)],
        "tools": {"git": GIT, "nix": NIX or "/nonexistent"},
    }
    (tmp_path / "provider.json").write_text(json.dumps(document))
    monkeypatch.setenv(PATH_VARIABLE, str(tmp_path / "provider.json"))
    monkeypatch.setenv("HOME", "/nonexistent")
    monkeypatch.setattr(Config, "evaluation_socket", tmp_path / "evaluate.sock")
    with boxes(tmp_path / "evaluate.sock", {"nix": NIX or "/nonexistent"}):
        yield folder


@pytest.fixture
def project(tmp_path: Path) -> Path:
    folder = tmp_path / "project"
    folder.mkdir()
    main = '{ type = "production"; application.name = "php"; virtualHosts."demo.hostenv.local" = { }; }'
    (folder / "flake.nix").write_text(
        f"{{ outputs = _: {{ lib.hostenv = rec {{ x86_64-linux.environments.main = {main};"
        " aarch64-linux = x86_64-linux; }; }; }"
    )
    commit_all(folder)
    return folder


def commit_all(folder: Path) -> None:
    git = [GIT, "-C", str(folder), "-c", "user.name=x", "-c", "user.email=x@localhost"]
    subprocess.run([*git, "init", "--quiet", "--initial-branch=main"], check=True)
    subprocess.run([*git, "add", "--all"], check=True)
    subprocess.run([*git, "commit", "--quiet", "-m", "x"], check=True)


def error_line(capsys: pytest.CaptureFixture[str]) -> str:
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("hostenv-provider: ")
    return line


def snapshot(folder: Path) -> dict[str, bytes]:
    """What a command could change for the service: not Git's bookkeeping, nor caches."""
    skipped = (".git", ".cache", "repo.lock")
    return {
        str(path): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
        and path.stat().st_size
        and not any(part in skipped for part in path.relative_to(folder).parts)
    }


def test_init_then_plan_is_up_to_date(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*INIT, "--node-for", "production=node-b"]) == 0
    assert main(["plan"]) == 0

    assert "up to date" in capsys.readouterr().out
    settings = json.loads((data / "repo/provider.json").read_text())
    assert settings["nodeFor"] == {"default": "node-a", "production": "node-b"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["init", "--hostname", "a b", "--node", "node-a=::1"], "$.hostenvHostname"),
        (["init", "--hostname", "a.test", "--node", "../a=::1"], "$.nodes"),
        (
            ["init", "--hostname", "a.test", "--node", "a=::1", "--node-for", "production=b"],
            "$.nodeFor.production",
        ),
        (["init", "--hostname", "a.test", "--node", "a=::1", "--node-for", "live=a"], "$.nodeFor"),
        (
            ["init", "--hostname", "a.test", "--node", "a=::1", "--node", "a=::2"],
            "--node names something twice",
        ),
        (["plan"], "run `hostenv-provider init`"),
    ],
)
def test_bad_input_leaves_no_trace(
    data: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    assert main(arguments) == 1

    assert message in error_line(capsys)
    assert snapshot(data) == {}


def test_a_node_that_an_operator_adds_gets_a_generation_by_planning(data: Path) -> None:
    main(INIT)
    clone = data.parent / "clone"
    subprocess.run([GIT, "clone", "--quiet", str(data / "git/provider.git"), str(clone)], check=True)
    settings = json.loads((clone / "provider.json").read_text())
    settings["nodes"]["node-c"] = {"address": "node-c.example.org"}
    (clone / "provider.json").write_text(json.dumps(settings))
    commit_all(clone)
    subprocess.run([GIT, "-C", str(clone), "push", "--quiet", "origin", "HEAD:main"], check=True)

    assert main(["plan"]) == 0

    slice_of_c = json.loads((data / "repo/generated/nodes/node-c/slice.json").read_text())
    assert slice_of_c == {"node": "node-c", "hostenvHostname": "demo.hostenv.test", "environments": {}}


@pytest.mark.parametrize(
    "arguments", [[], ["nothing"], ["init"], ["init", "--hostname", "a.test", "--node", "a"]]
)
def test_wrong_usage(arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as error:
        main(arguments)

    assert error.value.code == 2


@pytest.mark.parametrize(
    ("name", "url"),
    [
        ("../x__y", "git+file:///srv/project"),
        ("drupal", "git+file:///srv/project"),
        ("a__b\n", "git+file:///srv/project"),
        ("a__" + "b" * 300, "git+file:///srv/project"),
        ("demo__drupal", "/srv/project"),
        ("demo__drupal", 'git+file:///srv/"; }'),
        ("demo__drupal", "git+file:///nonexistent"),
    ],
)
def test_a_project_that_is_refused_leaves_no_trace(
    data: Path, capsys: pytest.CaptureFixture[str], name: str, url: str
) -> None:
    main(INIT)
    before = snapshot(data)
    capsys.readouterr()

    assert main(["project", "add", name, url]) == 1

    assert len(error_line(capsys)) < 1500
    assert snapshot(data) == before


@needs_nix
@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("git+https://192.168.7.7/site", "a private address: name its network in sourceNetworks"),
        ("git+file:///etc", "name one in sourceFolders"),
        ("git+http://8.8.8.8/site", "use git+https"),
    ],
)
def test_a_project_that_may_not_be_fetched_is_refused_in_one_line(
    data: Path, capsys: pytest.CaptureFixture[str], url: str, words: str
) -> None:
    main(INIT)
    before = snapshot(data)
    capsys.readouterr()

    assert main(["project", "add", "demo__drupal", url]) == 1

    line = error_line(capsys)
    assert line.startswith(f"hostenv-provider: {url}: ")
    assert words in line
    assert snapshot(data) == before


def test_an_unreadable_configuration(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(PATH_VARIABLE, str(tmp_path / "none.json"))

    assert main(["plan"]) == 1
    assert "none.json" in error_line(capsys)


def test_dns_gate_of_an_unknown_node(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert data.is_dir()
    main(INIT)

    assert main(["dns-gate", "--node", "node-c"]) == 1
    assert "there are: node-a, node-b" in error_line(capsys)


@needs_nix
def test_a_project_is_added_planned_and_its_secret_shown_once(
    data: Path, project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main(INIT)
    url = f"git+file://{project}"

    assert main(["project", "add", "demo__drupal", url]) == 0

    out = capsys.readouterr().out
    assert "webhook/28550931a7ff25f178b6ffc12b8cb3ad288935e40dc36f1e746aae10ca5c9632" in out
    secret = out.rsplit("secret, not shown again: ", 1)[1].strip()
    assert any(secret.encode() in content for content in snapshot(data).values())
    assert not any(secret.encode() in content for content in snapshot(data / "repo").values())
    plan = json.loads((data / "repo/generated/plan.json").read_text())
    assert list(plan["environments"]) == ["drupal-main-2855093"]

    assert main(["project", "add", "demo__drupal", url]) == 0
    assert secret not in capsys.readouterr().out
    assert main(["project", "add", "demo__drupal", url + "2"]) == 1
    assert "there already" in error_line(capsys)


@needs_nix
def test_host_names_are_granted_and_taken_back(
    data: Path, project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def served() -> list[str]:
        plan = json.loads((data / "repo/generated/plan.json").read_text())
        return sorted(plan["environments"]["drupal-main-2855093"]["virtualHosts"])

    own = "drupal-main-2855093.demo.hostenv.test"
    main(INIT)
    assert main(["project", "add", "demo__drupal", f"git+file://{project}"]) == 0
    assert "demo.hostenv.local of drupal-main-2855093 is not served" in capsys.readouterr().err
    assert served() == [own]

    assert main(["project", "hosts", "demo__drupal", "--add", "*.hostenv.local"]) == 0
    assert capsys.readouterr().out == "*.hostenv.local\n"
    assert served() == ["demo.hostenv.local", own]
    assert main(["project", "hosts", "demo__drupal"]) == 0
    assert capsys.readouterr().out == "*.hostenv.local\n"

    assert main(["project", "hosts", "demo__drupal", "--remove", "*.hostenv.local"]) == 0
    assert served() == [own]
    capsys.readouterr()
    assert main(["project", "hosts", "demo__shop", "--add", "*"]) == 1
    assert "there is no project demo__shop" in error_line(capsys)


@needs_nix
def test_the_first_grant_takes_nothing_from_a_project_of_before(
    data: Path, project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main(INIT)
    assert main(["project", "add", "demo__drupal", f"git+file://{project}", "--host", "*"]) == 0
    assert "demo.hostenv.local" in (data / "repo/generated/plan.json").read_text()
    repository = Repository(Config.load())
    with repository.changing():
        settings = json.loads(repository.read_text("provider.json"))
        del settings["projects"]
        repository.write_text("provider.json", json.dumps(settings))
        repository.push(repository.commit("As it was before there were grants"))
    capsys.readouterr()

    assert main(["project", "hosts", "demo__drupal", "--add", "www.example.org"]) == 0
    assert capsys.readouterr().out == "demo.hostenv.local\nwww.example.org\n"


@needs_nix
def test_an_open_webhook_has_no_secret(data: Path, project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert data.is_dir()
    main(INIT)

    assert main(["project", "add", "demo__drupal", f"git+file://{project}", "--open-webhook"]) == 0

    out = capsys.readouterr().out
    assert "open: anybody" in out
    assert "secret" not in out


@needs_nix
def test_dry_run_shows_the_difference_and_writes_nothing(
    data: Path, project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main(INIT)
    main(["project", "add", "demo__drupal", f"git+file://{project}", "--host", "demo.hostenv.local"])
    # An operator moves the environment in provider.json and asks first.
    clone = data.parent / "clone"
    subprocess.run([GIT, "clone", "--quiet", str(data / "git/provider.git"), str(clone)], check=True)
    settings = json.loads((clone / "provider.json").read_text())
    settings["environments"] = {"drupal-main-2855093": {"node": "node-b"}}
    (clone / "provider.json").write_text(json.dumps(settings))
    commit_all(clone)
    subprocess.run([GIT, "-C", str(clone), "push", "--quiet", "origin", "HEAD:main"], check=True)
    main(["plan", "--dry-run"])
    capsys.readouterr()
    before = snapshot(data)

    assert main(["plan", "--dry-run"]) == 0

    out = capsys.readouterr().out
    assert out.startswith(
        "--- a/generated/nodes/node-a/slice.json\n+++ b/generated/nodes/node-a/slice.json\n@@"
    )
    assert '\n-      "node": "node-a",' in out
    assert '\n+      "node": "node-b",' in out
    assert '\n+      "previousNode": "node-a",' in out
    assert main(["plan", "--dry-run", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"changed": True, "diff": out}
    assert snapshot(data) == before

    assert main(["plan", "--json"]) == 0
    changed = json.loads(capsys.readouterr().out)
    assert changed["changed"]
    assert len(changed["commitSha"]) == 40
    assert main(["plan", "--dry-run"]) == 0
    said = capsys.readouterr()
    assert (said.out, said.err) == ("", "the plan would not change\n")
    assert main(["plan", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"changed": False, "commitSha": None}


@needs_nix
def test_dns_gate_takes_certificates_from_names_that_lead_nowhere(
    data: Path, project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flake = project / "flake.nix"
    flake.write_text(flake.read_text().replace('local" = { }', 'local" = { enableACME = true; }'))
    commit_all(project)
    main(INIT)
    main(["project", "add", "demo__drupal", f"git+file://{project}", "--host", "demo.hostenv.local"])
    plan = data / "repo/generated/plan.json"
    before = plan.read_text()
    assert '"enableACME": true' in before

    assert main(["dns-gate", "--node", "node-b"]) == 0
    assert main(["dns-gate", "--dry-run"]) == 0
    assert plan.read_text() == before
    assert "warning: demo.hostenv.local of drupal-main-2855093" in capsys.readouterr().err

    assert main(["dns-gate"]) == 0
    assert '"enableACME": true' not in plan.read_text()


def test_a_data_folder_that_cannot_be_written(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data.rmdir()
    data.write_text("in the way")

    assert main(INIT) == 1
    assert str(data) in error_line(capsys)


def complete(*words: str) -> list[str]:
    """What bash offers for the last of these words."""
    script = (
        'eval "$(cat)"; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _hostenv_provider; echo "${COMPREPLY[@]}"'
    )
    done = subprocess.run(
        ["bash", "-c", script, "bash", "hostenv-provider", *words],
        input=completion.script(build_parser()),
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stderr == ""
    return done.stdout.split()


def test_bash_completes_commands_and_their_options() -> None:
    assert complete("m") == ["migrate"]
    assert complete("migrate", "demo__drupal/main", "--s") == ["--skip-migrations"]
    assert complete("migrate", "demo__drupal/main", "--a") == ["--accept-loss"]
    assert complete("project", "a") == ["add"]
    assert complete("jobs", "--f") == ["--follow"]


def test_anybody_may_ask_for_completion(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(PATH_VARIABLE, "/nonexistent")
    assert main(["completion"]) == 0
    assert "complete " in capsys.readouterr().out


@pytest.mark.parametrize("words", [[name] for name in COMMAND_NAMES if name not in ("project", "secrets")])
def test_every_command_explains_itself_with_an_example(
    words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as end:
        main([*words, "--help"])
    assert end.value.code == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "example: " in shown
    assert f"hostenv-provider {words[0]}" in shown.partition("example: ")[2]
