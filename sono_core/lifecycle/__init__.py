"""A connection in time: deadlines, keepalive, back-pressure and the end of the stream."""

from .deadlines import Deadline, Deadlines
from .driver import Driver
from .handlers import BaseHandler
from .interfaces import Carried, Driven, Handler, Transport
from .session import Session
from .timers import Timers

__all__ = [
    "BaseHandler",
    "Carried",
    "Deadline",
    "Deadlines",
    "Driven",
    "Driver",
    "Handler",
    "Session",
    "Timers",
    "Transport",
]
