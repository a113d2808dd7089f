"""Clients for asyncio and uvloop: `connect_async` for plain WebSockets, `AsyncSonoClient`.

Thin I/O over `sono_core`'s opening, session and client state. Here bytes move, pings are answered
and deadlines are kept while the event loop runs, also while the application does other things.
"""

from .channel import AsyncJoinedChannel
from .sono_client import AsyncSonoClient
from .websocket import AsyncWebSocket, connect_async

__all__ = ["AsyncJoinedChannel", "AsyncSonoClient", "AsyncWebSocket", "connect_async"]
