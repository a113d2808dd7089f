"""What servers on every kind of loop share."""

from .base import BaseServer, Options, ServedTransport
from .browser_client import JAVASCRIPT, browser_client
from .listeners import BACKLOG, listen, remove_file
from .requests import HEALTHY, HTTPRequest, Refused
from .signals import StopSignals
from .websocket import Loop, WebSocket, awaited, logger

__all__ = [
    "BACKLOG",
    "HEALTHY",
    "JAVASCRIPT",
    "BaseServer",
    "HTTPRequest",
    "Loop",
    "Options",
    "Refused",
    "ServedTransport",
    "StopSignals",
    "WebSocket",
    "awaited",
    "browser_client",
    "listen",
    "logger",
    "remove_file",
]
