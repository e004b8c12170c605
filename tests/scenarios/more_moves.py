# A site moves A → B → A → B → A with other data each time, twice as often as in `moves.py`: nothing of an
# earlier stay on a node comes back.

from hostenv_scenarios.cluster import Cluster
from hostenv_scenarios.rounds import go_round
from hostenv_scenarios.site import DRUPAL
from hostenv_scenarios.trial import Trials

cluster = Cluster(provider, {"node-a": node_a, "node-b": node_b}, log, retry, subtest)
trials = Trials(cluster)

with subtest("A provider, two nodes and a site"):
    cluster.set_up()
    cluster.add_site(DRUPAL)

go_round(cluster, trials, ("node-b", "node-a", "node-b", "node-a"))
