"""`python -m manyhot`, the same as `manyhot`."""

import sys

from manyhot.cli import main

sys.exit(main())
