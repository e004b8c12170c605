"""The demo's constants (contract 2)."""

from pathlib import Path

ENVIRONMENT = "drupal-main-2855093"
PROJECT_HASH = "28550931a7ff25f178b6ffc12b8cb3ad288935e40dc36f1e746aae10ca5c9632"
VIRTUAL_HOST = "demo.hostenv.local"
MARKER = "from-node-a"
NODES = ("node-a", "node-b")
# the tree that holds the programs, the seed and the script
ROOT = Path(__file__).resolve().parents[3]
# in the folder where the demo was started
LINK = Path("hostenv-demo")
