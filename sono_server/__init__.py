"""Sono's servers: `serve` and `serve_async` for HTTP requests and plain WebSockets, `Sono`."""

from .aio import AsyncServer, serve_async
from .app import Sono
from .clients import Channel, Client
from .requests import HTTPRequest, Refused
from .selector import Server, serve
from .websocket import WebSocket

__all__ = [
    "AsyncServer",
    "Channel",
    "Client",
    "HTTPRequest",
    "Refused",
    "Server",
    "Sono",
    "WebSocket",
    "serve",
    "serve_async",
]
