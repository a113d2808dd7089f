"""Sono on asyncio and uvloop: its own server, connections that asyncio accepted, and ASGI.

This package moves bytes. What they mean is decided by the session and by `serving.base`.
"""

from .base import EmbeddedServer, TaskTransport
from .server import AsyncServer, run_server, serve_async
from .streams import StreamReader, StreamWriter, serve_stream

__all__ = [
    "AsyncServer",
    "EmbeddedServer",
    "StreamReader",
    "StreamWriter",
    "TaskTransport",
    "run_server",
    "serve_async",
    "serve_stream",
]
