"""Moves bytes between sockets and sessions, for servers and clients alike."""

from .asyncio_protocol import SessionProtocol, SocketProtocol
from .blocking import MAX_WAIT, SocketDriver, SocketTransport, Wanted
from .fast import FastTransport, LoopContext, Sender, loop, new_context
from .reference import LITTLE_SIZE, RECEIVE_SIZE, TURN_SECONDS

__all__ = [
    "LITTLE_SIZE",
    "MAX_WAIT",
    "RECEIVE_SIZE",
    "TURN_SECONDS",
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
