# What comin does is cut short: between build and switch, in the hook, by a commit that cannot be evaluated.

from hostenv_scenarios import trap
from hostenv_scenarios.cluster import Cluster
from hostenv_scenarios.site import DRUPAL
from hostenv_scenarios.trial import Trials

cluster = Cluster(provider, {"node-a": node_a, "node-b": node_b}, log, retry, subtest)
trials = Trials(cluster)

with subtest("A provider, two nodes and a site"):
    cluster.set_up()
    cluster.add_site(DRUPAL)

with trials.fault("target's comin killed between build and switch", {DRUPAL: "node-b"}) as trial:
    built = trap.set_trap(cluster, node_b, "KILL", "comin.service", "store", "hostenv-node-b-")
    job_id = trial.migrate(DRUPAL, "node-b")
    built.wait()
    node_b.succeed("systemctl restart comin.service")
    trial.demand(job_id, "succeeded")

with trials.fault("target's hook killed", {DRUPAL: "node-a"}) as trial:
    called = trap.set_trap(cluster, node_a, "KILL", "-", "process", "hostenv-comin-activate")
    job_id = trial.migrate(DRUPAL, "node-a")
    called.wait()
    trial.demand(job_id, "succeeded")

# comin takes it for failed, but the activation that it starts completes it
with trials.fault("target's switch killed", {DRUPAL: "node-b"}) as trial:
    called = trap.set_trap(cluster, node_b, "KILL", "-", "process", r"hostenv-node\S* switch")
    job_id = trial.migrate(DRUPAL, "node-b")
    called.wait()
    trial.demand(job_id, "succeeded")

BROKEN = 'if node == "node-a" then throw "broken by an operator" else '

with trials.fault("target's commit cannot be evaluated", {DRUPAL: "node-b"}) as trial:
    cluster.operator_changes(f"sed -i 's/toplevel = /&{BROKEN}/' flake.nix")
    job = trial.demand(trial.migrate(DRUPAL, "node-a"), "failed")
    t.assertIn("could not evaluate", job["reason"])

with trials.fault("none: the next webhook after that commit was fixed", {DRUPAL: "node-a"}) as trial:
    cluster.operator_changes(f"sed -i 's/toplevel = {BROKEN}/toplevel = /' flake.nix")
    trial.demand(trial.fire_webhook(DRUPAL), "succeeded")

# comin has noted the deployment, and takes what it noted for done
with trials.fault("target's comin killed before the switch that it noted", {DRUPAL: "node-b"}) as trial:
    noted = trap.set_trap(cluster, node_b, "KILL", "comin.service", "noted", "/var/lib/comin/store.json")
    job_id = trial.migrate(DRUPAL, "node-b")
    noted.wait()
    trial.demand(job_id, "succeeded")
