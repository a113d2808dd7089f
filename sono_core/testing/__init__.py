"""For tests of what is built on the core: without sockets, and without waiting.

`MemoryClient` talks to whatever serves a connection; a `MemoryPipe` joins any two sessions. Bytes
move in `run`, and time passes in `advance`: half an hour of silence takes a test no time, and
gives the same result each time.
"""

from sono_core.websocket import Frame

from .client import MemoryClient, frames
from .pipe import Builder, Clock, MemoryPipe, MemoryTransport

__all__ = ["Builder", "Clock", "Frame", "MemoryClient", "MemoryPipe", "MemoryTransport", "frames"]
