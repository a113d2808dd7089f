"""A connection in time: deadlines, keepalive, back-pressure and the end of the stream."""

from .deadlines import Deadline, Deadlines
from .driver import Driver
from .handlers import BaseHandler
from .interfaces import Handler, Layer, Transport
from .session import Session
from .timers import Timers

__all__ = [
    "BaseHandler",
    "Deadline",
    "Deadlines",
    "Driver",
    "Handler",
    "Layer",
    "Session",
    "Timers",
    "Transport",
]
