"""Any bytes to a client that waits for its upgrade: one answer, and only a valid one opens it.

Nothing is raised, however the bytes are cut the result is the same, and a response that opens the
connection had all that RFC 6455, section 4.1, asks for.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

from sono_core import Accept, Connection, Event, Limits, Reject, Request, Role, State

from .checks import Target, check_end, head_of, values_of, ways

LIMITS = (
    Limits(),
    Limits(max_head=400, max_head_line=120, max_headers=8, max_refusal_body=64, max_message=1000),
)
SUBPROTOCOLS = ("chat", "superchat")
# for the key that a source of zeros gives
ACCEPT = b"ICX+Yqv66kxgM0FcWaLWlFLwTAI="
_is_switching = re.compile(rb"HTTP/1\.1 101(?: [^\r\n]*)?").fullmatch
_is_interim = re.compile(rb"HTTP/1\.[0-9] 1[0-9][0-9](?: .*)?").fullmatch


class Answered(NamedTuple):
    """The result of the bytes."""

    events: list[Event]
    sent: bytes
    state: State


def answered(pieces: Sequence[bytes], limits: Limits) -> Answered:
    """Give a client the pieces, then the end of the stream."""
    connection = Connection(Role.CLIENT, limits=limits, random=bytes)
    connection.send(Request("/", host="host", subprotocols=SUBPROTOCOLS))
    connection.data_to_send()
    events: list[Event] = []
    for piece in (*pieces, b""):
        events += connection.receive_data(piece)
    return Answered(events, connection.data_to_send(), connection.state)


def _check(data: bytes) -> None:
    for limits in LIMITS:
        whole, cut = (answered(pieces, limits) for pieces in ways(data))
        assert whole == cut, f"{whole} in one piece, {cut} in many"
        assert whole.events, "there was no answer"
        assert whole.state is State.CLOSED, f"it ended {whole.state.value}"
        answer, *rest = whole.events
        if isinstance(answer, Accept):
            _check_accepted(data, answer)
            check_end(rest, len(data))
        else:
            _check_refused(answer, rest, limits)
            assert not whole.sent, "something was sent after a refusal"


def _check_refused(answer: Event, rest: list[Event], limits: Limits) -> None:
    assert isinstance(answer, Reject), f"the answer is {answer}"
    assert not rest, "there were events after a refusal"
    assert answer.status == 0 or 200 <= answer.status <= 999, f"the status is {answer.status}"
    longest = limits.max_refusal_body if answer.status else 200
    assert len(answer.body) <= longest, f"a body of {len(answer.body)} bytes"


def _check_accepted(data: bytes, accept: Accept) -> None:
    start, fields = head_of(data, folded=True)
    while _is_interim(start) and not _is_switching(start):
        data = data.partition(b"\r\n\r\n")[2]
        start, fields = head_of(data, folded=True)
    assert _is_switching(start), f"the status line was {start!r}"
    assert values_of(fields, b"sec-websocket-accept") == [ACCEPT], "the accept key was wrong"
    upgrade = b",".join(values_of(fields, b"upgrade")).strip(b" \t,").lower()
    assert upgrade == b"websocket", f"Upgrade was {upgrade!r}"
    assert b"upgrade" in b",".join(values_of(fields, b"connection")).lower(), "no Connection"
    chosen = [value.decode() for value in values_of(fields, b"sec-websocket-protocol")]
    assert chosen == ([accept.subprotocol] if accept.subprotocol else []), f"agreed on {chosen}"
    assert set(chosen) <= {*SUBPROTOCOLS}, f"{chosen} was not offered"
    extensions = values_of(fields, b"sec-websocket-extensions")
    assert len(extensions) <= 1, "extensions were repeated"
    for value in extensions:
        assert b"permessage-deflate" in value or not value.strip(b" \t,"), f"agreed on {value!r}"


WORDS = (
    b"HTTP/1.1 101 Switching Protocols\r\n",
    *(f"HTTP/1.1 {status} \r\n".encode() for status in (100, 103, 200, 204, 302, 304, 403, 503)),
    b"HTTP/1.0 200 OK\r\n",
    b"\r\n",
    b"\r\n\r\n",
    b": ",
    b", ",
    b"Upgrade: websocket\r\n",
    b"Connection: Upgrade\r\n",
    b"Sec-WebSocket-Accept: " + ACCEPT + b"\r\n",
    b"Sec-WebSocket-Protocol: chat\r\n",
    b"Sec-WebSocket-Extensions: permessage-deflate; server_no_context_takeover\r\n",
    b"server_max_window_bits=8",
    b"client_max_window_bits",
    b"Content-Length: 5\r\n",
    b"Transfer-Encoding: chunked\r\n",
    b"5\r\nhello\r\n0\r\n\r\n",
    b"Retry-After: 1\r\n",
    b"\x81\x05hello",
    b"\x88\x02\x03\xe8",
)
TARGET = Target("response", _check, WORDS, longest=20_000)
