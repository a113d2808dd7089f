"""WebSocket (RFC 6455, RFC 7692) and the Sono message protocol, without I/O.

Bytes and events in, bytes and events out: nothing here touches a socket, a clock, a thread, a
log or the environment. See docs/embedding.md for how to drive it.
"""

from .close_codes import CloseCode
from .connection import LEGAL, Connection, State
from .deadlines import Deadlines
from .deflate import Deflate, SharedDeflaters
from .errors import LocalProtocolError, SonoError
from .events import (
    Accept,
    BinaryMessage,
    Close,
    Event,
    Ping,
    Pong,
    Reject,
    Request,
    Role,
    TextMessage,
)
from .headers import Headers
from .kernels import native
from .limits import Limits, Timeouts
from .prepared import Prepared
from .session import Session
from .transport import Handler, Transport

__version__ = "0.1.0"

native_available: bool = native is not None
"""Whether the hot path runs in C. `SONO_PURE=1` in the environment says no."""

__all__ = [
    "LEGAL",
    "Accept",
    "BinaryMessage",
    "Close",
    "CloseCode",
    "Connection",
    "Deadlines",
    "Deflate",
    "Event",
    "Handler",
    "Headers",
    "Limits",
    "LocalProtocolError",
    "Ping",
    "Pong",
    "Prepared",
    "Reject",
    "Request",
    "Role",
    "Session",
    "SharedDeflaters",
    "SonoError",
    "State",
    "TextMessage",
    "Timeouts",
    "Transport",
    "native_available",
]
