"""Sono's clients for Python: `connect` for plain WebSockets, `SonoClient` for messaging.

`connect_async` and `AsyncSonoClient` are the same for asyncio.
"""

from sono_client.aio import AsyncJoinedChannel, AsyncSonoClient, AsyncWebSocket, connect_async
from sono_core.errors import ConnectError, ConnectionClosed, OutboxFull, RequestFailed
from sono_core.messaging.lossless import Position
from sono_core.messaging.lossless.client import ClientLimits, PresenceChanged

from .blocking import JoinedChannel, SonoClient, WebSocket, connect
from .lossless import (
    About,
    ClientSession,
    ClientStatus,
    Gap,
    History,
    HistoryEntry,
    Received,
)

__all__ = [
    "About",
    "AsyncJoinedChannel",
    "AsyncSonoClient",
    "AsyncWebSocket",
    "ClientLimits",
    "ClientSession",
    "ClientStatus",
    "ConnectError",
    "ConnectionClosed",
    "Gap",
    "History",
    "HistoryEntry",
    "JoinedChannel",
    "OutboxFull",
    "Position",
    "PresenceChanged",
    "Received",
    "RequestFailed",
    "SonoClient",
    "WebSocket",
    "connect",
    "connect_async",
]
