"""A connection in time: deadlines, keepalive, back-pressure and the end of the stream."""

from . import ends
from .deadlines import Deadline, Deadlines
from .driver import Driver
from .interfaces import ENDLESS, GONE, BaseHandler, Engine, Handler, Layer, Transport, Turn
from .layer import ForwardingLayer
from .memory import MemoryBudget
from .session import Session
from .timers import Timers

__all__ = [
    "ENDLESS",
    "GONE",
    "BaseHandler",
    "Deadline",
    "Deadlines",
    "Driver",
    "Engine",
    "ForwardingLayer",
    "Handler",
    "Layer",
    "MemoryBudget",
    "Session",
    "Timers",
    "Transport",
    "Turn",
    "ends",
]
