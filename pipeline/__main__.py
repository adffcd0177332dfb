"""`python -m pipeline` is `gristmill`."""

import sys

from pipeline.cli import main

sys.exit(main())
