"""Moves that cannot succeed: the job fails with the action and the reason, and the source serves on."""

import re
from collections.abc import Iterator
from contextlib import contextmanager

from hostenv_scenarios.cluster import Cluster
from hostenv_scenarios.driver import ScenarioFailed
from hostenv_scenarios.site import DRUPAL
from hostenv_scenarios.trial import Trial, Trials

OTHER = {"node-a": "node-b", "node-b": "node-a"}


class Move:
    """A move that shall fail; made by `failing_move`, asked for by its block. `target` is where it goes."""

    def __init__(self, cluster: Cluster, trial: Trial, target: str) -> None:
        self.target = target
        self.job_id = ""
        self._cluster = cluster
        self._trial = trial

    def ask(self) -> None:
        """As an operator does, of what is deployed."""
        self.job_id = self._trial.migrate(DRUPAL, self.target)

    def push(self) -> None:
        """By a placement in the provider's repository, of what the project's repository holds now."""
        self._cluster.place(DRUPAL, self.target)
        self.job_id = self._trial.fire_webhook(DRUPAL)


@contextmanager
def failing_move(cluster: Cluster, trials: Trials, fault: str, action: str, reason: str) -> Iterator[Move]:
    """The block arranges the fault and asks for the move, which then fails in `action`.

    Raises ScenarioFailed if it does not, or says nothing of `reason`, a regular expression.
    """
    source = cluster.deployed(DRUPAL)
    with trials.fault(fault, {DRUPAL: source}) as trial:
        move = Move(cluster, trial, OTHER[source])
        yield move
        said = str(trial.demand(move.job_id, "failed", 600)["reason"])
        if action not in said or not re.search(reason, said):
            raise ScenarioFailed(f"job {move.job_id} failed, but not in {action} by {reason!r}: {said}")


def move_at_last(cluster: Cluster, trials: Trials, cause: str) -> None:
    """The next webhook moves the site to where the failed job should have brought it."""
    target = OTHER[cluster.deployed(DRUPAL)]
    with trials.fault(f"none: the next webhook after {cause}", {DRUPAL: target}) as trial:
        trial.demand(trial.fire_webhook(DRUPAL), "succeeded")
