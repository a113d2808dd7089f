"""Shared by servers on every kind of loop."""

from . import forks
from .activation import activated, notify
from .base import BaseServer, ServedTransport
from .browser_client import JAVASCRIPT, browser_client
from .date import wall_clock
from .listeners import BACKLOG, listen, remove_file
from .log import logger
from .memory import memory_limit
from .options import ASGIOptions, Options, ServeOptions, StreamOptions
from .requests import HEALTHY, NOT_READY, HTTPRequest, Refused, TLSSource
from .shares import SPREADS, WorkerListeners, spread
from .signals import StopSignals, taken
from .static import READABLE, static_answer
from .websocket import Alarm, Loop, WebSocket, awaited

__all__ = [
    "BACKLOG",
    "HEALTHY",
    "JAVASCRIPT",
    "NOT_READY",
    "READABLE",
    "SPREADS",
    "ASGIOptions",
    "Alarm",
    "BaseServer",
    "HTTPRequest",
    "Loop",
    "Options",
    "Refused",
    "ServeOptions",
    "ServedTransport",
    "StopSignals",
    "StreamOptions",
    "TLSSource",
    "WebSocket",
    "WorkerListeners",
    "activated",
    "awaited",
    "browser_client",
    "forks",
    "listen",
    "logger",
    "memory_limit",
    "notify",
    "remove_file",
    "spread",
    "static_answer",
    "taken",
    "wall_clock",
]
