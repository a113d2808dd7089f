"""A tunnel through an HTTP proxy, opened by CONNECT. RFC 9110, section 9.3.6.

A layer between a transport and an inner layer: it sends nothing of the inner layer's before the
proxy has agreed, and passes on nothing of the proxy's response.
"""

from sono_core.errors import HandshakeFailure
from sono_core.headers import Headers
from sono_core.http import FinalHeadReader, connect_response_reader, encode_head, text_fields
from sono_core.lifecycle import ForwardingLayer, Layer, Transport
from sono_core.limits import DEFAULT_LIMITS, Limits
from sono_core.websocket import Outbox

from .proxy import Proxy


class Tunnel(ForwardingLayer):
    """The layer that a transport to a proxy drives, around the session with the server behind it.

    Once it is open, it only passes calls on. Its outbox is always the inner layer's, the same
    object; what waits there at first is set aside until the tunnel is open. Its deadlines are the
    inner layer's, too, so the proxy's time counts as the handshake's.

    Args:
        inner: its outbox already holds what goes through the tunnel first.
        server: its host and port, as CONNECT names them.
        proxy: has the address, and the credentials to send.
        limits: of the head of the proxy's response.
    """

    __slots__ = ("_address", "_held", "_outbox", "_reader", "_unwritten", "headers", "status")

    def __init__(
        self, inner: Layer, server: str, proxy: Proxy, limits: Limits = DEFAULT_LIMITS
    ) -> None:
        fields = [("host", server)]
        if proxy.authorization:
            fields.append(("proxy-authorization", proxy.authorization))
        request = encode_head(f"CONNECT {server} HTTP/1.1", fields)
        super().__init__(inner)
        self._address = proxy.address
        self._reader: FinalHeadReader | None = connect_response_reader(server, limits)
        self.status: int | None = None
        """The HTTP status with which the proxy refused."""
        self.headers: Headers = Headers()
        """The header fields of its refusal."""
        self._unwritten = len(request)
        self._outbox = inner.outbox
        self._held = self._outbox.take()
        self._outbox.append(request)

    @property
    def opened(self) -> bool:
        """Whether the proxy has agreed."""
        return self._reader is None

    # -- the proxy's answer -----------------------------------------------------------------------

    def receive(self, data: bytes, now: float) -> None:
        """See `Layer`."""
        if self._reader is None:
            self._inner.receive(data, now)
        elif not data:
            self.lost()
        elif (rest := self._read(self._reader, data)) is not None:
            self._open()
            if rest:
                self._inner.receive(rest, now)

    def lost(self, rest: bytes = b"", reason: str = "") -> None:
        """See `Layer`."""
        if self._reader is None:
            self._inner.lost(rest, reason)
            return
        self._read(self._reader, rest)
        self._fail(reason or "ended the connection before the tunnel was open")

    def tick(self, now: float) -> None:
        """See `Layer`."""
        if self._reader and self.deadlines.next <= now:
            self._fail("took too long to open the tunnel")
        else:
            self._inner.tick(now)

    def _read(self, reader: FinalHeadReader, data: bytes) -> bytes | None:
        """What follows the response that opens the tunnel; None if that has not come."""
        try:
            response = reader.feed(data)
        except HandshakeFailure as failure:
            self._fail(failure.reason)
            return None
        if response is None:
            return None
        answer, _, rest = response
        status, phrase = answer.status_code, answer.reason.decode("latin-1")
        if 200 <= status <= 299:
            return rest
        self.status = status
        self.headers = text_fields(answer.headers.raw_items(), True)
        self._fail(f"refused with status {status}: {phrase}".removesuffix(": "))
        return None

    def _open(self) -> None:
        self._reader = None
        held, self._held = self._held, b""
        self._outbox.append(held)
        self.transport.write_soon()

    def _fail(self, reason: str) -> None:
        if not self._inner.over:
            self._inner.lost(reason=f"proxy {self._address}: {reason}")

    # -- passed on, except for the tunnel's own ---------------------------------------------------

    @property
    def transport(self) -> Transport:
        """The transport below, which the inner layer calls directly."""
        return self._inner.transport

    @transport.setter
    def transport(self, transport: Transport) -> None:
        self._inner.transport = transport

    @property
    def outbox(self) -> Outbox:
        """See `Layer`."""
        return self._outbox if self._reader else self._inner.outbox

    def written(self, size: int, now: float) -> None:
        """See `Layer`."""
        if self._unwritten:
            own = min(size, self._unwritten)
            self._unwritten -= own
            self._outbox.advance(own)
            size -= own
        if size:
            self._inner.written(size, now)

    def blocked(self, now: float) -> None:
        """See `Layer`."""
        if not self._reader:  # otherwise the handshake's deadline applies
            self._inner.blocked(now)
