"""TLS around a session, without I/O: OpenSSL works on bytes in memory.

A `SecureSession` is a layer to its transport, and the transport of its session; so TLS works on
every transport, and none knows of it. Only code that uses TLS imports this module, because it
loads `ssl`. RFC 8446; RFC 9112, section 9.8.
"""

import math
import ssl

from sono_core.lifecycle import GONE, Deadline, ForwardingLayer, Layer, Transport
from sono_core.websocket import Outbox, Reader, new_outbox

from .contexts import Certificates, client_context, server_context

_RECORD = 16 * 1024  # the most bytes that one record holds (RFC 8446, section 5.1)
_CHUNK = 60 * 1024  # bytes encrypted ahead: what one write takes, with four records' overhead
_MAX_ANSWERS = 64 * 1024  # bytes of TLS's own messages that may wait before reading stops
_ALERT_TIME = 1.0  # seconds to write why TLS failed, before the stream ends
_ALERT = b"\x15\x03\x01\x00\x02\x02\x0a"  # fatal, unexpected_message (RFC 8446, section 6)
_FOREIGN = ("HTTP_REQUEST", "HTTPS_PROXY_REQUEST", "WRONG_VERSION_NUMBER")
_CUT_OFF = "the connection ended in the TLS handshake"
_TOO_LONG = "the TLS handshake took too long"

__all__ = ["Certificates", "SecureSession", "client_context", "server_context"]


class SecureSession(ForwardingLayer):
    """TLS around a session; a transport drives it in the session's place.

    It takes the session's transport, and becomes the session's transport itself. Its handshake
    begins at once, and counts towards the deadline of the session's own. If TLS fails, a client
    gets the reason in a `Reject` of status 0. A stream that ends without a close_notify was cut
    off, and is never a clean end.

    What the session sends stays in its outbox until it has been written, encrypted; so its limits
    and its back-pressure are the same as without TLS.

    Args:
        inner: a `Session`, or a layer around one, whose connection has just begun.
        context: for this side; see `server_context` and `client_context`.
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
        """Has the version, the cipher and the certificates; None when the session is over."""
        super().__init__(inner)
        self._outbox = new_outbox()
        self._plain = 0  # bytes at the front of the inner outbox that are in this one, encrypted
        self._cipher = 0  # bytes of this outbox up to the end of those
        self._established = False
        self._writable = False  # established, and this side has not ended
        self._closing = False  # the session asked for the end of this side
        self._ended = False  # the peer ended its side
        self._orderly = False  # by TLS's rules
        self._tell_end = False  # the session must be told of it, as soon as it reads
        self._failure: str | None = None  # why TLS failed
        self.transport: Transport = inner.transport
        """The transport below."""
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
        """See `Layer`: there is none, because what is received must be decrypted."""
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
            # All progress is reported, so that only a peer that reads nothing stalls.
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
        elif self._plain:  # otherwise only TLS's own bytes wait, and other deadlines apply
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
        self.tls = None  # the largest part of this object
        transport, self.transport = self.transport, GONE  # breaks a cycle
        transport.abort()

    # -- TLS --------------------------------------------------------------------------------------

    def _decrypt(self, data: bytes) -> bytes:
        """Take bytes from the peer, and return all that can be read now."""
        plain: list[bytes] = []
        # OpenSSL's buffers keep the memory that they once had, so they only ever get little.
        for start in range(0, len(data), _RECORD):
            if self.tls and not self._ended and self._failure is None:
                self._incoming.write(memoryview(data)[start : start + _RECORD])
                self._read(plain)
        return plain[0] if len(plain) == 1 else b"".join(plain)

    def _read(self, plain: list[bytes]) -> None:
        """Add to `plain` what can be read; put TLS's own answers into the outbox."""
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
        except ssl.SSLZeroReturnError:  # the same, if this side has ended first
            self._ended = self._tell_end = self._orderly = True
        except ssl.SSLError as error:
            self._fail(error)
        self._drain()

    def _fill(self) -> None:
        """Encrypt what the session sends next; after the last of it, end this side."""
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
            pass  # the peer must answer first; then the same bytes are written again
        except ssl.SSLError as error:
            self._fail(error)
            self.deadlines.set(Deadline.STALL, -math.inf)
        self._drain()
        self._cipher = self._outbox.size if self._plain else 0

    def _drain(self) -> None:
        if self._outgoing.pending:
            self._outbox.append(self._outgoing.read())

    def _say_goodbye(self) -> None:
        """End this side by TLS's rules: nothing was cut off (RFC 8446, section 6.1)."""
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
            self._outbox.append(_ALERT)  # OpenSSL sends no alert to a peer without TLS

    def _follow(self, now: float) -> None:
        """Tell the session what happened to the stream, apart from data."""
        if self._inner.over:
            return
        if self._ended and not self._established:
            self._failure = _CUT_OFF
        if self._failure is not None:
            # The peer should see why, so a tick ends the stream when that has been written.
            due = now + _ALERT_TIME if self._outbox.size else -math.inf
            self.deadlines.set(Deadline.STALL, due)
        elif self._tell_end and self._inner.reading:
            self._tell_end = False
            if self._orderly:
                self._inner.receive(b"", now)
            else:
                self._inner.lost()


def _described(error: ssl.SSLError) -> str:
    """What failed, in words."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"certificate verify failed: {error.verify_message}"
    reason = error.reason or "for no known reason"
    if reason in _FOREIGN:
        return "the peer does not speak TLS"
    _, alert, name = reason.partition("_ALERT_")
    words = (name if alert else reason).replace("_", " ").lower()
    return f"the peer refused TLS: {words}" if alert else f"TLS failed: {words}"
