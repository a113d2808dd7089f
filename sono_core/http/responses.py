"""Reads a client's HTTP/1.1 responses: to an upgrade, and to a CONNECT. RFC 9112, section 4.

`head` counts and checks the bytes; then h11 parses them.
"""

import h11

from sono_core.errors import HandshakeFailure
from sono_core.headers import Headers
from sono_core.limits import Limits

from .head import HeadReader, text_fields

_UPGRADE = [("host", "-"), ("connection", "upgrade"), ("upgrade", "websocket")]
_MAX_INTERIM = 8  # responses of status 1xx before the final one to CONNECT

Response = h11.InformationalResponse | h11.Response


class FinalHeadReader:
    """Reads up to the head that decides: that of a final response, or of a 101.

    Args:
        request: the request that is answered, which h11 needs.
        limits: of each head.
        max_interim: responses of status 1xx that may come first; None for any number.
    """

    __slots__ = ("_head", "_interim_left", "_limits", "parser")

    def __init__(
        self, request: h11.Request, limits: Limits, max_interim: int | None = None
    ) -> None:
        self._limits = limits
        self._head = HeadReader(limits)
        self._interim_left = max_interim
        self.parser: h11.Connection = h11.Connection(h11.CLIENT)
        """h11's side of the exchange, which also reads the body."""
        self.parser.send(request)
        self.parser.send(h11.EndOfMessage())

    def feed(self, data: bytes) -> tuple[Response, bytes, bytes] | None:
        """The response, its head and what follows that, or None until the head is complete.

        Raises:
            HandshakeFailure: the response is not acceptable; the failure's status means nothing.
        """
        while data and (found := self._head.feed(data)):
            head, data = found
            response = self._parsed(head)
            if response.status_code == 101 or response.status_code >= 200:
                return response, head, data
            if self._interim_left is not None:
                self._interim_left -= 1
                if self._interim_left < 0:
                    raise HandshakeFailure(0, "too many interim responses")
            self._head = HeadReader(self._limits)
        return None

    def _parsed(self, head: bytes) -> Response:
        try:
            self.parser.receive_data(head)
            event = self.parser.next_event()
        except h11.RemoteProtocolError:
            raise HandshakeFailure(0, "malformed response") from None
        assert isinstance(event, (h11.InformationalResponse, h11.Response))
        if not event.http_version.startswith(b"1."):
            raise HandshakeFailure(0, "the response is not HTTP/1")
        return event


def connect_response_reader(server: str, limits: Limits) -> FinalHeadReader:
    """A reader of a proxy's response to a CONNECT to `server` (RFC 9110, section 9.3.6)."""
    request = h11.Request(method="CONNECT", target=server, headers=[("host", server)])
    return FinalHeadReader(request, limits, _MAX_INTERIM)


class UpgradeResponseReader:
    """Reads the response to an upgrade: a 101, or a refusal with a bounded body.

    Args:
        limits: of the heads and the body.
    """

    __slots__ = ("_body", "_head", "_headers", "_max_body", "_parser", "_status")

    def __init__(self, limits: Limits) -> None:
        self._max_body = limits.max_refusal_body
        request = h11.Request(method="GET", target="/", headers=_UPGRADE)
        self._head: FinalHeadReader | None = FinalHeadReader(request, limits)
        self._parser = self._head.parser
        self._status = 0
        self._headers = Headers()
        self._body = bytearray()

    def feed(self, data: bytes) -> tuple[int, Headers, bytes] | None:
        """Status, headers, and the bytes that follow a 101, or the body of any other response.

        None until they are complete. `b""` is the end of the stream, which completes a body.

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
        self._headers = text_fields(response.headers.raw_items(), head.isascii())
        if self._status == 101:
            return self._status, self._headers, rest
        self._head = None
        if rest:  # h11 takes b"" for the end of the stream
            self._parser.receive_data(rest)
        return self._read_body()

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
        return self._status, self._headers, bytes(self._body[: self._max_body])
