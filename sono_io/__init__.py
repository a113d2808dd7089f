"""Moves bytes between sockets and sessions, for servers and clients alike."""

from .asyncio_protocol import SessionProtocol
from .blocking import SocketDriver, Wanted
from .fast import Carrier, Sender, Turn, loop, new_turn

__all__ = [
    "Carrier",
    "Sender",
    "SessionProtocol",
    "SocketDriver",
    "Turn",
    "Wanted",
    "loop",
    "new_turn",
]
