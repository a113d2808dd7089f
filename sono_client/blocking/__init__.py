"""Clients for programs without an event loop: `connect` and `SonoClient`."""

from .sono_client import SonoClient
from .websocket import WebSocket, connect

__all__ = ["SonoClient", "WebSocket", "connect"]
