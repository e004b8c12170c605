"""Moves of one site there and back that nothing disturbs, with other data each time."""

from collections.abc import Sequence

from hostenv_scenarios.cluster import Cluster
from hostenv_scenarios.site import DRUPAL
from hostenv_scenarios.trial import Trials


def go_round(cluster: Cluster, trials: Trials, targets: Sequence[str]) -> None:
    """Move the site from node to node."""
    way = " → ".join(name.removeprefix("node-").upper() for name in (cluster.deployed(DRUPAL), *targets))
    for number, target in enumerate(targets, 1):
        _change_data(cluster, cluster.deployed(DRUPAL), number)
        with trials.fault(f"none: move {number} of {way}", {DRUPAL: target}) as trial:
            trial.demand(trial.migrate(DRUPAL, target), "succeeded")


def _change_data(cluster: Cluster, node: str, number: int) -> None:
    """Other rows and other files than before, and some of them gone."""
    machine = cluster.nodes[node]
    cluster.as_environment(
        machine,
        DRUPAL,
        "mysql -e \"UPDATE hostenv_demo_article SET body = CONCAT(body, ' edited in round"
        f" {number}') ORDER BY id LIMIT 1; DELETE FROM hostenv_demo_article ORDER BY id DESC LIMIT 1\"",
    )
    cluster.as_environment(
        machine,
        DRUPAL,
        f"cd ~/.local/share/files && rm -f round-{number - 1} && echo round {number} > round-{number}"
        # of packs that are larger than any other request's body
        " && head -c 40M /dev/urandom > large",
    )
