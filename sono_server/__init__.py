"""Sono's server: `serve` for HTTP requests and plain WebSockets, `Sono` for messaging."""

from .app import Channel, Client, Sono
from .requests import HTTPRequest
from .selector import Server, serve
from .websocket import WebSocket

__all__ = ["Channel", "Client", "HTTPRequest", "Server", "Sono", "WebSocket", "serve"]
