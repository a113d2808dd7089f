"""Moves bytes between sockets and sessions, for servers and clients alike."""

from .asyncio_protocol import SessionProtocol, SocketProtocol
from .blocking import MAX_WAIT, SocketDriver, SocketTransport, Wanted
from .fast import FastTransport, LoopContext, Sender, loop, new_context
from .reference import RECEIVE_SIZE

__all__ = [
    "MAX_WAIT",
    "RECEIVE_SIZE",
    "FastTransport",
    "LoopContext",
    "Sender",
    "SessionProtocol",
    "SocketDriver",
    "SocketProtocol",
    "SocketTransport",
    "Wanted",
    "loop",
    "new_context",
]
