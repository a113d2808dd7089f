"""A connection in time: deadlines, keepalive, back-pressure and the end of the stream."""

from . import ends
from .deadlines import Deadline, Deadlines
from .driver import Driver
from .interfaces import GONE, BaseHandler, Handler, Layer, Transport
from .layer import ForwardingLayer
from .session import Session
from .timers import Timers

__all__ = [
    "GONE",
    "BaseHandler",
    "Deadline",
    "Deadlines",
    "Driver",
    "ForwardingLayer",
    "Handler",
    "Layer",
    "Session",
    "Timers",
    "Transport",
    "ends",
]
