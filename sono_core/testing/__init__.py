"""For tests of what is built on the core: without sockets, and without waiting."""

from .client import MemoryClient, frames
from .pipe import Builder, Clock, End, Pair

__all__ = ["Builder", "Clock", "End", "MemoryClient", "Pair", "frames"]
