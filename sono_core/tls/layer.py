"""TLS around a session, without I/O: OpenSSL works on bytes in memory.

A `SecureSession` is what a transport drives, and the transport of what it carries; so TLS works on
every transport, and none knows of it. Only who uses TLS imports this module, which loads `ssl`.
RFC 8446; RFC 9112, section 9.8.
"""

import math
import ssl

from sono_core.lifecycle import GONE, Deadline, ForwardingLayer, Layer, Transport
from sono_core.websocket import Outbox, Reader, new_outbox

from .contexts import Certificates, client_context, server_context

_RECORD = 16 * 1024  # bytes that one record holds at most (RFC 8446, section 5.1)
_CHUNK = 60 * 1024  # bytes encrypted ahead: what one write takes, with four records' overhead
_MAX_ANSWERS = 64 * 1024  # bytes that TLS says by itself, waiting: above it nothing is read
_ALERT_TIME = 1.0  # seconds to write why TLS failed, before the stream is ended
_ALERT = b"\x15\x03\x01\x00\x02\x02\x0a"  # fatal, unexpected_message (RFC 8446, section 6)
_FOREIGN = ("HTTP_REQUEST", "HTTPS_PROXY_REQUEST", "WRONG_VERSION_NUMBER")
_CUT_OFF = "the connection ended in the TLS handshake"
_TOO_LONG = "the TLS handshake took too long"

__all__ = ["Certificates", "SecureSession", "client_context", "server_context"]


class SecureSession(ForwardingLayer):
    """TLS around a session: to be driven by a transport in the session's place.

    It takes the session's transport and becomes it. The handshake begins at once, and all of it
    happens within the deadline of the session's own. How TLS failed a client is told as the
    reason of a `Reject` of status 0. A stream that ends without TLS's own end was cut off, and is
    never a clean end.

    What the session has sent stays in its outbox until it has been written, encrypted; so its
    limits and its back-pressure are the same as without TLS.

    Args:
        inner: a `Session`, or a layer around one, of a connection just begun.
        context: of the right side; see `server_context` and `client_context`.
        server_hostname: the server's name or address, on a client; None on a server.

    Raises:
        ValueError, ssl.SSLError: the context does not fit.
    """

    __slots__ = (
        "_cipher",
        "_closing",
        "_ended",
        "_established",
        "_failure",
        "_incoming",
        "_orderly",
        "_outbox",
        "_outgoing",
        "_plain",
        "_tell_end",
        "_writable",
        "tls",
        "transport",
    )

    def __init__(
        self, inner: Layer, context: ssl.SSLContext, *, server_hostname: str | None = None
    ) -> None:
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self.tls: ssl.SSLObject | None = context.wrap_bio(
            self._incoming,
            self._outgoing,
            server_side=server_hostname is None,
            server_hostname=server_hostname,
        )
        """For its version, cipher and certificates; None when all is over."""
        super().__init__(inner)
        self._outbox = new_outbox()
        self._plain = 0  # bytes at the front of the inner outbox that are in this one, encrypted
        self._cipher = 0  # bytes of this one up to the end of them
        self._established = False
        self._writable = False  # established, and this side has not ended
        self._closing = False  # the session asked for the end of this side
        self._ended = False  # the peer's side
        self._orderly = False  # it did so by TLS's rules
        self._tell_end = False  # the session is to be told, as soon as it reads
        self._failure: str | None = None  # why TLS failed
        self.transport: Transport = inner.transport
        """What carries this."""
        inner.transport = self
        if server_hostname is not None:
            self._read([])  # begins the handshake
            self._follow(-math.inf)
            self.transport.write_soon()

    # -- what a transport asks --------------------------------------------------------------------

    @property
    def outbox(self) -> Outbox:
        """See `Layer`: always the same object."""
        if self._writable and not self._plain:
            self._fill()
        return self._outbox

    @property
    def reading(self) -> bool:
        """See `Layer`."""
        if self._ended or self._failure is not None:
            return False
        if not self._established:
            return not self._inner.over
        return self._inner.reading and self._outbox.size - self._cipher <= _MAX_ANSWERS

    @property
    def pump_due(self) -> bool:
        """See `Layer`."""
        if self._failure is not None:
            return False
        return self._inner.pump_due or (self._tell_end and self._inner.reading)

    def fast_path(self) -> Reader | None:
        """See `Layer`: there is none, for what is received must be decrypted."""
        return None

    # -- what a transport tells -------------------------------------------------------------------

    def receive(self, data: bytes, now: float) -> None:
        """See `Layer`."""
        if self._ended or self._failure is not None:
            return
        if data:
            if plain := self._decrypt(data):
                self._inner.receive(plain, now)
        else:
            self._ended = self._tell_end = True
        self._follow(now)

    def pump(self, now: float, messages: int = 0, size: int = 0) -> None:
        """See `Layer`."""
        self._inner.pump(now, messages, size)
        self._follow(now)

    def written(self, size: int, now: float) -> None:
        """See `Layer`."""
        self._outbox.advance(size)
        if self._failure is not None:
            if not self._outbox.size:
                self.deadlines.set(Deadline.STALL, -math.inf)
        elif self._cipher:
            # Every byte that moves is told, so that only a peer that reads nothing stalls.
            size = min(size, self._cipher)
            plain = self._plain * size // self._cipher
            self._cipher -= size
            self._plain -= plain
            self._inner.written(plain, now)
            if self._writable and not self._plain:
                self._fill()

    def blocked(self, now: float) -> None:
        """See `Layer`."""
        if self._failure is not None:
            self.deadlines.set(Deadline.STALL, -math.inf)
        elif self._plain:  # else it is TLS's own, and other deadlines count
            self._inner.blocked(now)

    def lost(self, rest: bytes = b"", reason: str = "") -> None:
        """See `Layer`."""
        plain = self._decrypt(rest)
        self._writable = False
        reason = self._failure or reason or ("" if self._established else _CUT_OFF)
        self._inner.lost(plain, reason)

    def tick(self, now: float) -> None:
        """See `Layer`."""
        if self._established and self._failure is None:
            self._inner.tick(now)
        elif self.deadlines.next <= now:
            self.lost(reason=_TOO_LONG)

    def go_away(self, code: int, reason: str, now: float) -> None:
        """See `Layer`."""
        if self._established and self._failure is None:
            self._inner.go_away(code, reason, now)
        else:
            self.lost()

    # -- what the session asks --------------------------------------------------------------------

    def write_soon(self) -> None:
        """See `Transport`."""
        self.transport.write_soon()

    def write_now(self) -> None:
        """See `Transport`."""
        self.transport.write_now()

    def close(self) -> None:
        """See `Transport`."""
        self._closing = True
        if self._writable and not self._plain:
            self._fill()
        self.transport.write_soon()

    def abort(self) -> None:
        """See `Transport`."""
        if self._orderly and self._writable and not self._outbox.size:
            self._say_goodbye()
            self.transport.write_now()
        self._writable = False
        self._plain = self._cipher = 0
        self._outbox.clear()
        self.tls = None  # the largest part of all this
        transport, self.transport = self.transport, GONE  # no cycles: what was held is free
        transport.abort()

    # -- TLS --------------------------------------------------------------------------------------

    def _decrypt(self, data: bytes) -> bytes:
        """All that can be read after this has come."""
        plain: list[bytes] = []
        # Memory that OpenSSL's buffers once had they keep, so they only ever get little.
        for start in range(0, len(data), _RECORD):
            if self.tls and not self._ended and self._failure is None:
                self._incoming.write(memoryview(data)[start : start + _RECORD])
                self._read(plain)
        return plain[0] if len(plain) == 1 else b"".join(plain)

    def _read(self, plain: list[bytes]) -> None:
        """Add to `plain` what can be read; TLS's own answers are in the outbox then."""
        tls = self.tls
        assert tls is not None
        try:
            if not self._established:
                tls.do_handshake()
                self._established = self._writable = True
            while piece := tls.read(_RECORD):
                plain.append(piece)
            self._ended = self._tell_end = self._orderly = True
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLZeroReturnError:  # the same, when this side has ended before
            self._ended = self._tell_end = self._orderly = True
        except ssl.SSLError as error:
            self._fail(error)
        self._drain()

    def _fill(self) -> None:
        """Take what comes next from the session; after the last of it, end this side."""
        waiting = self._inner.outbox
        if waiting.size:
            self._encrypt(memoryview(waiting.peek())[:_CHUNK])
        if self._closing and self._writable and self._plain == waiting.size:
            self._say_goodbye()
            self.transport.close()

    def _encrypt(self, data: memoryview) -> None:
        tls = self.tls
        assert tls is not None
        try:
            while self._plain < len(data):
                self._plain += tls.write(data[self._plain :])
                self._drain()
        except ssl.SSLWantReadError:
            pass  # the peer is to answer first, and then the same is written again
        except ssl.SSLError as error:
            self._fail(error)
            self.deadlines.set(Deadline.STALL, -math.inf)
        self._drain()
        self._cipher = self._outbox.size if self._plain else 0

    def _drain(self) -> None:
        if self._outgoing.pending:
            self._outbox.append(self._outgoing.read())

    def _say_goodbye(self) -> None:
        """End this side by TLS's rules: what was sent is whole (RFC 8446, section 6.1)."""
        tls = self.tls
        assert tls is not None
        self._writable = False
        try:
            tls.unwrap()
        except ssl.SSLError:
            pass  # the peer has not ended its side, and need not
        self._drain()

    def _fail(self, error: ssl.SSLError) -> None:
        tls = self.tls
        assert tls is not None
        self._writable = False
        self._failure = _described(error)
        if tls.server_side and not self._established and error.reason in _FOREIGN:
            self._outbox.append(_ALERT)  # OpenSSL says nothing to who speaks no TLS

    def _follow(self, now: float) -> None:
        """Tell the session what became of the stream, apart from data."""
        if self._inner.over:
            return
        if self._ended and not self._established:
            self._failure = _CUT_OFF
        if self._failure is not None:
            # The peer is to see why; so the next tick ends it, when that has been written.
            due = now + _ALERT_TIME if self._outbox.size else -math.inf
            self.deadlines.set(Deadline.STALL, due)
        elif self._tell_end and self._inner.reading:
            self._tell_end = False
            if self._orderly:
                self._inner.receive(b"", now)
            else:
                self._inner.lost()


def _described(error: ssl.SSLError) -> str:
    """What failed, for people."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"certificate verify failed: {error.verify_message}"
    reason = error.reason or "for no known reason"
    if reason in _FOREIGN:
        return "the peer does not speak TLS"
    _, alert, name = reason.partition("_ALERT_")
    words = (name if alert else reason).replace("_", " ").lower()
    return f"the peer refused TLS: {words}" if alert else f"TLS failed: {words}"
