"""Peers that do not speak TLS or break it, and failures that must not block anything."""

from __future__ import annotations

import random
import ssl
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from sono_core import BinaryMessage, Close, Reject, Role, TextMessage
from tests.certificates import client_side, server_side
from tests.secure import CUTS, End, Pair, random_cuts

KIB = 1024


# -- peers that speak no TLS ------------------------------------------------------------------


@pytest.mark.parametrize("cut", CUTS)
@pytest.mark.parametrize(
    "data",
    [
        b"GET /ws HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"CONNECT localhost:443 HTTP/1.1\r\n\r\n",
        b"SSH-2.0-OpenSSH\r\n",
        bytes(100),
        b"\xff" * 100,
        b"\x16\x03\x01\xff\xff" + b"a" * 100,
        b"\x16\x03\x01\x00\x64" + b"a" * 100,
    ],
)
def test_a_server_tells_who_speaks_no_tls_so_and_ends(
    data: bytes, cut: Callable[[bytes], Iterator[bytes]]
) -> None:
    end = End(Role.SERVER, server_side())
    for piece in cut(data):
        if end.tls.reading:
            end.receive(piece)
    answer = end.take()
    assert answer[0] == 21  # an alert (RFC 8446, section 5.1)
    assert answer[1] == 3
    assert answer[3:6] == b"\x00\x02\x02"  # fatal
    assert len(answer) == 7
    assert not end.tls.reading
    end.tick(0.0)
    assert end.tls.over
    assert end.transport.asked[-1] == "abort"
    assert end.log == []


@pytest.mark.parametrize("cut", CUTS)
def test_a_client_tells_that_the_server_speaks_no_tls(
    cut: Callable[[bytes], Iterator[bytes]],
) -> None:
    end = End(Role.CLIENT, client_side(), "localhost")
    end.take()
    for piece in cut(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n"):
        if end.tls.reading:
            end.receive(piece)
    end.tick(0.0)
    assert end.log == [Reject(0, body=b"the peer does not speak TLS")]
    assert end.tls.over


@pytest.mark.parametrize("role", list(Role))
def test_a_spoiled_record_ends_an_open_connection(role: Role) -> None:
    pair = Pair().opened()
    good, bad = (pair.server, pair.client)
    if role is Role.CLIENT:
        good, bad = bad, good
    bad.session.send(TextMessage("before"))
    first = bad.take()
    bad.session.send(TextMessage("spoiled"))
    second = bytearray(bad.take())
    second[-1] ^= 1
    good.receive(first + bytes(second))
    assert good.log == ["before"]
    assert good.take()  # an alert
    good.tick(0.0)
    assert good.log == ["before", Close(1006, "the connection ended", False)]
    assert good.transport.asked[-1] == "abort"


@pytest.mark.parametrize("seed", range(20))
def test_no_garbage_raises(seed: int) -> None:
    source = random.Random(seed)
    pair = Pair()
    pair.server.receive(pair.client.take())
    data = bytearray(pair.server.take())
    for _ in range(1 + seed % 5):
        data[source.randrange(len(data))] = source.randrange(256)
    for piece in random_cuts(bytes(data)):
        if pair.client.tls.reading:
            pair.client.receive(piece)
    pair.client.take()
    pair.client.tick(100.0)
    pair.client.tick(100.0)
    assert pair.client.tls.over
    assert all(isinstance(entry, Reject) for entry in pair.client.log)
    assert not pair.client.handler.errors


# -- failing politely -------------------------------------------------------------------------


def failed(room: float) -> End:
    """A server whose client does not speak TLS, and reads that many bytes."""
    end = End(Role.SERVER, server_side())
    end.transport.room = room
    end.receive(b"GET / HTTP/1.1\r\n\r\n")
    return end


def test_an_alert_that_cannot_be_written_holds_nothing_up() -> None:
    end = failed(room=3)
    assert not end.tls.over
    end.tick(0.0)
    assert end.tls.over


def test_an_alert_that_nobody_tries_to_write_is_given_up_in_time() -> None:
    end = End(Role.SERVER, server_side())
    end.tls.receive(b"GET / HTTP/1.1\r\n\r\n", 0.0)
    end.tls.tick(0.5)
    assert not end.tls.over
    end.tls.tick(1.0)
    assert end.tls.over


def test_after_a_failure_nothing_is_heard_and_nothing_sent() -> None:
    pair = Pair().opened()
    end = pair.server
    end.transport.room = 0
    end.tls.receive(b"\x17\x03\x03\x00\x40" + bytes(64), 0.0)
    assert not end.tls.reading
    assert not end.tls.reading
    assert not end.tls.pump_due
    waiting = end.tls.outbox.size
    end.session.send(TextMessage("unheard"))
    assert end.tls.outbox.size == waiting
    end.tls.receive(b"more", 0.0)
    end.tls.go_away(1001, "", 0.0)
    assert end.handler.closes == [Close(1006, "the connection ended", False)]


def test_a_failure_is_no_call_in_the_middle_of_another() -> None:
    pair = Pair().opened()
    end = pair.server
    # The handler's answer is written at once, in the middle of its call; the alert follows later.
    end.handler.reactions["on_message"] = lambda: (
        end.session.send(BinaryMessage(bytes(100 * KIB))),
        end.session.send(BinaryMessage(bytes(100 * KIB))),
    )
    pair.client.session.send(TextMessage("ask"))
    end.tls.receive(pair.client.take() + b"\x17\x03\x03\x00\x40" + bytes(64), 0.0)
    end.transport.write()
    end.tick(0.0)
    assert end.log == ["ask", Close(1006, "the connection ended", False)]
    assert not end.handler.errors


# -- writes that fail -------------------------------------------------------------------------


class Stub:
    """An `SSLContext` whose objects have one method that fails on demand."""

    def __init__(self, context: ssl.SSLContext) -> None:
        self._context = context
        self.errors: list[Exception] = []
        """The exceptions that the next calls of `write` raise."""

    def wrap_bio(self, *arguments: Any, **options: Any) -> Stub:
        self._object = self._context.wrap_bio(*arguments, **options)
        return self

    def write(self, data: memoryview) -> int:
        if self.errors:
            raise self.errors.pop(0)
        return self._object.write(data)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._object, name)


def test_a_write_that_must_wait_for_the_peer_is_repeated_later() -> None:
    stub = Stub(client_side())
    pair = Pair(client=stub).opened()
    stub.errors = [ssl.SSLWantReadError()] * 2
    pair.client.session.send(TextMessage("one"))
    pair.client.session.send(TextMessage("two"))
    assert pair.client.tls.outbox.size == 0
    assert pair.client.session.outbox.size > 0
    pair.client.tls.close()
    pair.carry()
    assert pair.server.log[:2] == ["one", "two"]


def test_a_write_that_fails_ends_the_connection_at_the_next_tick() -> None:
    stub = Stub(client_side())
    pair = Pair(client=stub).opened()
    error = ssl.SSLError("unheard of")
    error.reason = None  # type: ignore[assignment]  # as OpenSSL's own sometimes have it
    stub.errors = [error]
    pair.client.session.send(TextMessage("one"))
    assert pair.client.take() == b""
    assert pair.client.log == []
    pair.client.tick(0.0)
    assert pair.client.log == [Close(1006, "the connection ended", False)]


def test_a_failure_before_the_first_byte_is_told_too() -> None:
    context = client_side()
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    end = End(Role.CLIENT, context, "localhost")
    end.tick(0.0)
    assert end.log == [Reject(0, body=b"TLS failed: no protocols available")]
