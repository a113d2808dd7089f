"""`python -m sono_server.conformance`: plays transcripts to a server."""

import sys

from .command import main

sys.exit(main())
