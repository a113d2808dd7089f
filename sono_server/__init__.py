"""Sono's servers: `serve` and `serve_async` for HTTP requests and plain WebSockets, `Sono`."""

from .aio import AsyncServer, serve_async
from .app import (
    Channel,
    Client,
    History,
    HistoryEntry,
    HistoryPage,
    Presence,
    Promise,
    RemoteClient,
    RequestFailed,
    Sono,
)
from .backplane import AsyncPublisher, Publisher
from .selector import Server, serve
from .serving import HTTPRequest, Refused, WebSocket

__all__ = [
    "AsyncPublisher",
    "AsyncServer",
    "Channel",
    "Client",
    "HTTPRequest",
    "History",
    "HistoryEntry",
    "HistoryPage",
    "Presence",
    "Promise",
    "Publisher",
    "Refused",
    "RemoteClient",
    "RequestFailed",
    "Server",
    "Sono",
    "WebSocket",
    "serve",
    "serve_async",
]
