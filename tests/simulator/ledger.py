"""What must hold, from a record that is kept beside the product's own."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from hostenv_core.states import JobState
from hostenv_provider.rules.jobs import Deploy, Request, Retire
from hostenv_provider.store.store import Store

from simulator.history import History, Tree
from simulator.provider import Project
from simulator.sites import Broken, Phase, Sites


@dataclass(frozen=True)
class Asked:
    """A request that was accepted, with the heads of its project's branches at that moment."""

    job_id: str
    request: Request
    heads: Mapping[str, int]


class Ledger:
    """Hears of every placement (`observed.Observer`) and of every request; the checks raise Broken."""

    def __init__(
        self,
        projects: Mapping[str, Project],
        history: History[Tree],
        sites: Sites,
        log: Callable[[str], None],
    ) -> None:
        self._projects = projects
        self._history = history
        self._sites = sites
        self._log = log
        self._asked: list[Asked] = []
        self._deployed: dict[str, str] = {}
        self._begun: set[str] = set()
        self._uncertain: set[str] = set()
        self.placed_by_hand: set[str] = set()
        """Environments that an operator placed in `provider.json`."""
        self.store: Store

    # What is heard

    def asked(self, job_id: str, request: Request) -> None:
        """A request was accepted as a new job."""
        self._asked.append(Asked(job_id, request, dict(self._projects[request.project].heads)))

    def began(self, job_id: str) -> None:
        """A node begins an action of a job."""
        self._begun.add(job_id)

    def failed(self) -> None:
        """What runs after a removal that was begun is unknown, until the next job."""
        for user in self._deployed:
            deployment = self.store.deployment(user)
            if deployment is not None and deployment.uncertain:
                self._uncertain.add(user)

    def placed(self, job_id: str, change: Deploy | Retire) -> None:
        """An environment has got or lost its place; at a commit point all rows must be there."""
        self._log(f"provider: {job_id}: {change}")
        user, before = change.user, self._deployed.get(change.user)
        if isinstance(change, Retire):
            if change.for_good and before == change.node:
                del self._deployed[user]
                self._uncertain.discard(user)
                self._sites.accepted[user] = 0
            return
        self._uncertain.discard(user)
        self._deployed[user] = change.to_node
        restore = self.store.snapshot(job_id).row(change.to_node, "restore", user)
        source = before if restore is None else restore.action.from_node
        if source != before or (restore is None and before != change.to_node):
            # Without migration, or from another copy: the operator has given up these rows.
            self._sites.give_up(user, change.to_node)
        self._check_rows(user, change.to_node)

    # What must hold

    def check_failed_moves(self) -> None:
        """Whatever failed, each environment takes writes where it is deployed (contract 10.9)."""
        for user, node in self._deployed.items():
            writable = self._sites.writable(user)
            if writable != [node] and user not in self._uncertain:
                raise Broken(f"{user} is deployed on {node}, but takes writes on {writable or 'no node'}")
            self._check_rows(user, node)

    def check_superseded(self) -> None:
        """No node ever began anything for a job that was superseded (contract 5)."""
        for job_id in sorted(self._begun):
            if self.store.snapshot(job_id).state is JobState.SUPERSEDED:
                raise Broken(f"{job_id} was begun, but is superseded")

    def check_requests(self) -> None:
        """What was asked last of each environment is in the plan, if its job, or its heir, succeeded."""
        for project in self._projects.values():
            for branch in project.branches:
                self._check_placement(project.user(branch))
                self._check_push(project, branch)

    def check_end(self) -> None:
        """Each site is up on exactly one node, where plan and service say, and nothing old is left."""
        plan = self._history.head.tree.plan
        for project in self._projects.values():
            deployed, stale = self.store.deployed(project.key), self.store.stale(project.key)
            if stale:
                raise Broken(f"still stale: {stale}")
            for branch in project.branches:
                user = project.user(branch)
                planned = plan.environments.get(user)
                runs = [
                    node
                    for node, copy in self._sites.copies.get(user, {}).items()
                    if copy.phase not in (Phase.ABSENT, Phase.INACTIVE)
                ]
                wanted = [planned.node] if planned is not None and planned.enable else []
                known = [deployed[user].node] if user in deployed else []
                if not runs == wanted == known == self._sites.writable(user):
                    raise Broken(f"{user} runs on {runs}, belongs on {wanted}, is recorded on {known}")
                if planned is not None and planned.enable:
                    self._check_rows(user, planned.node)
                    release = self._sites.copy(planned.node, user).release
                    if release != planned.source.rev:
                        raise Broken(f"{user} runs {release}, not {planned.source.rev}")

    def _check_rows(self, user: str, node: str) -> None:
        lost = self._sites.accepted.get(user, 0) & ~self._sites.copy(node, user).rows
        if lost:
            raise Broken(f"{user} on {node} lacks {lost.bit_count()} accepted writes")

    def _check_placement(self, user: str) -> None:
        planned = self._history.head.tree.plan.environments.get(user)
        asked = self._last(lambda request: user in request.placements)
        if asked is None or planned is None or user in self.placed_by_hand:
            return
        node = asked.request.placements[user]
        if planned.node != node:
            raise Broken(f"{user} is planned for {planned.node}, but {asked.job_id} asked for {node}")

    def _check_push(self, project: Project, branch: str) -> None:
        user = project.user(branch)
        planned = self._history.head.tree.plan.environments.get(user)
        asked = self._last(lambda request: request.project == project.key and request.moves(branch))
        rolled_back = any(user in asked.request.rollbacks for asked in self._asked)
        if asked is None or planned is None or not planned.enable or rolled_back:
            return
        if int(planned.source.rev, 16) < asked.heads[branch]:
            raise Broken(f"{user} is planned at {planned.source.rev}, older than what {asked.job_id} was for")

    def _last(self, concerns: Callable[[Request], bool]) -> Asked | None:
        """The last such request, if its job or the one that took its place succeeded."""
        for asked in reversed(self._asked):
            if concerns(asked.request):
                job = self.store.job(asked.job_id)
                while job is not None and job.superseded_by is not None:
                    job = self.store.job(job.superseded_by)
                return asked if job is not None and job.state is JobState.SUCCEEDED else None
        return None
