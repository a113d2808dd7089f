"""`python -m sono_server`: the command `sono`."""

import sys

from .cli import main

sys.exit(main())
