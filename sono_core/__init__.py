"""WebSocket (RFC 6455, RFC 7692) and the Sono message protocol, without I/O.

Bytes and events go in, bytes and events come out: nothing here touches a socket, a clock, a
thread, a log or the environment. See docs/embedding.md for how to drive it.
"""

from .close_codes import CloseCode
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
from .lifecycle import Deadlines, Handler, Session, Transport
from .limits import Limits, Timeouts
from .native import accelerator
from .websocket import LEGAL, Connection, Deflate, Prepared, SharedDeflaters, State

__version__ = "0.1.0"

native_available: bool = accelerator is not None
"""Whether the hot path runs in C. `SONO_PURE=1` in the environment forces pure Python."""

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
