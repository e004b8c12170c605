import sys

from hostenv_demo.cli import main

sys.exit(main())
