"""The state machine of one connection, either role. RFC 6455, sections 4, 5.5, 7.

Joins handshake, frames, deflate and messages, and sends the automatic answers: pongs, close
echoes, failures. It knows no socket and no time.
"""

import enum
from collections.abc import Callable, Collection, Iterator
from typing import ClassVar, cast

from sono_core.close_codes import CloseCode
from sono_core.errors import HandshakeFailure, LocalProtocolError, ProtocolFailure
from sono_core.events import (
    Accept,
    BinaryMessage,
    Close,
    Event,
    Ping,
    Pong,
    Reject,
    Request,
    Role,
    TextMessage,
)
from sono_core.http import refusal
from sono_core.limits import DEFAULT_LIMITS, Limits

from .close import decode_close, encode_close
from .deflate import DEFAULT_DEFLATE, Agreement, Deflate, Deflater, SharedDeflaters
from .frames import Frame
from .handshake import ClientHandshake, ServerHandshake
from .masking import MaskingKeys
from .opcodes import CLOSE, PING, PONG
from .origin import AllowedHosts
from .outbox import Outbox, new_outbox
from .payloads import close_payload, control_payload, payload_of
from .prepared import Prepared
from .reader import Reader, message_reader


class State(enum.Enum):
    """Where a connection stands (RFC 6455, sections 4 and 7)."""

    CONNECTING = "connecting"
    """The request has not yet been sent (client) or received (server)."""
    REQUESTED = "requested"
    """The request was sent (client) or received (server); its answer is outstanding."""
    OPEN = "open"
    CLOSING = "closing"
    """This side has sent its Close; a client stays here until the server ends the stream."""
    CLOSED = "closed"
    """Nothing more will be sent or received: write what waits, then end the stream."""


State.__hash__ = object.__hash__  # type: ignore[method-assign]  # Enum's own is written in Python


_MESSAGES = frozenset((TextMessage, BinaryMessage, Ping, Pong, Close, Prepared))
_NOTHING: frozenset[type] = frozenset()

LEGAL: dict[tuple[Role, State], frozenset[type]] = {
    (Role.CLIENT, State.CONNECTING): frozenset((Request,)),
    (Role.CLIENT, State.REQUESTED): _NOTHING,
    (Role.CLIENT, State.OPEN): _MESSAGES,
    (Role.CLIENT, State.CLOSING): _NOTHING,
    (Role.CLIENT, State.CLOSED): _NOTHING,
    (Role.SERVER, State.CONNECTING): frozenset((Reject,)),
    (Role.SERVER, State.REQUESTED): frozenset((Accept, Reject)),
    (Role.SERVER, State.OPEN): _MESSAGES,
    (Role.SERVER, State.CLOSING): _NOTHING,
    (Role.SERVER, State.CLOSED): _NOTHING,
}
"""What may be sent in which state."""

_LEGAL_ON_CLIENTS = {state: LEGAL[Role.CLIENT, state] for state in State}
_LEGAL_ON_SERVERS = {state: LEGAL[Role.SERVER, state] for state in State}

_UNLIMITED = 1 << 62  # bytes; more than any message has


class Connection:
    """One WebSocket connection without its I/O.

    Args:
        role: which end this is.
        limits: how much the peer may use.
        deflate: how permessage-deflate is used, or None to refuse it.
        origins: allowed by a server besides its own; `"*"` allows all.
        random: a client's secure source of bytes, such as `os.urandom`.
        deflaters: shared by the connections of one loop; by default this one has its own.
        rewrite: changes a server's request before it is reported, as behind a proxy.
        hosts: names under which a page is of a server's own origin; None for any.
        date: gives the time for the field Date of a server's responses, but the 101, which needs
            none (RFC 9110, section 6.6.1); None on a server without a clock.
        scheme: `https` on a server whose transport speaks TLS.

    Raises:
        TypeError: a client has no `random`, or `origins` is a str.
    """

    __slots__ = (
        "_deflater",
        "_deflaters",
        "_ended",
        "_handshake",
        "_incoming",
        "_limits",
        "_options",
        "_sendable",
        "frames",
        "has_early_data",
        "keys",
        "outbox",
        "overhead",
        "plain",
        "reader",
        "role",
        "state",
        "subprotocol",
    )

    def __init__(
        self,
        role: Role,
        *,
        limits: Limits = DEFAULT_LIMITS,
        deflate: Deflate | None = DEFAULT_DEFLATE,
        origins: Collection[str] = (),
        random: Callable[[int], bytes] | None = None,
        deflaters: SharedDeflaters | None = None,
        rewrite: Callable[[Request], Request] | None = None,
        hosts: AllowedHosts | None = None,
        date: Callable[[], str] | None = None,
        scheme: str = "http",
    ) -> None:
        self.role: Role = role
        self._limits = limits
        self._options = deflate
        self._deflaters = deflaters
        self._handshake: ServerHandshake | ClientHandshake
        self.keys: MaskingKeys | None = None
        """A client's masking keys, one per call; None on a server."""
        if isinstance(origins, str):  # every part of it would be allowed
            raise TypeError("origins must be a collection of str, not a str")
        if role is Role.SERVER:
            self._handshake = ServerHandshake(
                limits, deflate, origins, rewrite, hosts, date, scheme
            )
        elif random is None:
            raise TypeError("a client needs random, a secure source of bytes like os.urandom")
        else:
            self._handshake = ClientHandshake(limits, deflate, random)
            self.keys = MaskingKeys(random)
        self.outbox: Outbox = new_outbox()
        """What waits to be written, for transports that write piecemeal."""
        self.frames: Outbox = self.outbox
        """Where a `Sender` may add frames directly: `outbox`, unless frames are made elsewhere;
        then it is one that never has `room`."""
        self.reader: Reader | None = None
        """Turns the peer's frames into messages; None before and after there are any."""
        self.plain: int = _UNLIMITED
        """Bytes up to which a message is never compressed."""
        self.has_early_data: bool = False
        """Whether frames arrived together with the handshake."""
        self.overhead: int = 0
        """Bytes of memory held for as long as it is open: a long request, windows of deflate."""
        self.subprotocol: str | None = None
        """The subprotocol that the handshake agreed on, or None."""
        self._incoming: list[bytes] = []  # received before the connection is open
        self._ended = False  # whether the peer's stream has
        self._deflater: Deflater | None = None
        self._enter(State.CONNECTING)

    def _enter(self, state: State) -> None:
        self.state: State = state
        self.outbox.room = 0
        legal = _LEGAL_ON_SERVERS if self.role is Role.SERVER else _LEGAL_ON_CLIENTS
        self._sendable = legal[state]

    @property
    def held(self) -> int:
        """Bytes of memory held for the peer: what has not come whole, and what waits for it."""
        if self.reader is not None:
            return self.outbox.kept + self.reader.held
        unread = sum(map(len, self._incoming))
        handshake = getattr(self, "_handshake", None)  # until the connection is open
        if isinstance(handshake, ServerHandshake):
            unread += handshake.held
        return self.outbox.kept + unread

    # -- in ---------------------------------------------------------------------------------

    def receive_data(self, data: bytes) -> Iterator[Event]:
        """Take bytes from the peer; `b""` is the end of its stream.

        Returns:
            The events in all bytes so far. Each is parsed, and answered where the protocol
            requires it, when it is pulled; what is not pulled stays.
        """
        self.take_in(data)
        return self.reader.events(self.next_event) if self.reader else self._events()

    def take_in(self, data: bytes) -> None:
        """Like `receive_data`, for callers of `next_event`."""
        if not data:
            self._ended = True
        elif self.reader:
            self.reader.feed(bytes(data))
        elif self.state in (State.CONNECTING, State.REQUESTED):
            self._incoming.append(bytes(data))

    def _events(self) -> Iterator[Event]:
        while (event := self.next_event()) is not None:
            yield event

    def next_event(self) -> Event | None:
        """The next event, or None until more bytes come."""
        state = self.state
        if state is State.OPEN or state is State.CLOSING:
            return self._next_frame_event()
        if state is State.CLOSED:
            return None
        return self._next_handshake_event()

    def _next_handshake_event(self) -> Event | None:
        data = self._take_incoming()
        try:
            if isinstance(self._handshake, ServerHandshake):
                return self._next_request(self._handshake, data)
            return self._next_answer(self._handshake, data)
        except HandshakeFailure as failure:
            if self.role is Role.SERVER:
                self.send(refusal(failure))
                return None
            self._enter(State.CLOSED)
            return Reject(0, body=failure.reason.encode())

    def _take_incoming(self) -> bytes:
        data = b"".join(self._incoming)
        self._incoming.clear()
        return data

    def _next_request(self, handshake: ServerHandshake, data: bytes) -> Request | None:
        request = handshake.feed(data) if data else None
        if request:
            self._enter(State.REQUESTED)
        elif self._ended and self.state is State.CONNECTING:
            self._enter(State.CLOSED)
        return request

    def _next_answer(self, handshake: ClientHandshake, data: bytes) -> Accept | Reject | None:
        answer = handshake.feed(data) if data else None
        if answer is None and self._ended:
            answer = handshake.feed(b"")
        if isinstance(answer, Accept):
            self.subprotocol = answer.subprotocol
            self._open(handshake.agreement, handshake.rest)
        elif answer:
            self._enter(State.CLOSED)
        return answer

    @property
    def refused(self) -> Reject | None:
        """Client: the refusal whose head has come, and whose body has not come to its end.

        For those who do not want to wait for that; None if there is nothing of the kind.
        """
        if self.role is Role.CLIENT and self.state is State.REQUESTED:
            return cast(ClientHandshake, self._handshake).refused
        return None

    def _open(self, agreement: Agreement | None, rest: bytes) -> None:
        """Replace the handshake by a reader of frames."""
        inflater = None
        if isinstance(self._handshake, ServerHandshake):
            self.overhead = self._handshake.request_memory
        if agreement and self._options:
            inflater = agreement.inflater(self.role)
            self._deflater = agreement.deflater(self.role, self._options, self._deflaters)
            self.overhead += inflater.memory + self._deflater.memory
            self.plain = self._options.threshold - 1
        self.reader = message_reader(self.role, self._limits, inflater)
        if rest:
            self.reader.feed(rest)
            self.has_early_data = True
        del self._handshake
        self._enter(State.OPEN)

    def _next_frame_event(self) -> Event | None:
        if self.reader is None:  # a client that waits for the server to end the stream
            if self._ended:
                self._enter(State.CLOSED)
            return None
        try:
            item = self.reader.next()
            if isinstance(item, Frame):
                return self._control_event(item.opcode, item.payload)
            if item is not None:
                return item
        except ProtocolFailure as failure:
            return self.fail(failure)
        if self._ended:
            self._enter(State.CLOSED)
            return self._finish(CloseCode.ABNORMAL_CLOSURE, "the connection ended", False)
        return None

    def _control_event(self, opcode: int, payload: bytes) -> Event:
        if opcode == PING:
            if self.state is State.OPEN:
                self._append(PONG, payload)
            return Ping(payload)
        if opcode == PONG:
            return Pong(payload)
        code, reason = decode_close(payload)
        if self.state is State.OPEN:  # otherwise this is the echo
            self._append(CLOSE, encode_close(code, ""))
        # The server ends the TCP connection (section 7.1.1), so a client waits for that.
        self._enter(State.CLOSED if self.role is Role.SERVER else State.CLOSING)
        return self._finish(code, reason, True)

    def fail(self, failure: ProtocolFailure | Close) -> Close:
        """_Fail the WebSocket Connection_ (section 7.1.7): ignore whatever follows."""
        if self.state is State.OPEN:
            self._append(CLOSE, encode_close(failure.code, failure.reason))
        self._enter(State.CLOSED)
        return self._finish(failure.code, failure.reason, False)

    def _finish(self, code: int, reason: str, clean: bool) -> Close:
        """Return the last event, and free what reading and compression hold."""
        self.release()
        return Close(code, reason, clean)

    def release(self) -> None:
        """Free what is held for the peer: nothing more will be received."""
        self._deflater = None
        self._incoming.clear()
        reader, self.reader = self.reader, None
        if reader is not None:
            reader.stop()

    def verify(self) -> Reject | None:
        """Server: the refusal that an `Accept` of the request would become, or None.

        It saves the work of authenticating a request that would be refused anyway.

        Raises:
            LocalProtocolError: no request waits for an answer.
        """
        if Accept not in self._sendable:
            raise LocalProtocolError(f"there is no request to verify when {self.state.value}")
        try:
            self._check_upgrade()
        except HandshakeFailure as failure:
            return refusal(failure)
        return None

    def _check_upgrade(self) -> None:
        handshake = cast(ServerHandshake, self._handshake)
        if self._incoming:  # the events may not have been pulled since it came
            handshake.feed(self._take_incoming())
        handshake.check()

    # -- out --------------------------------------------------------------------------------

    def data_to_send(self) -> bytes:
        """Take everything that waits to be written; the caller must write it."""
        return self.outbox.take()

    def send(self, event: Event | Prepared) -> None:
        """Send an event. An `Accept` of an invalid upgrade becomes the right refusal.

        Raises:
            LocalProtocolError: `LEGAL` does not allow the event now, or a value in it is
                illegal.
            TypeError: a value in it is of the wrong type.
        """
        kind = type(event)
        if kind not in self._sendable:
            raise LocalProtocolError(
                f"a {self.role.value} may not send {kind.__name__} when {self.state.value}"
            )
        self._SENDERS[kind](self, event)

    def _append(self, opcode: int, payload: bytes, rsv1: bool = False) -> None:
        self.outbox.append_frame(opcode, payload, rsv1, self.keys() if self.keys else b"")

    def _send_message(self, message: TextMessage | BinaryMessage) -> None:
        opcode, payload = payload_of(message)
        self._append_message(opcode, payload)

    def _append_message(self, opcode: int, payload: bytes) -> None:
        deflater = self._deflater_for(payload)
        if deflater:
            self._append(opcode, deflater.deflate(payload), rsv1=True)
        else:
            self._append(opcode, payload)

    def _deflater_for(self, payload: bytes) -> Deflater | None:
        return self._deflater if len(payload) > self.plain else None

    def _send_prepared(self, prepared: Prepared) -> None:
        deflater = self._deflater_for(prepared.payload)
        if self.keys or (deflater and deflater.takeover):
            self._append_message(prepared.opcode, prepared.payload)  # no two frames are alike
        else:
            self.outbox.append(prepared.frame(deflater))

    def _send_ping(self, ping: Ping) -> None:
        self._append(PING, control_payload(ping.payload))

    def _send_pong(self, pong: Pong) -> None:
        self._append(PONG, control_payload(pong.payload))

    def _send_close(self, close: Close) -> None:
        self._append(CLOSE, close_payload(close))
        self._enter(State.CLOSING)

    def _send_request(self, request: Request) -> None:
        handshake = cast(ClientHandshake, self._handshake)
        self.outbox.append(handshake.request(request))
        self._enter(State.REQUESTED)

    def _send_accept(self, accept: Accept) -> None:
        handshake = cast(ServerHandshake, self._handshake)
        try:
            self._check_upgrade()  # with everything that has come since
            self.outbox.append(handshake.accept(accept))
        except HandshakeFailure as failure:
            self._send_reject(refusal(failure))
            return
        self.subprotocol = accept.subprotocol
        self._open(handshake.agreement, bytes(handshake.rest))

    def _send_reject(self, reject: Reject) -> None:
        handshake = cast(ServerHandshake, self._handshake)
        self.outbox.append(handshake.reject(reject))
        self._enter(State.CLOSED)

    _SENDERS: ClassVar[dict[type, Callable[..., None]]] = {
        Accept: _send_accept,
        BinaryMessage: _send_message,
        Close: _send_close,
        Ping: _send_ping,
        Pong: _send_pong,
        Prepared: _send_prepared,
        Reject: _send_reject,
        Request: _send_request,
        TextMessage: _send_message,
    }
