"""Any bytes to a server: a request that may be accepted, or a refusal with a legal status.

Nothing is raised, however the bytes are cut the result is the same, and a request that is
answered with 101 had all that RFC 6455, section 4.2.1, asks for.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Sequence
from typing import NamedTuple

import h11

from sono_core import Accept, Connection, Event, Limits, Request, Role, State
from sono_core.errors import HandshakeFailure
from sono_core.http.head import HeadReader, _ordinary, _parsed
from sono_core.native import ordinary_head, pure_ordinary_head

from .checks import Target, check_end, head_of, values_of, ways

LIMITS = (
    Limits(),
    Limits(max_head=400, max_head_line=120, max_headers=8, max_early_data=64, max_message=1000),
)
_BEFORE = {400, 414, 431, 501, 505}  # refusals of the head alone
_AFTER = {400, 403, 405, 426}  # refusals of the request
_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_is_start = re.compile(rb"GET /[!-\"$-~]* HTTP/1\.[1-9]").fullmatch


class Answered(NamedTuple):
    """The result of the bytes."""

    request: Request | None
    answer: bytes
    """Everything that a server sends, including frames."""
    events: list[Event]
    """The events after the request."""


def answered(pieces: Sequence[bytes], limits: Limits) -> Answered:
    """Give a server the pieces, accept any request, then end the stream."""
    connection = Connection(Role.SERVER, limits=limits)
    events: list[Event] = []
    for piece in pieces:
        events += connection.receive_data(piece)
    assert len(events) <= 1, "there was more than a request before the answer"
    request = events[0] if events else None
    assert request is None or isinstance(request, Request), "the first event is no request"
    if request:
        offered = request.subprotocols
        refused = connection.verify()
        connection.send(Accept(offered[0] if offered else None))
        assert (refused is None) == (connection.state is State.OPEN), "verify foretold otherwise"
    rest = list(connection.receive_data(b""))
    assert connection.state is State.CLOSED, f"it ended {connection.state.value}"
    return Answered(request, connection.data_to_send(), rest)


def _check(data: bytes) -> None:
    _check_ordinary(data)
    for limits in LIMITS:
        whole, cut = (answered(pieces, limits) for pieces in ways(data))
        assert whole == cut, f"{whole} in one piece, {cut} in many"
        if whole.answer.startswith(b"HTTP/1.1 101 "):
            _check_accepted(data, whole)
        elif whole.answer:
            _check_refused(whole)
        else:
            assert not whole.request, "a request was not answered"
            assert b"\r\n\r\n" not in data, "a whole head was not answered"


def _check_ordinary(data: bytes) -> None:
    """What is read without h11 is what h11 reads."""
    try:
        found = HeadReader(Limits()).feed(data)
    except HandshakeFailure:
        return
    if not found:
        return
    native, pure = ordinary_head(found[0]), pure_ordinary_head(found[0])
    assert native == pure, f"C reads {native}, Python {pure}"
    if ordinary := _ordinary(found[0]):
        assert ordinary == _parsed(found[0]), f"read as {ordinary}"


def _check_refused(found: Answered) -> None:
    assert not found.events, "there were events after a refusal"
    method = found.request.method if found.request else "GET"
    parser = h11.Connection(h11.CLIENT)
    parser.send(h11.Request(method=method, target="/", headers=[("host", "-")]))
    parser.send(h11.EndOfMessage())
    parser.receive_data(found.answer)
    response = parser.next_event()
    assert isinstance(response, h11.Response), f"the refusal is no response: {response}"
    legal = _AFTER if found.request else _BEFORE
    assert response.status_code in legal, f"refused with {response.status_code}"
    fields = list(response.headers)
    assert b"close" in b", ".join(values_of(fields, b"connection")), "the refusal keeps alive"
    event = parser.next_event()
    if isinstance(event, h11.Data):
        assert len(event.data) < 200, "a refusal grows with what it refuses"
        event = parser.next_event()
    assert isinstance(event, h11.EndOfMessage), "the refusal's body does not end where it says"
    assert parser.trailing_data == (b"", False), "the refusal is longer than it says"


def _check_accepted(data: bytes, found: Answered) -> None:
    assert found.request, "accepted without a request"
    start, fields = head_of(data)
    assert _is_start(start), f"the request line was {start!r}"
    host, key, version, upgrade, length, coding = (
        values_of(fields, name)
        for name in (
            b"host",
            b"sec-websocket-key",
            b"sec-websocket-version",
            b"upgrade",
            b"content-length",
            b"transfer-encoding",
        )
    )
    assert [bool(value) for value in host] == [True], f"the hosts were {host}"
    assert len(key) == 1, "not exactly one key"
    decoded = base64.b64decode(key[0], validate=True)
    assert len(decoded) == 16, f"the key has {len(decoded)} bytes"
    assert base64.b64encode(decoded) == key[0], f"the key was {key[0]!r}"
    assert version == [b"13"], f"the version was {version}"
    assert b"websocket" in b",".join(upgrade).lower(), "no upgrade to websocket"
    assert length in ([], [b"0"]), f"the body had {length} bytes"
    assert not coding, f"the body was {coding}"
    accept = base64.b64encode(hashlib.sha1(key[0] + _GUID, usedforsecurity=False).digest())
    sent = values_of(head_of(found.answer)[1], b"sec-websocket-accept")
    assert sent == [accept], f"the accept key is {sent}"
    check_end(found.events, len(data))


WORDS = (
    *(f"{method} / HTTP/1.1\r\n".encode() for method in ("GET", "HEAD", "POST", "CONNECT")),
    b"HTTP/1.0",
    b"http://host/",
    b"\r\n",
    b"\r\n\r\n",
    b"\n",
    b": ",
    b", ",
    b"\t",
    b"Host: host",
    b"Host: [::1]:80",
    b"Upgrade: websocket",
    b"Connection: keep-alive, Upgrade",
    b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==",
    b"Sec-WebSocket-Version: 13",
    b"Sec-WebSocket-Protocol: chat, superchat",
    b"Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits",
    b"Origin: http://host",
    b"Origin: null",
    b"Content-Length: 0",
    b"Transfer-Encoding: chunked",
    b"Expect: 100-continue",
    b"X: " + b"x" * 128,
)
TARGET = Target("request", _check, WORDS, longest=20_000)
