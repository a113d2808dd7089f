"""Moves bytes between sockets and sessions, for servers and clients alike."""

from .asyncio_protocol import SessionProtocol
from .blocking import SocketDriver, Wanted
from .fast import FastTransport, LoopContext, Sender, loop, new_context

__all__ = [
    "FastTransport",
    "LoopContext",
    "Sender",
    "SessionProtocol",
    "SocketDriver",
    "Wanted",
    "loop",
    "new_context",
]
