"""A connection in time: every policy that transports must follow, and no I/O.

Decides keepalive, time-outs, back-pressure, fair shares and the end of the stream for all
transports. RFC 6455, sections 5.5.2 (keepalive), 7.1.1 (which side ends the stream first).
"""

import math

from sono_core.errors import HandshakeFailure
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
from sono_core.limits import DEFAULT_LIMITS, DEFAULT_TIMEOUTS, Limits, Timeouts
from sono_core.websocket import Connection, Outbox, Prepared, Reader, State, Stop

from .deadlines import Deadline, Deadlines
from .ends import (
    ABORTED,
    BROKEN,
    CLOSE_UNANSWERED,
    HANDLER_FAILED,
    PING_UNANSWERED,
    STALLED,
    TOO_SLOW,
)
from .interfaces import GONE, Handler, Transport
from .keepalive import Keepalive
from .phases import TRANSITIONS, Phase, Step

_LAST_MESSAGES = 1024  # or other events, handled after a stream was lost

# Used for every message; an attribute of an enum costs more.
_OPENING, _OPEN, _ENDING = Phase.OPENING, Phase.OPEN, Phase.ENDING
_CONDEMNED, _OVER = Phase.CONDEMNED, Phase.OVER
_CONNECTION_OPEN = State.OPEN


class Session:
    """A `Connection` in time: with deadlines, a transport and a handler.

    Args:
        connection: of either role, with nothing received yet.
        transport: moves the bytes.
        handler: receives the events; may be replaced at any time.
        now: seconds of a clock that never steps; the handshake's deadline counts from here.
    """

    __slots__ = (
        "_close_owed",
        "_handler",
        "_held",
        "_keepalive",
        "_limits",
        "_much",
        "_peer_ended",
        "_phase",
        "_resting",
        "_timeouts",
        "_verdict",
        "backlog",
        "connection",
        "deadlines",
        "last_received",
        "outbox",
        "transport",
    )

    def __init__(
        self,
        connection: Connection,
        transport: Transport,
        handler: Handler,
        *,
        now: float,
        limits: Limits = DEFAULT_LIMITS,
        timeouts: Timeouts = DEFAULT_TIMEOUTS,
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
        self._limits = limits
        self._much = min(limits.pause_reading_at, limits.queue_limit)  # bytes in the outbox
        self._timeouts = timeouts
        self._keepalive = Keepalive(self.deadlines, timeouts, now)
        self._phase = Phase.OPENING
        self._verdict = ABORTED  # how the connection ends, if it is condemned
        self._close_owed = False  # the handler was told of the opening, and not yet of the end
        self._peer_ended = False  # the peer has ended its side of the stream
        self._held = False  # between `hold` and `release`
        self._resting = False  # from `end_turn` to the next turn
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

    @property
    def open(self) -> bool:
        """Whether messages can be sent."""
        return self._phase is _OPEN and self.connection.state is _CONNECTION_OPEN

    @property
    def over(self) -> bool:
        """Whether the transport is gone."""
        return self._phase is _OVER

    @property
    def _holding(self) -> bool:
        """Whether messages are held back for now; never once the connection is closing."""
        paused = self._held or Deadline.PAUSE in self.deadlines
        return paused and self.connection.state is _CONNECTION_OPEN

    @property
    def _keeps_up(self) -> bool:
        """Whether the peer's bytes are processed: it reads what it is sent, and is not held."""
        paused = self._held or Deadline.PAUSE in self.deadlines
        if paused and self._holding:  # seldom, so that mostly nothing is called
            return False
        phase = self._phase
        return (
            self.outbox.size <= self._limits.pause_reading_at
            and phase is not _CONDEMNED
            and phase is not _OVER
        )

    @property
    def reading(self) -> bool:
        """Whether the transport should read now; what came earlier is handled first."""
        return not self.backlog and not self._peer_ended and self._keeps_up

    @property
    def pump_due(self) -> bool:
        """Whether the transport should call `pump` in a later turn."""
        return self.backlog and self._keeps_up

    def fast_path(self) -> Reader | None:
        """The reader that the transport may feed directly in the ordinary case, else None.

        Instead of calling `receive`, the transport may then set `last_received`, feed this reader,
        have it `deliver` to `handler.on_message`, and call `pump` for whatever else comes. Instead
        of calling `written`, it may drop from the outbox what it wrote at once. It must ask again
        after any other call, and stop when the outbox has no `room`.
        """
        if not self.open or not self.reading or Deadline.STALL in self.deadlines:
            return None
        self.outbox.room = self._much
        return self.connection.reader

    # -- called by the transport ----------------------------------------------------------------
    # After each of these calls it writes as much of the outbox as it can.

    def receive(self, data: bytes, now: float) -> None:
        """Take what was read; `b""` is the end of the stream."""
        self.last_received = now
        self._peer_ended = not data
        self.connection.take_in(data)
        self.pump(now)

    def pump(self, now: float, messages: int = 0, size: int = 0) -> None:
        """Hand events to the handler: a fair share of them, and only while the peer keeps up.

        Args:
            messages: how many the transport has delivered in this turn already; see `fast_path`.
            size: bytes or characters of them.
        """
        outbox = self.outbox
        pause = self._limits.pause_reading_at
        messages = self._limits.max_turn_messages - messages
        size = self._limits.max_turn_bytes - size
        self.backlog = True
        while messages > 0 and size > 0 and not self._resting:
            if outbox.size > pause:
                self.transport.write_now()
            if not self._keeps_up:
                break
            taken, length, stop = self._deliver(pause, messages, size, now)
            messages -= taken
            size -= length
            if stop == Stop.LIMIT:
                continue
            if stop == Stop.EMPTY and not self._peer_ended:
                self.backlog = False
                break
            event = self.connection.next_event()
            if event is None:
                self.backlog = False
                break
            messages -= 1
            size -= self._dispatch(event, now)
        self._resting = False
        if self.connection.state is not _CONNECTION_OPEN:
            self._advance_close(now)

    def written(self, size: int, now: float) -> None:
        """`size` bytes of the outbox, from its front, were written."""
        outbox = self.outbox
        outbox.advance(size)
        if Deadline.STALL in self.deadlines and self._phase is not _CONDEMNED:
            if outbox.size:
                self.deadlines.set(Deadline.STALL, now + self._timeouts.write_stall)
            else:
                self.deadlines.unset(Deadline.STALL)
            if self.reading:
                self._keepalive.reading_again(now)
        if Deadline.CLOSE in self.deadlines:
            # The peer's time to answer begins when the Close frame has been written.
            self.deadlines.set(Deadline.CLOSE, now + self._timeouts.close)
        if self._phase is _ENDING:
            self._advance_close(now)

    def blocked(self, now: float) -> None:
        """Nothing could be written although the outbox is not empty."""
        if Deadline.STALL not in self.deadlines:
            self.deadlines.set(Deadline.STALL, now + self._timeouts.write_stall)

    def lost(self, rest: bytes = b"", reason: str = "") -> None:
        """An I/O call failed: the stream is gone in both directions.

        Args:
            rest: what could still be read from it.
            reason: what failed; a client is told if it was still in its handshake.
        """
        phase = self._phase
        if phase is _OVER:
            return
        self._take(Step.LOSE)
        if phase is _CONDEMNED:
            self._tell_close(self._verdict)
        elif phase is _OPENING and reason and self.connection.role is Role.CLIENT:
            self._dispatch(Reject(0, body=reason.encode()), self.last_received)
        elif phase is not _OPENING or self.connection.role is Role.CLIENT:  # tell the handler
            self.connection.take_in(rest)
            self.connection.take_in(b"")
            self._hear_out()
        self._drop()

    def _hear_out(self) -> None:
        """Hand over what arrived before the stream was lost, at most one turn's share.

        A handler that holds gets no messages, but a Close that follows them still counts.
        """
        messages, size = _LAST_MESSAGES, self._limits.max_turn_bytes
        self._resting = False
        while messages > 0 and size > 0 and not self._resting:
            event = self.connection.next_event()
            if event is None:
                return
            messages -= 1
            size -= self._dispatch(event, self.last_received)
        self._tell_close(BROKEN)

    def tick(self, now: float) -> None:
        """Do what is due by `now`."""
        due = self.deadlines.pop_due(now)
        for kind in due:
            if kind is Deadline.HANDSHAKE:
                self._handshake_due(now)
            elif kind is Deadline.PING:
                if self._keepalive.ping_due(now, self.last_received):
                    self.send(Ping())
            elif kind is Deadline.PONG:
                heard_all = self.reading and Deadline.PAUSE not in due
                if self._keepalive.pong_due(now, self.last_received, heard_all):
                    self._give_up(PING_UNANSWERED)
            elif kind is Deadline.STALL:
                self._give_up(self._verdict if self._phase is _CONDEMNED else STALLED)
            elif kind is Deadline.CLOSE:
                self._give_up(CLOSE_UNANSWERED)
            if self._phase is _OVER:
                break

    # -- called by the application --------------------------------------------------------------

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
        if self._phase is not _OPENING or self.connection.state is not State.REQUESTED:
            return False
        refused = self.connection.verify()
        return refused is None or (self._answer(refused, now) and False)

    def send(self, event: TextMessage | BinaryMessage | Ping | Prepared) -> bool:
        """Send a message or a ping; False if the connection is no longer open.

        A peer whose queue would grow beyond `Limits.queue_limit` is given up, with 4008. One
        message always fits into an empty queue.

        Raises:
            TypeError, LocalProtocolError: as for `Connection.send`.
        """
        if self.connection.state is not _CONNECTION_OPEN or self._phase is not _OPEN:
            return False
        outbox = self.outbox
        waiting = outbox.size
        if not waiting:
            self.transport.write_soon()
        self.connection.send(event)
        return self.enforce_queue_limit(waiting) if outbox.size > self._much else True

    def close(self, code: int, reason: str, now: float) -> bool:
        """Begin the closing handshake; False if the connection is not open.

        Raises:
            TypeError, LocalProtocolError: the code or the reason is illegal.
        """
        if not self.open:
            return False
        self.connection.send(Close(code, reason))
        self._take(Step.CLOSE)
        self._await_end(now)
        self.transport.write_soon()
        return True

    def go_away(self, code: int, reason: str, now: float) -> None:
        """Server: end politely, in whatever state, because the server is stopping."""
        if not self.close(code, reason, now) and self._phase is _OPENING:
            self._refuse(503, reason, now)

    def hold(self) -> None:
        """Deliver no more messages until `release`: the handler is busy with the last one.

        Meanwhile nothing is read, so that the peer feels the back-pressure.
        """
        self._held = True
        self.outbox.room = 0  # ends a delivery under way

    def release(self) -> None:
        """Resume delivery after `hold`."""
        self._held = False
        self.transport.write_soon()  # then the transport asks whether to pump and to read

    def pause(self, seconds: float, now: float) -> None:
        """Deliver nothing and read nothing for `seconds`: the peer sends too fast."""
        self.deadlines.set(Deadline.PAUSE, now + seconds)
        self.outbox.room = 0  # ends a delivery under way

    def end_turn(self) -> None:
        """Deliver no more messages in this turn: the last ones caused much work, others wait."""
        self._resting = True
        self.outbox.room = 0  # ends a delivery under way

    def abort(self) -> None:
        """End the connection without a closing handshake; `on_close` will report 1006."""
        if self._phase is not _OVER:
            self._condemn(ABORTED)

    # -- events ---------------------------------------------------------------------------------

    def _deliver(self, pause: int, messages: int, size: int, now: float) -> tuple[int, int, int]:
        """Deliver the messages that come next; see `Reader.deliver`."""
        connection = self.connection
        reader = connection.reader
        if reader is None or self._phase is not _OPEN or connection.state is not _CONNECTION_OPEN:
            return 0, 0, Stop.OTHER
        self.outbox.room = self._much
        try:
            return reader.deliver(self._handler.on_message, self.outbox, pause, messages, size)
        except Exception as error:
            self.failed(error, now)
            return 1, 0, Stop.LIMIT

    @property
    def _listening(self) -> bool:
        """Whether the handler gets messages: it does not hold, and has not closed."""
        return self.connection.state is _CONNECTION_OPEN and not self._holding

    def _dispatch(self, event: Event, now: float) -> int:
        """Tell the handler; return the length of the message, 0 for other events."""
        handler = self._handler
        size = 0
        try:
            if isinstance(event, TextMessage):
                size = len(event.text)
                if self._listening:
                    handler.on_message(event.text)
            elif isinstance(event, BinaryMessage):
                size = len(event.data)
                if self._listening:
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

    def failed(self, error: Exception, now: float) -> None:
        """End the connection, because the handler raised."""
        self._handler.on_error(error)
        if not self.close(HANDLER_FAILED.code, HANDLER_FAILED.reason, now):
            self._refuse(500, HANDLER_FAILED.reason, now)

    def _tell_close(self, close: Close) -> None:
        if self._close_owed:
            self._close_owed = False
            try:
                self._handler.on_close(close)
            except Exception as error:
                self._handler.on_error(error)

    # -- states ---------------------------------------------------------------------------------

    def _answer(self, answer: Accept | Reject, now: float) -> bool:
        connection = self.connection
        early = connection.state is State.CONNECTING and type(answer) is Reject
        if self._phase is not _OPENING or not (early or connection.state is State.REQUESTED):
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
        if self._phase is _OVER:  # bytes that arrived before the stream was lost opened it
            return
        self._take(Step.ACCEPT)
        self.outbox.room = self._much
        self.deadlines.unset(Deadline.HANDSHAKE)
        self._keepalive.begin(now)

    def _advance_close(self, now: float) -> None:
        """Take a connection that is no longer open one step towards its end."""
        phase = self._phase
        if phase is _CONDEMNED or phase is _OVER:
            return
        state = self.connection.state
        if state is State.CLOSING:  # a client: the server ends the stream (section 7.1.1)
            if phase is _OPEN:
                self._take(Step.CLOSE)
                self._await_end(now)
        elif state is State.CLOSED:
            if self._peer_ended and not self.outbox.size:
                self._take(Step.LOSE)
                self._drop()
            elif phase is not _ENDING:
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
        self._verdict = verdict
        self.outbox.room = 0
        self.deadlines.set(Deadline.STALL, -math.inf)
        self.transport.write_soon()

    def _give_up(self, close: Close) -> None:
        self._take(Step.LOSE)
        self._tell_close(close)
        self._drop()

    def _drop(self) -> None:
        self.backlog = False
        self.deadlines.clear()
        self.outbox.clear()
        self.outbox.room = 0
        self.transport.abort()
        self.transport = self._handler = GONE  # breaks cycles, which frees them at once

    def enforce_queue_limit(self, waiting: int) -> bool:
        """Write a long queue now, and give the peer up if too much of it is left.

        Args:
            waiting: bytes that waited before the last message was added.

        Returns:
            Whether the peer was kept.
        """
        if Deadline.STALL not in self.deadlines:
            self.transport.write_now()
        if waiting and self.outbox.size > self._limits.queue_limit:
            self._condemn(TOO_SLOW)
        return self._phase is not _CONDEMNED

    # -- deadlines ------------------------------------------------------------------------------

    def _handshake_due(self, now: float) -> None:
        if self.connection.role is Role.SERVER:
            if self.connection.state is State.CONNECTING:
                self._refuse(408, "the request took too long", now)
            else:
                self._refuse(503, "nobody answered the request", now)
            return
        self._take(Step.LOSE)
        self._dispatch(Reject(0, body=b"the handshake took too long"), now)
        self._drop()
