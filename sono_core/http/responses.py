"""Reads a client's HTTP/1.1 responses: to an upgrade, and to a CONNECT. RFC 9112, section 4.

`head` counts and checks the bytes; then h11 parses them. The head decides: whatever is wrong with
the body of a refusal, its status stays.
"""

import re

import h11

from sono_core.errors import HandshakeFailure
from sono_core.headers import Headers
from sono_core.limits import Limits

from .head import HeadReader, text_fields

_UPGRADE = [("host", "-"), ("connection", "upgrade"), ("upgrade", "websocket")]
_MAX_INTERIM = 8  # responses of status 1xx before the final one to CONNECT
_TLS = (b"\x15", b"\x16")  # how an answer in TLS begins: an alert, or its handshake

REDIRECTS: frozenset[int] = frozenset((301, 302, 303, 307, 308))
"""The statuses that lead elsewhere (RFC 9110, section 15.4); their bodies are not read."""

# The fields that say how long the body is, with the lines on which they go on.
_framing = re.compile(
    rb"\r\n(?:content-length|transfer-encoding):[^\r]*(?:\r\n[ \t][^\r]*)*", re.IGNORECASE
)

Response = h11.InformationalResponse | h11.Response


class FinalHeadReader:
    """Reads up to the head that decides: that of a final response, or of a 101.

    Args:
        request: the request that is answered, which h11 needs.
        limits: of each head.
        secure: the scheme to use with a server that speaks TLS.
        max_interim: responses of status 1xx that may come first; None for any number.
    """

    __slots__ = (
        "_began",
        "_head",
        "_interim_left",
        "_limits",
        "_request",
        "_secure",
        "framed",
        "parser",
    )

    def __init__(
        self, request: h11.Request, limits: Limits, secure: str, max_interim: int | None = None
    ) -> None:
        self._request = request
        self._limits = limits
        self._secure = secure
        self._head = HeadReader(limits, folded=True)
        self._interim_left = max_interim
        self._began = False  # TLS is told by the first byte of all, and not by a later head's
        self.framed: bool = True
        """Whether the head says how long the body is, in a way that can be understood."""
        self.parser: h11.Connection = self._new_parser()
        """h11's side of the exchange, which also reads the body."""

    def _new_parser(self) -> h11.Connection:
        parser = h11.Connection(h11.CLIENT)
        parser.send(self._request)
        parser.send(h11.EndOfMessage())
        return parser

    def feed(self, data: bytes) -> tuple[Response, bytes, bytes] | None:
        """The response, its head and what follows that, or None until the head is complete.

        Raises:
            HandshakeFailure: the response is not acceptable; the failure's status means nothing.
        """
        if data[:1] in _TLS and not self._began:
            raise HandshakeFailure(0, f"the peer speaks TLS: use {self._secure}://")
        self._began = True
        while data and (found := self._head.feed(data)):
            head, data = found
            response = self._parsed(head)
            if response.status_code == 101 or response.status_code >= 200:
                return response, head, data
            if self._interim_left is not None:
                self._interim_left -= 1
                if self._interim_left < 0:
                    raise HandshakeFailure(0, "too many interim responses")
            self._head = HeadReader(self._limits, folded=True)
        return None

    def _parsed(self, head: bytes) -> Response:
        try:
            return self._event(head)
        except h11.RemoteProtocolError:
            self.framed = False
            self.parser = self._new_parser()
        try:
            response = self._event(_framing.sub(b"", head))
        except h11.RemoteProtocolError:
            raise HandshakeFailure(0, "malformed response") from None
        if response.status_code < 200:  # has no body whose length it could say
            raise HandshakeFailure(0, "malformed response")
        return response

    def _event(self, head: bytes) -> Response:
        self.parser.receive_data(head)
        event = self.parser.next_event()
        assert isinstance(event, (h11.InformationalResponse, h11.Response))
        if not event.http_version.startswith(b"1."):
            raise HandshakeFailure(0, "the response is not HTTP/1")
        return event


def connect_response_reader(server: str, limits: Limits) -> FinalHeadReader:
    """A reader of a proxy's response to a CONNECT to `server` (RFC 9110, section 9.3.6)."""
    request = h11.Request(method="CONNECT", target=server, headers=[("host", server)])
    return FinalHeadReader(request, limits, "https", _MAX_INTERIM)


class UpgradeResponseReader:
    """Reads the response to an upgrade: a 101, or a refusal with a bounded body.

    Args:
        limits: of the heads and the body.
    """

    __slots__ = ("_body", "_head", "_headers", "_max_body", "_parser", "_status")

    def __init__(self, limits: Limits) -> None:
        self._max_body = limits.max_refusal_body
        request = h11.Request(method="GET", target="/", headers=_UPGRADE)
        self._head: FinalHeadReader | None = FinalHeadReader(request, limits, "wss")
        self._parser: h11.Connection
        self._status = 0
        self._headers = Headers()
        self._body = bytearray()

    def feed(self, data: bytes) -> tuple[int, Headers, bytes] | None:
        """Status, headers, and the bytes that follow a 101, or the body of any other response.

        None until they are complete. `b""` is the end of the stream, which completes a body.
        The body of a redirect is not read.

        Raises:
            HandshakeFailure: the response is not HTTP/1.1, is too long or is cut off.
        """
        if self._head is None:
            self._parser.receive_data(data)
            return self._read_body()
        if not data:
            raise HandshakeFailure(0, "the connection ended before the response")
        found = self._head.feed(data)
        if found is None:
            return None
        response, head, rest = found
        if response.status_code == 101 and response.http_version != b"1.1":
            raise HandshakeFailure(0, "the response is not HTTP/1.1")
        self._status = response.status_code
        # A refusal is none the worse for a field that only an upgrade needs.
        harmless = head.isascii() or self._status != 101
        self._headers = text_fields(response.headers.raw_items(), harmless)
        if self._status == 101:
            return self._status, self._headers, rest
        if self._status in REDIRECTS or not self._head.framed:
            return self._status, self._headers, b""
        self._parser = self._head.parser
        self._head = None
        if rest:  # h11 takes b"" for the end of the stream
            self._parser.receive_data(rest)
        return self._read_body()

    @property
    def refused(self) -> tuple[int, Headers, bytes] | None:
        """What `feed` has so far of a refusal whose head has come; None before."""
        if self._head is not None:
            return None
        return self._status, self._headers, bytes(self._body[: self._max_body])

    def _read_body(self) -> tuple[int, Headers, bytes] | None:
        """Collect the body from h11; a broken or overlong one is cut off."""
        try:
            while len(self._body) <= self._max_body:
                event = self._parser.next_event()
                if isinstance(event, h11.Data):
                    self._body += event.data
                elif event is h11.NEED_DATA:
                    return None
                else:
                    break
        except h11.RemoteProtocolError:
            pass
        return self.refused
