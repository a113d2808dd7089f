"""TLS around a session, without I/O: OpenSSL works on bytes in memory.

A `SecureSession` is a layer to its transport, and the transport of its session; so TLS works on
every transport, and none knows of it. Only code that uses TLS imports this module, because it
loads `ssl`. RFC 8446; RFC 9112, section 9.8.
"""

import math
import ssl
from typing import Any

from sono_core.lifecycle import (
    ENDLESS,
    GONE,
    Deadline,
    Engine,
    ForwardingLayer,
    Layer,
    Transport,
    Turn,
)
from sono_core.websocket import Outbox, Reader, new_outbox

from .contexts import Certificates, client_context, server_context

_RECORD = 16 * 1024  # the most bytes that one record holds (RFC 8446, section 5.1)
_CHUNK = 64 * 1024  # bytes encrypted ahead: four records, about what one write takes
MEMORY = 48 * 1024
"""Bytes that OpenSSL takes for one connection."""
_MAX_ANSWERS = 64 * 1024  # bytes of TLS's own messages that may wait before reading stops
_HEADER = 5  # bytes of a record's header
_MAX_RECORDS = 512  # with data, that are read before others have their turn; or a few more
_SMALL = 64  # bytes of a record that may have no data, such as a KeyUpdate (section 4.6.3)
_MAX_SMALL = 32  # of those, that OpenSSL gets at once: a KeyUpdate takes it some 100 µs
# The same if the time of the turn is over, and the bytes that OpenSSL gets at once.
_FEW_RECORDS, _FEW_SMALL, _FEW_BYTES = 16, 4, 2 * 1024
_IDLE = 32  # control frames that such a record without data counts as
_ALERT_TIME = 1.0  # seconds to write why TLS failed, before the stream ends
_ALERT = b"\x15\x03\x01\x00\x02\x02\x0a"  # fatal, unexpected_message (RFC 8446, section 6)
_FOREIGN = ("HTTP_REQUEST", "HTTPS_PROXY_REQUEST", "WRONG_VERSION_NUMBER")
_CUT_OFF = "the connection ended in the TLS handshake"
_TOO_LONG = "the TLS handshake took too long"

__all__ = ["MEMORY", "Certificates", "SecureSession", "client_context", "server_context"]


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
        server_hostname: the server's name or address, on a client; None on a server. A final dot
            belongs to the look-up alone, and is left out (RFC 6066, section 3).
        turn: of the loop, as the session has it.

    Raises:
        ValueError, ssl.SSLError: the context does not fit.
    """

    __slots__ = (
        "_cipher",
        "_closing",
        "_ended",
        "_engine",
        "_established",
        "_failure",
        "_idle",
        "_incoming",
        "_kept",
        "_later",
        "_orderly",
        "_outbox",
        "_outgoing",
        "_plain",
        "_tell_end",
        "_turn",
        "_writable",
        "begun",
        "left",
        "tls",
        "transport",
    )

    def __init__(
        self,
        inner: Layer,
        context: ssl.SSLContext,
        *,
        server_hostname: str | None = None,
        turn: Turn = ENDLESS,
    ) -> None:
        if server_hostname is not None:
            server_hostname = server_hostname.removesuffix(".")
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
        self._kept = b""  # received, and not yet decrypted: for a later turn
        self._later = False  # not for this one
        self.begun: bytes = b""
        """Received of a record's header; also the transport's, see `Engine`."""
        self.left: int = 0
        """Bytes that the record under way lacks; also the transport's."""
        self._turn = turn
        self._idle = 0  # small records without data, not yet charged
        self.transport: Transport = inner.transport
        """The transport below."""
        # What `SSLObject` wraps in Python: two calls of five for each record.
        fast: Any = getattr(self.tls, "_sslobj", self.tls)
        self._engine: Engine | None = Engine(
            coder=self,
            inner=inner,
            take=self._incoming.write,
            read=fast.read,
            write=fast.write,
            pending=fast.pending,
            give=self._outgoing.read,
        )
        inner.transport = self
        if server_hostname is not None:
            self._read([])  # begins the handshake
            self._follow(-math.inf)
            self.transport.write_soon()

    # -- what a transport asks --------------------------------------------------------------------

    @property
    def answers_together(self) -> bool:
        """See `Layer`: they are encrypted."""
        return True

    @property
    def engine(self) -> Engine | None:
        """See `Layer`; None when the session is over."""
        return self._engine

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
        if self._kept:
            return False
        return self._inner.reading and self._outbox.size - self._cipher <= _MAX_ANSWERS

    @property
    def pump_due(self) -> bool:
        """See `Layer`."""
        if self._failure is not None:
            return False
        more = self._tell_end or self._kept
        return self._inner.pump_due or (bool(more) and self._inner.reading)

    def fast_path(self) -> Reader | None:
        """See `Layer`; for transports that use `engine`."""
        if not self._writable or self._closing or self._ended or self._failure is not None:
            return None
        if self._kept or self._plain or self._idle or self._outbox.size:
            return None
        if self._inner.engine is not None:
            return None  # TLS in TLS: a proxy's
        return self._inner.fast_path()

    # -- what a transport tells -------------------------------------------------------------------

    def receive(self, data: bytes, now: float) -> None:
        """See `Layer`."""
        if self._ended or self._failure is not None:
            return
        if data:
            self._take(data, now)
        else:
            self._ended = self._tell_end = True
        self._follow(now)

    def pump(self, now: float, messages: int = 0, size: int = 0) -> None:
        """See `Layer`."""
        self._inner.pump(now, messages, size)
        later, self._later = self._later, False
        if self._kept and not later and self._inner.reading:
            self._take(b"", now)
        self._charge_idle(now)
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
        self._kept = b""
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

    def halted(self, rest: bytes, error: Exception | None, ended: bool, size: int) -> None:
        """The transport, which used `engine`, could not or should not go on: pump.

        Args:
            rest: received, and not taken.
            error: raised by `Engine.read`, if anything was.
            ended: whether the peer has ended its side.
            size: bytes of the last record that was taken, or of the part of it that came last.

        Raises:
            Exception: `error`, if it is not OpenSSL's.
        """
        if ended:
            self._end_in_order()
        elif isinstance(error, ssl.SSLError):
            # A record without data.
            self._idle += isinstance(error, ssl.SSLWantReadError) and size < _SMALL
            self._judge(error)
        if not self._ended and self._failure is None:
            self._kept, self._later = rest, True
        self._drain()
        if error is not None and not isinstance(error, ssl.SSLError):
            raise error

    def half_written(self, plain: int, records: bytes, sent: int, now: float) -> None:
        """The stream took a part only of what the transport encrypted with `engine`.

        Args:
            plain: how many bytes of the session's outbox are encrypted.
            records: they are.
            sent: how many bytes of these were written.
            now: the time.
        """
        self._outbox.append(records)
        self._plain, self._cipher = plain, len(records)
        if sent:
            self.written(sent, now)

    # -- what the session asks --------------------------------------------------------------------

    @property
    def buffered(self) -> int:
        """See `Transport`: what is encrypted waits in the session's outbox too."""
        below: int = getattr(self.transport, "buffered", 0)
        return self._outbox.held + below

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
        self.tls = self._engine = None  # the largest part of this object
        transport, self.transport = self.transport, GONE  # breaks a cycle
        transport.abort()

    # -- TLS --------------------------------------------------------------------------------------

    def _decrypt(self, data: bytes) -> bytes:
        """Take bytes from the peer, and return what can be read now.

        What is left after many records, or after some without data, is kept for a later turn.
        """
        if self._kept or self.begun:
            data, self._kept, self.begun = self.begun + self._kept + data, b"", b""
        plain: list[bytes] = []
        most = _FEW_RECORDS if self._turn.spent else _MAX_RECORDS
        idle = 0
        start = 0
        while start < len(data) and self.tls and not self._ended and self._failure is None:
            if idle or len(plain) >= most:
                self._kept = data[start:]
                break
            end, small = self._some_records(data, start)
            if end == start:
                self.begun = data[start:]
                break
            established, before = self._established, len(plain)
            self._incoming.write(memoryview(data)[start:end])
            self._read(plain)
            idle += max(0, small - len(plain) + before) if established else 0
            start = end
        self._idle += idle
        return plain[0] if len(plain) == 1 else b"".join(plain)

    def _some_records(self, data: bytes, start: int) -> tuple[int, int]:
        """Where to cut the records that come next, and how many of them are small.

        OpenSSL's buffers keep the memory that they once had, so they only ever get little; and
        small records without data cost it much, so they are few.
        """
        end, small = start + self.left, 0
        most, size = (_FEW_SMALL, _FEW_BYTES) if self._turn.spent else (_MAX_SMALL, _RECORD)
        limit = start + size
        while end < limit and end + _HEADER <= len(data) and small < most:
            length = data[end + 3] << 8 | data[end + 4]
            small += length < _SMALL
            end += _HEADER + length
        there = min(end, limit, len(data))
        self.left = end - there
        return there, small

    def _take(self, data: bytes, now: float) -> None:
        """Decrypt what came and what was kept."""
        if plain := self._decrypt(data):
            self._inner.receive(plain, now)
        self._charge_idle(now)

    def _charge_idle(self, now: float) -> None:
        if self._idle:
            number, self._idle = self._idle * _IDLE, 0
            self.charge(number, now)

    def _read(self, plain: list[bytes]) -> None:
        """Add to `plain` what can be read; put TLS's own answers into the outbox."""
        tls = self.tls
        assert tls is not None
        try:
            if not self._established:
                tls.do_handshake()
                self._established = self._writable = True
            # Not until OpenSSL wants more: an exception costs more than reading a small record.
            while self._incoming.pending:
                if not (piece := tls.read(_RECORD)):
                    self._end_in_order()
                    break
                plain.append(piece)
        except ssl.SSLError as error:
            self._judge(error)
        self._drain()

    def _judge(self, error: ssl.SSLError) -> None:
        """What it means that a record could not be read."""
        if isinstance(error, ssl.SSLZeroReturnError):  # this side has ended first
            self._end_in_order()
        elif not isinstance(error, ssl.SSLWantReadError):
            self._fail(error)

    def _end_in_order(self) -> None:
        self._ended = self._tell_end = self._orderly = True

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
