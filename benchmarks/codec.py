"""K1 (masking) and K2 (decoding), each with its pure-Python part of K3.

K1: `apply_mask` of 64 B, 1 KiB and 64 KiB. K2: 64 KiB of masked text messages of 128 B into
events, timed at `Connection.receive_data` with the shipped limits; peers at the same place.
"""

import importlib.util
import os
from collections.abc import Callable, Iterator
from functools import partial
from typing import NamedTuple

from sono_core import Accept, Connection, Role, native_available
from sono_core.frames import TEXT, encode_frame
from sono_core.kernels import native, pure_apply_mask

from .measure import Timing, interleaved

MASK = b"\x37\xfa\x21\x3d"
SIZES = {"64 B": 64, "1 KiB": 1024, "64 KiB": 65536}
REQUEST = (
    b"GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
)


class Row(NamedTuple):
    """One ratio: how many times as fast as the peer."""

    target: str
    what: str
    ours: Timing
    peer: str
    theirs: Timing
    at_least: float

    @property
    def ratio(self) -> float:
        """Above 1: faster."""
        return self.theirs.median / self.ours.median


def masking() -> Iterator[Row]:
    """K1, native and pure, against websockets' functions of the same name."""
    from websockets.utils import apply_mask as websockets_pure

    functions: dict[str, Callable[[bytes, bytes], bytes]] = {
        "pure": pure_apply_mask,
        "websockets, pure": websockets_pure,
    }
    if native_available:
        functions["native"] = native.apply_mask
    if importlib.util.find_spec("websockets.speedups"):
        from websockets.speedups import apply_mask as websockets_c

        functions["websockets, C"] = websockets_c
    for label, size in SIZES.items():
        data = os.urandom(size)
        timings = interleaved(
            {name: partial(function, data, MASK) for name, function in functions.items()}
        )
        if {"native", "websockets, C"} <= timings.keys():
            least = 1.0 if size == SIZES["64 KiB"] else 1.2
            yield Row(
                "K1",
                f"mask {label}",
                timings["native"],
                "websockets, C",
                timings["websockets, C"],
                least,
            )
        least = 1.0 if size == SIZES["1 KiB"] else 1.2
        yield Row(
            "K3",
            f"mask {label}, pure",
            timings["pure"],
            "websockets, pure",
            timings["websockets, pure"],
            least,
        )


def opened() -> Connection:
    """A server's connection after its handshake, on the path that this process takes."""
    connection = Connection(Role.SERVER)
    for _ in connection.receive_data(REQUEST):
        connection.send(Accept())
    connection.data_to_send()
    return connection


def decoding() -> Iterator[Row]:
    """K2, or its part of K3 where SONO_PURE is set."""
    from websockets import frames
    from websockets.protocol import SERVER, Protocol, State
    from websockets.utils import apply_mask as websockets_pure

    if not native_available:  # pure against pure
        frames.apply_mask = websockets_pure

    frame = encode_frame(TEXT, b"x" * 128, mask=MASK)
    count = 65536 // len(frame)
    data = frame * count
    connection = opened()

    def ours() -> None:
        messages = 0
        for _ in connection.receive_data(data):
            messages += 1
        assert messages == count

    protocol = Protocol(SERVER, state=State.OPEN)

    def theirs() -> None:
        protocol.receive_data(data)
        events = protocol.events_received()
        assert len(events) == count
        assert isinstance(events[0], frames.Frame)

    timings = interleaved({"ours": ours, "theirs": theirs})
    target, what, least = ("K2", "native", 20.0) if native_available else ("K3", "pure", 1.3)
    yield Row(
        target,
        f"decode {count} messages, {what}",
        timings["ours"],
        "websockets",
        timings["theirs"],
        least,
    )


def rows() -> Iterator[Row]:
    """All of them."""
    yield from masking()
    yield from decoding()
