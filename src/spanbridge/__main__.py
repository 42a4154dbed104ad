"""`python -m spanbridge` is `spanbridge`."""

import sys

from spanbridge.collector.cli.main import main

sys.exit(main())
