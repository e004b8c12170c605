"""`python3 -m hostenv_lab` is the command `hostenv-lab`."""

import sys

from hostenv_lab.cli import main

sys.exit(main())
