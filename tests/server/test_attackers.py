"""How much of many attackers is handled before a client that asks for little is served."""

from __future__ import annotations

import contextlib
import socket
import struct
from typing import Any

import pytest

from sono_core.lifecycle import Session
from sono_core.websocket.deflate import Inflater
from sono_core.websocket.frames import encode_frame
from sono_core.websocket.opcodes import BINARY, CONTINUATION, PING, TEXT
from sono_server import WebSocket
from tests.rules.peers import MASK, request
from tests.server.selector_helpers import held, until
from tests.servers import Wire, dial, running

ATTACKERS = 30
DEFLATE = ("Sec-WebSocket-Extensions", "permessage-deflate")


def fragments(rsv1: bool) -> bytes:
    """A message in 1,001 frames."""
    data = b"\x00\x00\x00\xff\xff" * 200 + b"\x00" if rsv1 else b"x" * 1001
    middle = [
        encode_frame(CONTINUATION, data[at : at + 1], fin=False, mask=MASK) for at in range(1, 1000)
    ]
    first = encode_frame(BINARY, data[:1], fin=False, rsv1=rsv1, mask=MASK)
    return b"".join((first, *middle, encode_frame(CONTINUATION, data[1000:], mask=MASK)))


FLOODS = {
    "pings": encode_frame(PING, b"", mask=MASK) * 1000,
    "fragments": fragments(False),
    "compressed fragments": fragments(True),
    "final blocks": encode_frame(TEXT, b"\x03\x00" * 1000 + b"\x00", rsv1=True, mask=MASK),
}


class Work:
    """Counts the frames that the peers of a server are charged for."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.frames = 0
        charge = Session.charge

        def counted(session: Session, number: int, now: float) -> None:
            self.frames += number
            charge(session, number, now)

        monkeypatch.setattr(Session, "charge", counted)


@pytest.mark.usefixtures("each_server")
@pytest.mark.parametrize("kind", FLOODS)
def test_who_asks_for_little_waits_for_little_of_each_attacker(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The time of each turn is over as soon as it has begun: the rest is counted, however fast the
    # machine is.
    monkeypatch.setattr("sono_io.fast.TURN_SECONDS", 1e-9)
    work = Work(monkeypatch)
    seen: list[int] = []

    def answer(ws: WebSocket, message: str | bytes) -> None:
        if message == "a question":
            seen.append(work.frames)
            ws.send("an answer")

    with (
        running(lambda request: request.accept(answer)) as server,
        contextlib.ExitStack() as stack,
    ):
        attackers = []
        for _ in range(ATTACKERS):
            sock = stack.enter_context(dial(server.address))
            sock.sendall(request(DEFLATE))
            assert b"permessage-deflate" in sock.recv(4096)
            attackers.append(sock)
        honest = stack.enter_context(Wire(server.address))
        with held(server):
            for sock in attackers:
                sock.sendall(FLOODS[kind] * 2)
            honest.send("a question")
        assert honest.message() == "an answer"
    # Of each at most what lies between two looks at the clock, twice, and a frame's pieces.
    assert seen[0] <= ATTACKERS * (2 * 32 + 16)


@pytest.mark.usefixtures("each_server")
def test_attackers_that_reset_their_connections_leave_little_work(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Streams that are lost in one turn share its time, as those that are read do."""
    monkeypatch.setattr("sono_io.fast.TURN_SECONDS", 1e-9)
    blocks = 0
    left: list[int] = []
    inflate, lost = Inflater.inflate, Session.lost

    def inflating(inflater: Inflater, *arguments: Any) -> list[bytes]:
        nonlocal blocks
        pieces = inflate(inflater, *arguments)
        blocks += len(pieces)
        return pieces

    def losing(session: Session, *arguments: Any) -> None:
        before, over = blocks, session.over
        lost(session, *arguments)
        if not over:
            left.append(blocks - before)

    monkeypatch.setattr(Inflater, "inflate", inflating)
    monkeypatch.setattr(Session, "lost", losing)
    flood = encode_frame(TEXT, b"x", mask=MASK) + FLOODS["final blocks"] * 30
    with running(lambda request: request.accept(WebSocket.send)) as server:
        attackers = [dial(server.address) for _ in range(ATTACKERS)]
        for sock in attackers:
            sock.sendall(request(DEFLATE))
            assert b"permessage-deflate" in sock.recv(4096)
        with held(server):
            for sock in attackers:
                sock.sendall(flood)
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                sock.close()
        until(lambda: len(left) == ATTACKERS)
        with Wire(server.address) as honest:
            honest.send("a question")
            assert honest.message() == "a question"
    # A turn that has just begun may give one of them the share of an ordinary turn.
    assert max(left) <= 1024 + 16
    assert sorted(left)[ATTACKERS // 2] <= 16
