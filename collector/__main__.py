"""`python -m collector` is `spanbridge`."""

import sys

from collector.cli import main

sys.exit(main())
