"""`python -m holoprop`: the command line."""

import sys

from holoprop.cli import main

sys.exit(main())
