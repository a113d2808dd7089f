"""A client's and a server's session in TLS, joined in memory by bytes that are cut anywhere."""

from __future__ import annotations

import random
import ssl
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from sono_core import Accept, Limits, Reject, Request, Role, Session, Timeouts
from sono_core.limits import DEFAULT_LIMITS, DEFAULT_TIMEOUTS
from sono_core.tls.layer import SecureSession
from tests.certificates import client_side, server_side
from tests.fakes import FakeTransport, RecordingHandler
from tests.helpers import new_connection


def whole(data: bytes) -> Iterator[bytes]:
    """Everything in one piece."""
    if data:
        yield data


def single_bytes(data: bytes) -> Iterator[bytes]:
    """One byte at a time."""
    for index in range(len(data)):
        yield data[index : index + 1]


def random_cuts(data: bytes) -> Iterator[bytes]:
    """At places that are the same in every run."""
    source = random.Random(len(data))
    while data:
        size = source.choice((1, 5, 100, 3000, 17000))
        yield data[:size]
        data = data[size:]


VERSIONS = [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3]
CUTS = [whole, pytest.param(single_bytes, marks=pytest.mark.slow), random_cuts]


class End:
    """One side: a session in TLS on a transport in memory."""

    def __init__(
        self,
        role: Role,
        context: Any,
        hostname: str | None = None,
        limits: Limits = DEFAULT_LIMITS,
        timeouts: Timeouts = DEFAULT_TIMEOUTS,
    ) -> None:
        self.transport = FakeTransport()
        self.handler = RecordingHandler()
        self.session = Session(
            new_connection(role, deflate=None, limits=limits),
            self.transport,
            self.handler,
            now=0.0,
            limits=limits,
            timeouts=timeouts,
        )
        if role is Role.SERVER:
            self.handler.reactions["on_request"] = self.accept
        self.tls = SecureSession(self.session, context, server_hostname=hostname)
        self.transport.session = self.tls  # type: ignore[assignment]
        self.unread = b""
        """Bytes that the other side has written while this one does not read."""
        self.shut = False
        """Whether the other side has seen the end of this one's stream."""

    def accept(self) -> None:
        self.session.accept(Accept(), self.transport.now)

    @property
    def log(self) -> list[object]:
        return self.handler.log

    @property
    def ends(self) -> bool:
        """Whether its stream has an end now, in this direction at least."""
        asked = self.transport.asked
        return "abort" in asked or ("close" in asked and not self.tls.outbox.size)

    def take(self) -> bytes:
        """The bytes written since the last call."""
        self.transport.write()
        data = bytes(self.transport.wire)
        self.transport.wire.clear()
        return data

    def receive(self, data: bytes) -> None:
        """Bytes arrive, or the end of the stream."""
        self.tls.receive(data, self.transport.now)
        self.transport.write()

    def tick(self, now: float) -> None:
        """The time is `now`, and the loop checks the deadlines."""
        self.transport.now = now
        if not self.tls.over and self.tls.deadlines.next <= now:
            self.tls.tick(now)
            self.transport.write()

    def turn(self, cut: Callable[[bytes], Iterator[bytes]]) -> bool:
        """Read what has arrived and do what is due; returns whether anything had arrived."""
        if self.tls.over:
            self.unread = b""
            return False
        moved = False
        if self.tls.pump_due:
            self.tls.pump(self.transport.now)
            self.transport.write()
            moved = True
        left = self.unread
        for piece in cut(left):
            if not self.tls.reading:
                break
            left = left[len(piece) :]
            self.receive(piece)
            moved = True
        self.unread = left
        if self.tls.deadlines.next <= self.transport.now:
            self.tick(self.transport.now)
            moved = True
        return moved


class Pair:
    """A client and a server, and the wire between them."""

    def __init__(
        self,
        *,
        client: Any = None,
        server: Any = None,
        hostname: str = "localhost",
        cut: Callable[[bytes], Iterator[bytes]] = whole,
        limits: Limits = DEFAULT_LIMITS,
        timeouts: Timeouts = DEFAULT_TIMEOUTS,
    ) -> None:
        self.cut = cut
        self.server = End(Role.SERVER, server or server_side(), None, limits, timeouts)
        self.client = End(Role.CLIENT, client or client_side(), hostname, limits, timeouts)
        host = f"[{hostname}]" if ":" in hostname else hostname
        self.client.session.connect(Request("/ws", host=host))

    def carry(self) -> None:
        """Move bytes to and fro until none move any more."""
        moved = True
        while moved:
            moved = False
            for end, other in ((self.client, self.server), (self.server, self.client)):
                data = end.take()
                other.unread += data
                moved |= bool(data)
                moved |= other.turn(self.cut)
                if end.ends and not end.shut and not other.unread:
                    end.shut = True
                    moved = True
                    if not other.tls.over:
                        other.receive(b"")

    def opened(self) -> Pair:
        """Complete both handshakes."""
        self.carry()
        (request,) = self.server.log
        (accept,) = self.client.log
        assert isinstance(request, Request)
        assert isinstance(accept, Accept)
        self.server.log.clear()
        self.client.log.clear()
        for end in (self.client, self.server):
            assert end.session.open
            end.transport.asked.clear()
        return self

    def refusal(self) -> str:
        """Why the client was not connected; both sides are over."""
        self.carry()
        (reject,) = self.client.log
        assert isinstance(reject, Reject)
        assert reject.status == 0
        assert self.client.tls.over
        assert self.server.tls.over
        assert self.server.log == []
        return reject.body.decode()
