"""Hostile frames: rows 11 to 18, 20, 21, 25, 27 and 28 of the list, against running servers.

Row 24, the native code fuzzed under sanitizers, is `make sanitize`.
"""

from __future__ import annotations

import contextlib
import math
import os
import socket
import struct
import zlib
from collections.abc import Iterator

import pytest

from sono_core import Accept, Close, Limits, Ping, Pong, TextMessage, Timeouts
from sono_core.websocket.frames import encode_frame
from sono_core.websocket.opcodes import BINARY, CONTINUATION, PING, TEXT
from tests.hostile.conftest import FULL, KINDS, MIB, Victim, assert_answered, linux, serving
from tests.rules.peers import request
from tests.servers import Wire, dial

MASK = b"\x01\x02\x03\x04"
EIGHT_BYTES = 127


def frame(opcode: int, payload: bytes = b"", *, fin: bool = True, rsv1: bool = False) -> bytes:
    return encode_frame(opcode, payload, fin=fin, rsv1=rsv1, mask=MASK)


def declaring(size: int, payload: bytes = b"") -> bytes:
    """The beginning of a frame that announces this length."""
    return struct.pack("!BBQ", 0x80 | BINARY, 0x80 | EIGHT_BYTES, size) + MASK + payload


def pour(wire: Wire, parts: Iterator[bytes] | list[bytes]) -> None:
    """Send until the server stops listening."""
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        for part in parts:
            wire.sock.sendall(part)


def code(wire: Wire) -> int:
    return wire.closed().code


@linux
@pytest.mark.parametrize("size", [2**63 - 1, 2**63, 2**64 - 1, 2**32 + 100])
def test_row_11_lengths_that_nobody_has(victim: Victim, size: int) -> None:
    with victim.growing_less_than(2 * MIB), victim.wire() as wire:
        wire.sock.sendall(declaring(size, b"x" * 100))
        assert code(wire) in (1002, 1009)


def test_row_12_a_ping_that_is_too_long_hides_no_text(victim: Victim) -> None:
    long_ping = struct.pack("!BBH", 0x80 | PING, 0x80 | 126, 126) + MASK + bytes(126)
    with victim.wire() as wire:
        wire.sock.sendall(long_ping + frame(TEXT, b"smuggled"))
        event = wire.next()
    assert isinstance(event, Close)
    assert event.code == 1002


@linux
def test_row_13_many_that_declare_much_and_send_little(victim: Victim) -> None:
    with contextlib.ExitStack() as stack:
        wires = [stack.enter_context(victim.wire()) for _ in range(1000 if FULL else 300)]
        with victim.growing_less_than(10 * MIB):
            for wire in wires[::2]:
                wire.sock.sendall(declaring(1 << 30, b"x" * 14))
            for wire in wires[1::2]:
                wire.sock.sendall(declaring(MIB, b"x" * 14))  # which is allowed
            for wire in wires[::2]:
                assert code(wire) == 1009


def test_row_14_one_byte_too_many_is_refused_at_the_header(victim: Victim) -> None:
    with victim.wire() as wire:
        wire.sock.sendall(declaring(MIB + 1))
        assert code(wire) == 1009
    with victim.wire() as wire:
        wire.sock.sendall(declaring(MIB, bytes(MIB)))
        assert len(wire.message()) == MIB


def test_row_15_no_default_is_unlimited(victim: Victim) -> None:
    with victim.wire() as wire:
        wire.sock.sendall(declaring(1 << 32))
        assert code(wire) == 1009
    for settings in (Limits(), Timeouts()):
        for name in settings.__struct_fields__:
            value = getattr(settings, name)
            assert name in ("max_queue", "max_memory") or 0 < value < math.inf
    assert 0 < Limits().queue_limit < math.inf
    assert 0 < Limits().memory_limit < math.inf


@linux
def test_row_16_continuations_without_end(victim: Victim) -> None:
    parts = [
        frame(BINARY, b"x" * 4096, fin=False),
        *[frame(CONTINUATION, b"x" * 4096, fin=False)] * 400,
    ]
    with victim.growing_less_than(6 * MIB), victim.wire() as wire:
        pour(wire, parts)
        assert code(wire) == 1009


@linux
@pytest.mark.parametrize("payload", [b"", b"x"], ids=["empty", "one byte"])
def test_row_17_tiny_fragments_without_end(victim: Victim, payload: bytes) -> None:
    many = frame(CONTINUATION, payload, fin=False) * 1000
    with victim.growing_less_than(2 * MIB), victim.wire() as wire:
        pour(wire, [frame(TEXT, payload, fin=False), *[many] * (1000 if FULL else 20)])
        assert code(wire) == 1008


def test_row_17_a_frame_in_single_bytes(victim: Victim) -> None:
    with victim.wire() as wire:
        wire.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        data = frame(BINARY, b"x" * 2000)
        for at in range(len(data)):
            wire.sock.sendall(data[at : at + 1])
        assert wire.message() == b"x" * 2000


@linux
@pytest.mark.parametrize("fragments", [1, pytest.param(20, marks=pytest.mark.slow)])
def test_row_18_a_bomb(victim: Victim, fragments: int) -> None:
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    data = b"".join(packer.compress(bytes(MIB)) for _ in range(256))
    data += packer.flush(zlib.Z_SYNC_FLUSH)[:-4]
    size = -(-len(data) // fragments)
    pieces = [data[at : at + size] for at in range(0, len(data), size)]
    frames = [
        frame(
            CONTINUATION if number else BINARY,
            piece,
            fin=number == len(pieces) - 1,
            rsv1=not number,
        )
        for number, piece in enumerate(pieces)
    ]
    upgrade = request(("sec-websocket-extensions", "permessage-deflate")).replace(
        b"/ws", b"/echo", 1
    )
    with victim.growing_less_than(2 * MIB), dial(victim.address) as sock:
        sock.sendall(upgrade)
        assert b"permessage-deflate" in sock.recv(4096)
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            sock.sendall(b"".join(frames))
        answer = sock.recv(4096)
    assert answer[:1] == b"\x88"
    assert struct.unpack("!H", answer[2:4])[0] == 1009


@pytest.mark.parametrize("first", [0xC0 | TEXT, 0xA0 | TEXT, 0x90 | TEXT, 0x83, 0x8B])
def test_row_20_bits_and_opcodes_that_nobody_agreed_on(victim: Victim, first: int) -> None:
    with victim.wire() as wire:
        wire.sock.sendall(bytes((first, 0x80)) + MASK)
        assert code(wire) == 1002


def test_row_21_an_unmasked_frame(victim: Victim) -> None:
    with victim.wire() as wire:
        wire.sock.sendall(encode_frame(TEXT, b"x"))
        assert code(wire) == 1002


def test_row_25_a_bad_frame_with_the_handshake(victim: Victim) -> None:
    with victim.wire(upgrade=False) as wire:
        wire.sock.sendall(wire.connection.data_to_send() + b"\xa1\x80" + MASK)
        assert isinstance(wire.next(), Accept)
        assert code(wire) == 1002


@pytest.fixture(params=KINDS)
def unhurried(request: pytest.FixtureRequest) -> Iterator[Victim]:
    """A server on which control frames may come as fast as they can be read."""
    with serving(request.param, "control_rate=1000000") as victim:
        yield victim


def pongs_leave_nothing(victim: Victim, count: int) -> None:
    """Pongs are legal at any time, and any number of them (RFC 6455, section 5.5.3)."""
    with victim.growing_less_than(2 * MIB), victim.wire() as wire:
        threads = victim.threads()
        wire.sock.sendall(wire.encoded(*[Pong(b"x")] * count))
        wire.send("done")
        assert wire.message() == "done"
        assert victim.threads() == threads


@linux
def test_row_27_pongs_that_nobody_asked_for(unhurried: Victim) -> None:
    pongs_leave_nothing(unhurried, 100_000)


@linux
def test_row_27_pongs_at_their_rate(victim: Victim) -> None:
    """All of the list's 100,000 would take 98 seconds. These are more than may come at once."""
    pongs_leave_nothing(victim, 3000)


@linux
@pytest.mark.parametrize(
    "event",
    [
        pytest.param(Ping(bytes(125)), id="ping", marks=pytest.mark.slow),  # 20 s of no progress
        pytest.param(TextMessage("x" * 60_000), id="echo"),
    ],
)
def test_row_28_who_asks_and_never_reads(victim: Victim, event: Ping | TextMessage) -> None:
    with (
        victim.growing_less_than(24 * MIB),
        victim.wire(receive_buffer=4096) as wire,
        victim.wire() as bystander,
    ):
        wire.sock.settimeout(0.2)
        data = wire.encoded(*[event] * (MIB // 1000 if isinstance(event, Ping) else 20))
        stopped = False
        for _ in range(3000):  # until the server stops reading, then cuts the client off
            try:
                wire.sock.sendall(data)
            except TimeoutError:
                stopped = True
                assert_answered(bystander)
            except OSError:
                break
        else:
            raise AssertionError("it was never cut off")
        assert stopped
    assert os.path.exists(victim.proc)
