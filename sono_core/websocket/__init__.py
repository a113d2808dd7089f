"""RFC 6455 and RFC 7692: one connection, from its handshake to its last frame, without time."""

from .asgi import ASGIConnection, ASGIEvent, Scope, encoded_fields, request_of
from .connection import LEGAL, Connection, State
from .deflate import DEFAULT_DEFLATE, Deflate, SharedDeflaters
from .frames import Frame, FrameDecoder, encode_frame
from .opcodes import BINARY, MAX_HEADER, TEXT
from .origin import AllowedHosts
from .outbox import ITEM, Outbox, new_outbox
from .payloads import close_payload, control_payload
from .prepared import Prepared, message_event
from .reader import MessageReader, Reader, Stop

__all__ = [
    "BINARY",
    "DEFAULT_DEFLATE",
    "ITEM",
    "LEGAL",
    "MAX_HEADER",
    "TEXT",
    "ASGIConnection",
    "ASGIEvent",
    "AllowedHosts",
    "Connection",
    "Deflate",
    "Frame",
    "FrameDecoder",
    "MessageReader",
    "Outbox",
    "Prepared",
    "Reader",
    "Scope",
    "SharedDeflaters",
    "State",
    "Stop",
    "close_payload",
    "control_payload",
    "encode_frame",
    "encoded_fields",
    "message_event",
    "new_outbox",
    "request_of",
]
