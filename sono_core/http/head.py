"""Reads one head of HTTP/1.1 or 1.0 strictly and within bounds, then lets h11 parse it.

RFC 9112, sections 2 to 6. h11 is lenient, and enforces no limit on what arrives in one piece, so
bytes are counted and checked line by line before it gets them.
"""

import re
from collections.abc import Iterable
from typing import NamedTuple

import h11

from sono_core.errors import HandshakeFailure
from sono_core.events import Request
from sono_core.headers import Headers
from sono_core.limits import Limits
from sono_core.native import ordinary_head

from .grammar import is_host, parse_tokens

# No line may contain a control character other than the tab, nor a CR or LF before its end.
_forbidden = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]").search
# Matches a head whose lines all pass `_check_line`.
_faultless = re.compile(rb"(?:[^\x00-\x20\x7f][^\x00-\x08\x0a-\x1f\x7f]*\r\n)+\r\n").fullmatch
# The handshake reads these fields, so they must be ASCII; others may be latin-1.
_ASCII_FIELDS = re.compile(r"host|origin|upgrade|connection|sec-websocket-.*").fullmatch


class HeadReader:
    """Collects the bytes of a head, up to and including its empty line.

    The first byte that breaks a rule decides the error, however the bytes were cut.

    Args:
        limits: of the head.
        folded: whether a field may go on in further lines, as in a response (RFC 9112, section
            5.2); h11 replaces each fold by a space.
    """

    __slots__ = ("_data", "_folded", "_limits", "_line_start", "_lines")

    def __init__(self, limits: Limits, folded: bool = False) -> None:
        self._limits = limits
        self._folded = folded
        self._data = bytearray()
        self._line_start = 0
        self._lines = 0

    @property
    def held(self) -> int:
        """Bytes of a head that has not come whole."""
        return len(self._data)

    def feed(self, data: bytes) -> tuple[bytes, bytes] | None:
        """The whole head and what follows it, or None until the head is complete.

        Raises:
            HandshakeFailure: 400, 414 or 431.
        """
        buffer = self._data
        if not buffer and (end := data.find(b"\r\n\r\n") + 4) > 4:
            head = data[:end]
            if self._is_good(head):
                return head, data[end:]
        searched = len(buffer)
        buffer += data
        while True:
            newline = buffer.find(b"\n", searched)
            if newline < 0:
                self._check_size(len(buffer))
                return None
            searched = newline + 1
            self._check_size(searched)
            line = bytes(buffer[self._line_start : searched])
            self._check_line(line)
            self._line_start = searched
            if line == b"\r\n":
                return bytes(buffer[:searched]), bytes(buffer[searched:])
            self._lines += 1
            if self._lines > self._limits.max_headers + 1:
                raise HandshakeFailure(431, "too many header fields")

    def _is_good(self, head: bytes) -> bool:
        """Whether a head that came in one piece is clearly within all bounds.

        Most are, and need no check line by line.
        """
        limits = self._limits
        return (
            len(head) <= limits.max_head_line
            and len(head) <= limits.max_head
            and head.count(b"\n") <= limits.max_headers + 2
            and _faultless(head) is not None
        )

    def _check_size(self, end: int) -> None:
        if self._lines == 0 and self._data[:1] <= b" ":
            raise HandshakeFailure(400, "the head begins with a space or a control character")
        if end - self._line_start > self._limits.max_head_line or end > self._limits.max_head:
            status = 431 if self._lines else 414
            raise HandshakeFailure(status, "the head or a line of it is too long")

    def _check_line(self, line: bytes) -> None:
        if not line.endswith(b"\r\n"):
            raise HandshakeFailure(400, "a line does not end with CRLF")
        if _forbidden(line, 0, len(line) - 2):
            raise HandshakeFailure(400, "control character in the head")
        if line[:1] in (b" ", b"\t") and not (self._folded and self._lines > 1):
            raise HandshakeFailure(400, "folded header field")


class _Head(NamedTuple):
    """A head that is well-formed."""

    method: str
    target: str
    version: str
    """1.1 or 1.0."""
    headers: Headers


def text_fields(pairs: Iterable[tuple[bytes, bytes]], ascii_only: bool) -> Headers:
    """The header fields that h11 parsed, as text.

    Args:
        ascii_only: whether the whole head is ASCII.
    """
    fields = Headers.parsed(
        [(name.decode("ascii").lower(), value.decode("latin-1")) for name, value in pairs]
    )
    if not ascii_only:
        for name, value in fields.fields():
            if not value.isascii() and _ASCII_FIELDS(name):
                raise HandshakeFailure(400, f"{name} is not ASCII")
    return fields


def parse_request(head: bytes, scheme: str = "http") -> Request:
    """The request of a whole head.

    Args:
        scheme: `Request.scheme`.

    Raises:
        HandshakeFailure: 400, 501 (a transfer coding that h11 does not know) or 505.
    """
    method, target, version, headers = _ordinary(head) or _parsed(head)
    old = version == "1.0"
    asterisk = target == "*" and method == "OPTIONS"  # RFC 9112, section 3.2.4
    if (not target.startswith("/") and not asterisk) or "#" in target:
        raise HandshakeFailure(400, "the target is not in origin form")
    fields = headers.combined()
    host = fields.get("host", "")
    # ", " joins repeated ones, and no host contains it; HTTP/1.0 had none
    if not is_host(host) and ("host" in fields or not old):
        raise HandshakeFailure(400, "exactly one valid Host is required")
    if "transfer-encoding" in fields and ("content-length" in fields or old):
        raise HandshakeFailure(400, "the length of the body is ambiguous")
    offered = fields.get("sec-websocket-protocol")
    try:
        subprotocols = tuple(parse_tokens([offered])) if offered else ()
    except ValueError:
        subprotocols = ()  # an upgrade will be refused; other requests do not care
    return Request(target, headers, method, host, subprotocols, version, scheme)


def _ordinary(head: bytes) -> _Head | None:
    """The head that nearly all clients send, without h11; else None."""
    found = ordinary_head(head)
    return found and _Head("GET", found[0], "1.1", Headers.parsed(found[1]))


def _parsed(head: bytes) -> _Head:
    """The head as h11 reads it."""
    parser = h11.Connection(h11.SERVER)
    try:
        parser.receive_data(head)
        event = parser.next_event()
    except h11.RemoteProtocolError as error:
        raise HandshakeFailure(error.error_status_hint, "malformed request") from None
    assert isinstance(event, h11.Request)  # a whole head is a request or an error
    if event.http_version[:2] != b"1.":
        raise HandshakeFailure(505, "HTTP/1.1 or 1.0 is required")
    return _Head(
        event.method.decode("ascii"),
        event.target.decode("latin-1"),
        "1.0" if event.http_version == b"1.0" else "1.1",  # a later minor one: RFC 9110, 2.5
        text_fields(event.headers.raw_items(), head.isascii()),
    )
