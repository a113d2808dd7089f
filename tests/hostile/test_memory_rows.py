"""Many peers that each hold little more than they may: the memory of the process has a bound.

Each connection stays within its own limits, so nothing but the budget of the server
(`Limits.max_memory`) can end the attack. Others get their answers meanwhile.
"""

from __future__ import annotations

import contextlib
import zlib
from collections.abc import Iterator

import pytest

from sono_core import Ping, Pong
from sono_core.websocket.frames import encode_frame
from sono_core.websocket.opcodes import BINARY
from tests.hostile.conftest import FULL, KINDS, MIB, Victim, assert_answered, linux, serving
from tests.rules.peers import request
from tests.servers import dial, get

LIMIT = 64 * MIB
SLACK = 48 * MIB
"""Beside what is counted: sockets, sessions, and what the allocator keeps of what was freed."""
CROWD = 500 if FULL else 200
MASK = b"\0\0\0\0"  # so that masking costs nothing
ALMOST = encode_frame(BINARY, bytes(MIB), mask=MASK)[:-1]


@pytest.fixture(params=KINDS)
def limited(request: pytest.FixtureRequest) -> Iterator[Victim]:
    """A server with a small budget, on which a message may take a second.

    Nobody is closed because it has read nothing for a while.
    """
    with serving(request.param, f"max_memory={LIMIT}", "message=1", "write_stall=60") as victim:
        yield victim


def memory(victim: Victim) -> tuple[int, int]:
    """What the server counts, and how many it has closed for it."""
    held, evicted = get(victim.address, "/held").rpartition(b"\r\n\r\n")[2].split()
    return int(held), int(evicted)


COMPRESSED = ("sec-websocket-extensions", "permessage-deflate")


def attack(
    stack: contextlib.ExitStack, victim: Victim, sent: bytes, *headers: tuple[str, str]
) -> None:
    """Half of the crowd; each opens a WebSocket and sends this."""
    upgrade = request(*headers, line="GET /echo HTTP/1.1")
    for _ in range(CROWD // 2):
        sock = stack.enter_context(dial(victim.address))
        sock.sendall(upgrade)
        assert sock.recv(4096).startswith(b"HTTP/1.1 101 ")
        with contextlib.suppress(ConnectionError):
            sock.sendall(sent)


def half_a_bomb() -> bytes:
    """A thousand bytes that inflate to a message of 1 MiB less one byte, so far."""
    packer = zlib.compressobj(9, wbits=-15)
    data = packer.compress(bytes(MIB - 1)) + packer.flush(zlib.Z_SYNC_FLUSH)
    return encode_frame(BINARY, data, fin=False, rsv1=True, mask=MASK)


@linux
@pytest.mark.parametrize("kind", ["plain", "compressed"])
def test_messages_that_are_almost_complete(limited: Victim, kind: str) -> None:
    sent, headers = (ALMOST, ()) if kind == "plain" else (half_a_bomb(), (COMPRESSED,))
    with (
        contextlib.ExitStack() as stack,
        limited.wire("/echo") as honest,
        limited.growing_less_than(LIMIT + SLACK),
    ):
        attack(stack, limited, sent, *headers)
        assert_answered(honest)
        attack(stack, limited, sent, *headers)
        assert_answered(honest)
        with limited.wire("/echo") as newcomer:
            newcomer.send("let in")
            assert newcomer.message() == "let in"
        held, evicted = memory(limited)
        assert held <= LIMIT
        assert evicted > 0


@linux
def test_members_that_do_not_read_what_others_send(limited: Victim) -> None:
    crowd = CROWD // 4
    message = bytes(25 * MIB // crowd)  # what comes in one turn is counted when that ends
    rounds = 6 * MIB // len(message)  # more for each member than the kernel takes
    with (
        contextlib.ExitStack() as stack,
        limited.wire("/echo") as honest,
        limited.growing_less_than(LIMIT + SLACK),
    ):
        for _ in range(crowd):
            stack.enter_context(limited.wire("/fed", receive_buffer=4096))
        with limited.wire("/feed") as sender:
            for _ in range(rounds):
                sender.send(message)
                assert sender.message() == "fed"
                assert_answered(honest)
        held, evicted = memory(limited)
        assert held <= LIMIT
        assert evicted > 0


@linux
def test_small_frames_of_one_s_own_between_shared_ones(limited: Victim) -> None:
    """What a queue takes is counted, not only what is in its frames."""
    crowd, waiting = 2, MIB  # within each one's `queue_limit`
    with (
        contextlib.ExitStack() as stack,
        limited.wire("/echo") as honest,
        limited.growing_less_than(LIMIT + SLACK),
    ):
        for _ in range(crowd):
            stack.enter_context(limited.wire("/fed", receive_buffer=4096))
        with limited.wire("/feed-small") as sender:
            sender.send(str(waiting))
            assert sender.message() == "fed"
        assert_answered(honest)
        held, evicted = memory(limited)
        assert crowd * waiting / 4 < held <= LIMIT  # the rest is in the system's buffers
        assert not evicted


def test_a_message_that_is_never_finished(limited: Victim) -> None:
    with limited.wire("/echo") as wire:
        wire.sock.sendall(encode_frame(BINARY, bytes(100), fin=False, mask=MASK))
        for _ in range(3):
            wire.send(Ping(b"still here"))
            assert isinstance(wire.next(), Pong)
        assert wire.closed().code == 4009
