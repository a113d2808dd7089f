"""Sono's clients for Python: `connect` for plain WebSockets, `SonoClient` for messaging."""

from sono_core.errors import ConnectError, ConnectionClosed

from .blocking import SonoClient, WebSocket, connect

__all__ = ["ConnectError", "ConnectionClosed", "SonoClient", "WebSocket", "connect"]
