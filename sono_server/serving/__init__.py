"""Shared by servers on every kind of loop."""

from .base import BaseServer, ServedTransport
from .browser_client import JAVASCRIPT, browser_client
from .listeners import BACKLOG, listen, remove_file
from .options import ASGIOptions, Options, ServeOptions
from .requests import HEALTHY, HTTPRequest, Refused
from .signals import StopSignals
from .websocket import Loop, WebSocket, awaited, logger

__all__ = [
    "BACKLOG",
    "HEALTHY",
    "JAVASCRIPT",
    "ASGIOptions",
    "BaseServer",
    "HTTPRequest",
    "Loop",
    "Options",
    "Refused",
    "ServeOptions",
    "ServedTransport",
    "StopSignals",
    "WebSocket",
    "awaited",
    "browser_client",
    "listen",
    "logger",
    "remove_file",
]
