"""For tests of code built on the core: no sockets, and no waiting.

`MemoryClient` talks to anything that serves a connection; a `MemoryPipe` joins any two sessions.
Bytes move in `run`, and time passes in `advance`: half an hour of silence takes a test no time,
and gives the same result each time.
"""

from sono_core.websocket import Frame

from .client import MemoryClient, frames
from .pipe import Builder, Clock, MemoryPipe, MemoryTransport

__all__ = ["Builder", "Clock", "Frame", "MemoryClient", "MemoryPipe", "MemoryTransport", "frames"]
