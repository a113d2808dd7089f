"""A client's session that is refused: the head decides, and the body is waited for a little."""

from __future__ import annotations

import math

import pytest

from sono_core import Reject, Request, Role, Timeouts
from tests.fakes import Rig

HEAD = b"HTTP/1.1 503 Busy\r\nRetry-After: 7\r\n"
UNFINISHED = {
    "a length": HEAD + b"Content-Length: 9\r\n\r\nno",
    "chunks": HEAD + b"Transfer-Encoding: chunked\r\n\r\n2\r\nno\r\n",
    "neither": HEAD + b"\r\nno",
}
unfinished = pytest.mark.parametrize("answer", UNFINISHED.values(), ids=list(UNFINISHED))


def asking(timeouts: Timeouts | None = None) -> Rig:
    rig = Rig(Role.CLIENT, opened=False, timeouts=timeouts or Timeouts())
    rig.session.connect(Request("/ws", host="example.com"))
    rig.transport.write()
    return rig


def refused(rig: Rig) -> Reject:
    (reject,) = rig.handler.log
    assert isinstance(reject, Reject)
    return reject


@unfinished
def test_a_body_that_does_not_end_is_waited_for_a_second(answer: bytes) -> None:
    rig = asking()
    rig.session.receive(answer, 2.0)
    assert rig.handler.log == []
    assert rig.session.deadlines.next == 3.0
    rig.session.receive(b"1", 2.9)  # no byte extends it
    assert rig.session.deadlines.next == 3.0
    rig.tick(3.0)
    reject = refused(rig)
    assert (reject.status, reject.headers["retry-after"]) == (503, "7")
    assert reject.body.startswith(b"no")
    assert rig.session.over
    assert rig.session.deadlines.next == math.inf


@unfinished
def test_but_not_longer_than_the_handshake_may_take(answer: bytes) -> None:
    rig = asking(Timeouts(handshake=0.5))
    rig.session.receive(answer, 0.4)
    assert rig.session.deadlines.next == 0.5
    rig.tick(0.5)
    assert refused(rig).status == 503


def test_a_head_that_does_not_end_has_the_time_of_the_handshake() -> None:
    rig = asking()
    rig.session.receive(HEAD, 2.0)
    assert rig.session.deadlines.next == 5.0
    rig.tick(5.0)
    assert refused(rig) == Reject(0, body=b"the handshake took too long")


@unfinished
@pytest.mark.parametrize("reason", ["", "TLS failed: bad record mac"])
@pytest.mark.parametrize("late", [b"", b"t"], ids=["nothing", "a byte"])
def test_a_stream_that_breaks_in_the_body_ends_that(
    answer: bytes, reason: str, late: bytes
) -> None:
    rig = asking()
    rig.session.receive(answer, 0.0)
    rig.session.lost(late, reason)
    reject = refused(rig)
    assert (reject.status, reject.headers["retry-after"]) == (503, "7")
    assert reject.body.startswith(b"no")


def test_a_head_in_what_could_still_be_read_is_told_rather_than_the_reason() -> None:
    rig = asking()
    rig.session.lost(HEAD + b"\r\n", "TLS failed: bad record mac")
    assert refused(rig).status == 503


@pytest.mark.parametrize("rest", [b"", HEAD, b"HTTP/1.1 101 Switching Protocols\r\n\r\n"])
def test_without_a_refusal_the_reason_is_told(rest: bytes) -> None:
    rig = asking()
    rig.session.lost(rest, "TLS failed: bad record mac")
    assert refused(rig) == Reject(0, body=b"TLS failed: bad record mac")


def test_a_redirect_is_told_at_once() -> None:
    rig = asking()
    rig.session.receive(b"HTTP/1.1 302 X\r\nLocation: /n\r\nContent-Length: 9\r\n\r\n", 0.0)
    assert refused(rig).headers["location"] == "/n"


def test_a_server_is_never_refused() -> None:
    rig = Rig(opened=False)
    assert rig.session.connection.refused is None
    rig.request()
    assert rig.session.connection.refused is None
