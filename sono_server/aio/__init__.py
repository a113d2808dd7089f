"""Sono on asyncio and uvloop: its own server, connections that asyncio accepted, and ASGI.

Here bytes and ASGI's events move; what they mean is decided by the session and by `host`.
"""

from .server import AsyncServer, serve_async

__all__ = ["AsyncServer", "serve_async"]
