"""How a connection begins and ends, and what its handler is told of it: one step at a time.

RFC 6455, section 7.1.1 (which side ends the stream first). `Session` adds the pace. No I/O.
"""

import math

from sono_core.errors import HandshakeFailure
from sono_core.events import (
    Accept,
    BinaryMessage,
    Close,
    Event,
    Pong,
    Reject,
    Request,
    Role,
    TextMessage,
)
from sono_core.http import refusal
from sono_core.limits import Limits, Timeouts
from sono_core.websocket import Connection, Outbox, State

from .ahead import Ahead, length_of
from .deadlines import Deadline, Deadlines
from .ends import ABORTED, HANDLER_FAILED, LARGEST_HOLDER, NO_MEMORY
from .interfaces import GONE, Handler, Transport
from .memory import Account, MemoryBudget
from .phases import TRANSITIONS, Phase, Step

_BODY_TIME = 1.0  # seconds for the body of a refusal, which is no more than its text

# Used for many messages; an attribute of an enum costs more.
_OPEN, _CONNECTION_OPEN = Phase.OPEN, State.OPEN


class Course:
    """The way of a connection through its phases; the base of `Session`, with its arguments."""

    __slots__ = (
        "_account",
        "_ahead",
        "_close_owed",
        "_handler",
        "_limits",
        "_peer_ended",
        "_phase",
        "_timeouts",
        "backlog",
        "connection",
        "deadlines",
        "last_received",
        "outbox",
        "over",
        "transport",
        "verdict",
    )

    def __init__(
        self,
        connection: Connection,
        transport: Transport,
        handler: Handler,
        now: float,
        limits: Limits,
        timeouts: Timeouts,
        memory: MemoryBudget | None,
    ) -> None:
        self.connection: Connection = connection
        self.transport: Transport = transport
        self._handler = handler
        self.outbox: Outbox = connection.outbox
        """What the transport is to write."""
        self.deadlines: Deadlines = Deadlines()
        """When `tick` is due."""
        self.last_received: float = now
        """When the peer last sent anything."""
        self.backlog: bool = False
        """Whether what was received may hold more events; see `pump_due`."""
        self.over: bool = False
        """Whether the transport is gone."""
        self._limits = limits
        self._timeouts = timeouts
        self._account = None if memory is None else Account(memory)
        self._ahead = Ahead(self.deadlines, limits.max_held)
        self._phase = Phase.OPENING
        self.verdict: Close = ABORTED
        """How the connection ends, if it is given up."""
        self._close_owed = False  # the handler was told of the opening, and not yet of the end
        self._peer_ended = False  # the peer has ended its side of the stream
        self.deadlines.set(Deadline.HANDSHAKE, now + timeouts.handshake)

    @property
    def handler(self) -> Handler:
        """Receives the events."""
        return self._handler

    @handler.setter
    def handler(self, handler: Handler) -> None:
        self._handler = handler
        self.outbox.room = 0  # ends a delivery to the old one

    @property
    def phase(self) -> Phase:
        """Where the session stands; see `phases.TRANSITIONS`."""
        return self._phase

    def _take(self, step: Step) -> None:
        """Enter the phase that a step leads to."""
        self._phase = TRANSITIONS[self._phase][step]
        self.over = self._phase is Phase.OVER

    @property
    def open(self) -> bool:
        """Whether messages can be sent."""
        return self._phase is _OPEN and self.connection.state is _CONNECTION_OPEN

    @property
    def _holding(self) -> bool:
        """Whether messages are held back for now; never once the connection is closing."""
        open_ = self.connection.state is _CONNECTION_OPEN and not self.over
        return open_ and self._ahead.paused

    # -- the beginning ----------------------------------------------------------------------------

    def connect(self, request: Request) -> None:
        """Client: send the request of the opening handshake.

        Raises:
            LocalProtocolError: the request is illegal, or was sent already.
        """
        self.connection.send(request)
        self.transport.write_soon()

    def accept(self, accept: Accept, now: float) -> bool:
        """Server: open the connection, or refuse a request that is not a valid upgrade.

        Returns:
            Whether the connection is open now.

        Raises:
            LocalProtocolError: a value in `accept` is illegal.
        """
        if not self._answer(accept, now):
            return False
        if self.connection.state is _CONNECTION_OPEN:
            self._begin(now)
            self.backlog = self._peer_ended or self.connection.has_early_data
        return self.open

    def respond(self, reject: Reject, now: float) -> bool:
        """Server: answer the request without opening a WebSocket; False if it is too late.

        Raises:
            LocalProtocolError: a value in `reject` is illegal.
        """
        return self._answer(reject, now)

    def verify(self, now: float) -> bool:
        """Server: refuse the request now if `accept` would refuse it.

        Returns:
            Whether it is a valid upgrade from an allowed origin, and can still be accepted.
        """
        if self._phase is not Phase.OPENING or self.connection.state is not State.REQUESTED:
            return False
        refused = self.connection.verify()
        return refused is None or (self._answer(refused, now) and False)

    def _answer(self, answer: Accept | Reject, now: float) -> bool:
        connection = self.connection
        early = connection.state is State.CONNECTING and type(answer) is Reject
        if self._phase is not Phase.OPENING or not (early or connection.state is State.REQUESTED):
            return False
        if connection.role is Role.CLIENT:
            return False
        connection.send(answer)
        self.transport.write_soon()
        if connection.state is State.CLOSED:
            self._advance_close(now)
        return True

    def _refuse(self, status: int, reason: str, now: float) -> None:
        self._answer(refusal(HandshakeFailure(status, reason)), now)

    def _grant_answer(self, now: float) -> None:
        """Extend the deadline of a request that came in time and was read late."""
        if self.deadlines.next <= now:
            self.deadlines.set(Deadline.HANDSHAKE, now + self._timeouts.handshake)

    def _begin(self, now: float) -> None:
        self._close_owed = True
        if not self.over:  # else bytes that arrived before the stream was lost opened it
            self._take(Step.ACCEPT)
            self.deadlines.unset(Deadline.HANDSHAKE)

    def _handshake_due(self, now: float) -> None:
        if self.connection.role is Role.SERVER:
            if self.connection.state is State.CONNECTING:
                self._refuse(408, "the request took too long", now)
            else:
                self._refuse(503, "nobody answered the request", now)
            return
        self._take(Step.LOSE)
        late = Reject(0, body=b"the handshake took too long")
        self._dispatch(self.connection.refused or late, now)
        self._drop()

    def _refusal(self, rest: bytes, reason: str) -> Reject:
        """What a client is told of its failed handshake: what the server said, if it did."""
        self.connection.take_in(rest)
        self.connection.take_in(b"")
        event = self.connection.next_event()
        if isinstance(event, Reject) and event.status:
            return event
        return Reject(0, body=reason.encode())

    # -- what the handler is told -----------------------------------------------------------------

    def _dispatch(self, event: Event, now: float) -> int:
        """Tell the handler, or hold the event back; return the length of the message, else 0."""
        if isinstance(event, (TextMessage, BinaryMessage)):
            if self.connection.state is not _CONNECTION_OPEN:  # this side has closed
                return length_of(event)
            if self._holding:
                return self._ahead.add(event)
        elif isinstance(event, Close) and self._ahead.size:
            return self._ahead.add(event)
        return self._tell(event, now)

    def _tell(self, event: Event, now: float) -> int:
        """Tell the handler; return the length of the message, 0 for other events."""
        handler = self._handler
        size = 0
        try:
            if isinstance(event, TextMessage):
                size = len(event.text)
                handler.on_message(event.text)
            elif isinstance(event, BinaryMessage):
                size = len(event.data)
                handler.on_message(event.data)
            elif isinstance(event, Close):
                self._tell_close(event)
            elif isinstance(event, Pong):
                handler.on_pong(event.payload)
            elif isinstance(event, Request):
                self._grant_answer(now)
                handler.on_request(event)
            elif isinstance(event, Accept):
                self._begin(now)
                handler.on_response(event)
            elif isinstance(event, Reject):
                handler.on_response(event)
        except Exception as error:
            self.failed(error, now)
        return size

    def _tell_close(self, close: Close) -> None:
        if self._close_owed:
            self._close_owed = False
            try:
                self._handler.on_close(close)
            except Exception as error:
                self._handler.on_error(error)

    def failed(self, error: Exception, now: float) -> None:
        """End the connection, because the handler raised."""
        self._handler.on_error(error)
        if not self.close(HANDLER_FAILED.code, HANDLER_FAILED.reason, now):
            self._refuse(500, HANDLER_FAILED.reason, now)

    # -- the end ----------------------------------------------------------------------------------

    def close(self, code: int, reason: str, now: float) -> bool:
        """Begin the closing handshake; False if the connection is not open.

        Raises:
            TypeError, LocalProtocolError: the code or the reason is illegal.
        """
        if not self.open:
            return False
        self.connection.send(Close(code, reason))
        self._ahead.clear()
        self._take(Step.CLOSE)
        self._await_end(now)
        self.transport.write_soon()
        return True

    def go_away(self, code: int, reason: str, now: float) -> None:
        """Server: end politely, in whatever state, because the server is stopping."""
        if not self.close(code, reason, now) and self._phase is Phase.OPENING:
            self._refuse(503, reason, now)

    def abort(self) -> None:
        """End the connection without a closing handshake; `on_close` will report 1006."""
        if not self.over:
            self._condemn(ABORTED)

    def _advance_close(self, now: float) -> None:
        """Take a connection that is no longer open one step towards its end."""
        phase = self._phase
        if self.over or phase is Phase.CONDEMNED:
            return
        state = self.connection.state
        if state is State.REQUESTED and self.connection.refused:
            due = min(self.deadlines[Deadline.HANDSHAKE], now + _BODY_TIME)
            self.deadlines.set(Deadline.HANDSHAKE, due)
        elif state is State.CLOSING:  # a client: the server ends the stream (section 7.1.1)
            if phase is _OPEN:
                self._take(Step.CLOSE)
                self._await_end(now)
        elif state is State.CLOSED:
            if self._peer_ended and not self.outbox.size and not self._ahead.size:
                self._take(Step.LOSE)
                self._drop()
            elif phase is not Phase.ENDING:
                # The peer may still be sending, and an unread byte would turn the end of the
                # stream into a reset, which could destroy the Close frame on its way. So this
                # side ends its half, and waits for the peer's.
                self._take(Step.FINISH)
                self._await_end(now)
                self.transport.close()

    def _await_end(self, now: float) -> None:
        self.deadlines.clear()
        self.deadlines.set(Deadline.CLOSE, now + self._timeouts.close)

    def _condemn(self, verdict: Close) -> None:
        """Give the connection up at the next tick.

        Not now: the application is in the middle of a call, and expects no `on_close` there.
        """
        self._take(Step.CONDEMN)
        self.verdict = verdict
        self._ahead.clear()
        self.outbox.room = 0
        self.deadlines.set(Deadline.STALL, -math.inf)
        self.transport.write_soon()

    def _give_up(self, close: Close) -> None:
        self.verdict = close
        if close is LARGEST_HOLDER and self.connection.reader and not self.outbox.size:
            self.connection.send(close)  # it can be told, but not waited for
            self.transport.write_now()
        self._take(Step.LOSE)
        while self._ahead.size:
            self._tell(self._ahead.take(), self.last_received)
        self._tell_close(close)
        self._drop()

    def _drop(self) -> None:
        if self._account is not None:
            self._account.close(self)  # first, for whatever follows may fail
        self.backlog = False
        self._ahead.clear()
        self.deadlines.clear()
        self.outbox.clear()
        self.outbox.room = 0
        self.connection.release()
        self.transport.abort()
        self.transport = self._handler = GONE  # breaks cycles, which frees them at once

    # -- memory -----------------------------------------------------------------------------------

    def reserve(self, size: int) -> None:
        """Count memory that the connection holds until its end, the state of TLS for instance."""
        if self._account is not None:
            self._account.reserve(size)

    def _held(self) -> int:
        """Bytes held for the peer, with what the transport holds because it cannot write."""
        held = self.connection.held + self._ahead.size
        if Deadline.STALL in self.deadlines:
            held += getattr(self.transport, "buffered", 0)
        return held

    def measure(self, seen: set[int]) -> int:
        """See `memory.Holder`."""
        outbox = self.outbox
        return self._held() - outbox.kept + outbox.distinct(seen)

    def evict(self) -> None:
        """See `memory.Holder`."""
        if not self.over:
            self._condemn(LARGEST_HOLDER)

    def out_of_memory(self, error: MemoryError) -> None:
        """Something failed for lack of memory: end this connection at once, and no other."""
        if self.over:
            self._drop()  # which may be what failed
            return
        self._handler.on_error(error)
        self._give_up(NO_MEMORY)
