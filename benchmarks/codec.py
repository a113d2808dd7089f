"""Masking and decoding in one process: ours, and the peers' functions in the same place.

The decoders turn 64 KiB of masked 128-byte text messages into the events that an application
sees, with the default limits of each library. Each builder returns a function without arguments,
or raises ImportError if its library, or the compiled half of it, is missing.
"""

import os
from collections.abc import Callable, Mapping
from functools import partial

from sono_core import Accept, Connection, Role
from sono_core.limits import DEFAULT_LIMITS
from sono_core.native import accelerator, pure_apply_mask
from sono_core.websocket import TEXT, MessageReader, encode_frame

Function = Callable[[], object]
Mask = Callable[[bytes, bytes], bytes]

MASK = b"\x37\xfa\x21\x3d"
_REQUEST = (
    b"GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
)
_TEXT = b"x" * 128
_FRAME = encode_frame(TEXT, _TEXT, mask=MASK)
MESSAGES = 65536 // len(_FRAME)
"""How many messages one call of a decoder decodes."""
_WIRE = _FRAME * MESSAGES


# -- masking ----------------------------------------------------------------------------------


def _native_mask() -> Mask:
    if accelerator is None:
        raise ImportError("sono's extension is not built, or SONO_PURE is set")
    mask: Mask = accelerator.apply_mask
    return mask


def _websockets_c_mask() -> Mask:
    from websockets.speedups import apply_mask

    mask: Mask = apply_mask
    return mask


def _websockets_pure_mask() -> Mask:
    from websockets.utils import apply_mask

    mask: Mask = apply_mask
    return mask


_MASKS: Mapping[str, Callable[[], Mask]] = {
    "sono": _native_mask,
    "sono (pure)": lambda: pure_apply_mask,
    "websockets (C)": _websockets_c_mask,
    "websockets (pure)": _websockets_pure_mask,
}


def masker(subject: str, size: int) -> Function:
    """One call that masks that many bytes, with only `partial` around it."""
    return partial(_MASKS[subject](), os.urandom(size), MASK)


# -- decoding ---------------------------------------------------------------------------------


def _opened() -> Connection:
    """A server's connection after its handshake."""
    connection = Connection(Role.SERVER)
    for _ in connection.receive_data(_REQUEST):
        connection.send(Accept())
    connection.data_to_send()
    return connection


def _decoding(connection: Connection) -> Function:
    def decode() -> None:
        count = 0
        for _ in connection.receive_data(_WIRE):
            count += 1
        assert count == MESSAGES

    return decode


def _sono() -> Function:
    if accelerator is None:
        raise ImportError("sono's extension is not built, or SONO_PURE is set")
    return _decoding(_opened())


def _sono_pure() -> Function:
    # The path that SONO_PURE chooses, loaded beside the extension so that both can take turns.
    connection = _opened()
    connection.reader = MessageReader(Role.SERVER, DEFAULT_LIMITS, None)
    return _decoding(connection)


def _websockets() -> Function:
    import websockets.speedups  # noqa: F401 - without it this would not be the C path
    from websockets.frames import Frame
    from websockets.protocol import SERVER, Protocol, State

    protocol = Protocol(SERVER, state=State.OPEN)

    def decode() -> None:
        protocol.receive_data(_WIRE)
        events = protocol.events_received()
        assert len(events) == MESSAGES
        assert isinstance(events[0], Frame)

    return decode


def _websockets_pure() -> Function:
    from websockets import frames
    from websockets.protocol import SERVER, Protocol, State
    from websockets.utils import apply_mask

    protocol = Protocol(SERVER, state=State.OPEN)

    def decode() -> None:
        fast, frames.apply_mask = frames.apply_mask, apply_mask
        try:
            protocol.receive_data(_WIRE)
            events = protocol.events_received()
        finally:
            frames.apply_mask = fast
        assert len(events) == MESSAGES
        assert isinstance(events[0], frames.Frame)

    return decode


class _Unpaused:
    """The part of a protocol that aiohttp's queue needs."""

    _reading_paused = True  # so that it never asks for a pause


def _aiohttp() -> Function:
    from aiohttp._websocket.reader_c import WebSocketDataQueue, WebSocketReader

    protocol, limit = _Unpaused(), 1 << 20

    def decode() -> None:
        # Its size cannot be reset from outside; a new one costs less than emptying the old one.
        queue = WebSocketDataQueue(protocol, limit, loop=None)
        failed, rest = WebSocketReader(queue, limit, False, True).feed_data(_WIRE)
        assert not failed
        assert not rest
        assert len(queue._buffer) == MESSAGES

    return decode


def _wsproto() -> Function:
    from wsproto.connection import Connection as WSConnection
    from wsproto.connection import ConnectionType
    from wsproto.events import TextMessage

    connection = WSConnection(ConnectionType.SERVER)

    def decode() -> None:
        connection.receive_data(_WIRE)
        count = 0
        for event in connection.events():
            assert isinstance(event, TextMessage)
            count += 1
        assert count == MESSAGES

    return decode


DECODERS: Mapping[str, Callable[[], Function]] = {
    "sono": _sono,
    "sono (pure)": _sono_pure,
    "websockets": _websockets,
    "websockets (pure)": _websockets_pure,
    "aiohttp": _aiohttp,
    "wsproto": _wsproto,
}
