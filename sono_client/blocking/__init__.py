"""Clients for programs without an event loop: `connect` and `SonoClient`."""

from .channel import JoinedChannel
from .sono_client import SonoClient
from .websocket import WebSocket, connect

__all__ = ["JoinedChannel", "SonoClient", "WebSocket", "connect"]
