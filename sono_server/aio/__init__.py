"""Sono on asyncio and uvloop: its own server, connections that asyncio accepted, and ASGI.

This package moves bytes. What they mean is decided by the session and by `serving.base`.
"""

from .base import EmbeddedServer, TaskTransport, awaited_future
from .server import AsyncServer, run_server, serve_async
from .streams import StreamReader, StreamServer, StreamWriter

__all__ = [
    "AsyncServer",
    "EmbeddedServer",
    "StreamReader",
    "StreamServer",
    "StreamWriter",
    "TaskTransport",
    "awaited_future",
    "run_server",
    "serve_async",
]
