"""Any bytes as a proxy's answer: an open tunnel, or one failure that says why.

Nothing is raised, and however the bytes are cut the result is the same. The inner layer receives
all that follows the proxy's agreement and nothing before it; its own bytes leave only then.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple, cast

from sono_core import Limits
from sono_core.connect.proxy import parse_proxy
from sono_core.connect.tunnel import Tunnel
from sono_core.lifecycle.interfaces import Layer, Transport
from sono_core.websocket.outbox import Outbox

from .checks import Target, ways

LIMITS = (Limits(), Limits(max_head=400, max_head_line=120, max_headers=8))
_HELD = b"the inner layer says this first"
_PROXY = parse_proxy("http://user:password@proxy:3128")
_is_agreement = re.compile(rb"HTTP/1\.[0-9] 2[0-9][0-9](?: .*)?").fullmatch
_is_interim = re.compile(rb"HTTP/1\.[0-9] 1[0-9][0-9](?: .*)?").fullmatch


class _Inner:
    """The inner layer and its transport; records the calls."""

    def __init__(self) -> None:
        self.outbox = Outbox()
        self.outbox.append(_HELD)
        self.transport = cast(Transport, self)
        self.over = False
        self.heard = b""
        self.reasons: list[str] = []

    def write_soon(self) -> None:
        """As a transport."""

    def receive(self, data: bytes, now: float) -> None:
        assert data, "the inner layer is told of an end that did not come"
        self.heard += data

    def lost(self, rest: bytes = b"", reason: str = "") -> None:
        self.over = True
        self.reasons.append(reason)


class Answered(NamedTuple):
    """The result of the bytes."""

    opened: bool
    heard: bytes
    status: int | None
    sent: bytes
    reasons: list[str]


def answered(pieces: Sequence[bytes], limits: Limits) -> Answered:
    """Give a tunnel the pieces, until it has failed."""
    inner = _Inner()
    tunnel = Tunnel(cast(Layer, inner), "host:443", _PROXY, limits)
    request = tunnel.outbox.take()
    assert request.startswith(b"CONNECT host:443 HTTP/1.1\r\n"), f"the request is {request!r}"
    assert _HELD not in request, "the inner layer spoke to the proxy"
    for piece in pieces:
        if not inner.over:
            tunnel.receive(piece, 0.0)
    return Answered(tunnel.opened, inner.heard, tunnel.status, tunnel.outbox.take(), inner.reasons)


def _final(data: bytes) -> tuple[bytes, bytes, bytes]:
    """The first head of at most eight that is not interim, its end if it has come, and the rest."""
    for _ in range(8):
        head, end, rest = data.partition(b"\r\n\r\n")
        if not end or not _is_interim(head.partition(b"\r\n")[0]):
            break
        data = rest
    return data.partition(b"\r\n\r\n")


def _check(data: bytes) -> None:
    head, end, rest = _final(data)
    for limits in LIMITS:
        whole, cut = (answered(pieces, limits) for pieces in ways(data))
        assert whole == cut, f"{whole} in one piece, {cut} in many"
        if whole.opened:
            assert not whole.reasons, f"it is open, and failed: {whole.reasons}"
            start = head.partition(b"\r\n")[0]
            assert _is_agreement(start), f"opened by {start!r}"
            assert end, f"opened by half a head: {head!r}"
            assert whole.heard == rest, f"the inner layer heard {whole.heard!r}"
            assert whole.sent == _HELD, "what was held did not follow"
            continue
        assert not whole.heard, f"it is not open, and {whole.heard!r} passed"
        assert not whole.sent, f"it is not open, and {whole.sent!r} left"
        assert len(whole.reasons) <= 1, f"it failed twice: {whole.reasons}"
        assert whole.reasons or not end, "a whole answer was not taken"
        if whole.status is not None:
            assert whole.reasons, f"refused with {whole.status}, and the inner layer is not told"
            assert not 200 <= whole.status <= 299, f"refused with {whole.status}"
        for reason in whole.reasons:
            assert len(reason) <= limits.max_head_line + 100, "the reason has no end"
            assert "password" not in reason, "a secret is told"


WORDS = (
    *(f"HTTP/1.1 {status} \r\n".encode() for status in (100, 101, 200, 204, 299, 302, 407, 502)),
    b"HTTP/1.0 200 Connection established\r\n\r\n",
    b"\r\n",
    b"\r\n\r\n",
    b"Content-Length: 5\r\n",
    b"Transfer-Encoding: chunked\r\n",
    b"Proxy-Authenticate: Basic\r\n",
    b"hello",
)
TARGET = Target("tunnel", _check, WORDS, longest=20_000)
