"""Sono's clients for Python: `connect` for plain WebSockets, `SonoClient` for messaging.

`connect_async` and `AsyncSonoClient` are the same for asyncio.
"""

from sono_client.aio import AsyncSonoClient, AsyncWebSocket, connect_async
from sono_core.errors import ConnectError, ConnectionClosed

from .blocking import SonoClient, WebSocket, connect

__all__ = [
    "AsyncSonoClient",
    "AsyncWebSocket",
    "ConnectError",
    "ConnectionClosed",
    "SonoClient",
    "WebSocket",
    "connect",
    "connect_async",
]
