"""A connection in time: every policy that transports must follow, and no I/O.

Decides back-pressure, fair shares and time-outs for all transports. How a connection begins and
ends is in `course`, when to ping in `keepalive`.
"""

from sono_core.events import BinaryMessage, Event, Ping, Role, TextMessage
from sono_core.limits import DEFAULT_LIMITS, DEFAULT_TIMEOUTS, KIB, Limits, Timeouts
from sono_core.websocket import Connection, Prepared, Reader, State, Stop

from .age import MessageAge
from .course import Course
from .deadlines import Deadline
from .ends import BROKEN, CLOSE_UNANSWERED, PING_UNANSWERED, STALLED, TOO_SLOW, UNFINISHED
from .interfaces import ENDLESS, Handler, Transport, Turn
from .keepalive import Keepalive
from .memory import MemoryBudget
from .phases import Phase, Step
from .throttle import Throttle

_LAST_MESSAGES = 1024  # or other events, handled after a stream was lost
_LOOK = 32  # messages or other events between two looks at the clock
_LITTLE = 16  # messages handled, or KiB of them, though the time of the turn is over
_ENOUGH = 64  # of both, after which a peer that has a backlog lets others go first
_UPLOAD_PAUSE = 0.1  # seconds after each read of a large message while memory is tight

# Used for every message; an attribute of an enum costs more.
_OPENING, _OPEN = Phase.OPENING, Phase.OPEN
_ENDING, _CONDEMNED = Phase.ENDING, Phase.CONDEMNED
_CONNECTION_OPEN = State.OPEN
_REQUESTED, _CLOSED = State.REQUESTED, State.CLOSED


def _event(message: str | bytes) -> TextMessage | BinaryMessage:
    return TextMessage(message) if isinstance(message, str) else BinaryMessage(message)


def _ignore(message: str | bytes) -> None:
    """A message came after this side has closed."""


class Session(Course):
    """A `Connection` in time: with deadlines, a transport and a handler.

    Args:
        connection: of either role, with nothing received yet.
        transport: moves the bytes.
        handler: receives the events; may be replaced at any time.
        now: seconds of a clock that never steps; the handshake's deadline counts from here.
        turn: of the loop, shared by its connections.
        memory: is told what is held for the peer; the server's.
    """

    __slots__ = (
        "_age",
        "_had",
        "_had_bytes",
        "_keepalive",
        "_much",
        "_resting",
        "_throttle",
        "_turn",
        "unheard",
    )

    backlog: bool
    answers_together = False
    engine = None

    def __init__(
        self,
        connection: Connection,
        transport: Transport,
        handler: Handler,
        *,
        now: float,
        limits: Limits = DEFAULT_LIMITS,
        timeouts: Timeouts = DEFAULT_TIMEOUTS,
        turn: Turn = ENDLESS,
        memory: MemoryBudget | None = None,
    ) -> None:
        super().__init__(connection, transport, handler, now, limits, timeouts, memory)
        self.unheard: bool = False
        """Set by a transport that does not read although it may: a pong may be unread."""
        self._much = min(limits.pause_reading_at, limits.queue_limit)  # held by the outbox
        self._turn = turn
        self._had = self._had_bytes = 0  # messages handled, and bytes of them, since none waited
        self._resting = False  # from `end_turn` to the next turn
        self._keepalive = Keepalive(self.deadlines, timeouts, now)
        self._age = MessageAge(self.deadlines, timeouts)
        self._throttle: Throttle | None = None  # made when something is first charged

    @property
    def _keeps_up(self) -> bool:
        """Whether the peer's bytes are processed: it reads what it is sent, and little is held."""
        ahead = self._ahead
        if ahead.size > ahead.most and self._holding:
            return False
        if Deadline.THROTTLE in self.deadlines:
            return False
        given_up = self.over or self._phase is _CONDEMNED
        return self.outbox.size <= self._limits.pause_reading_at and not given_up

    @property
    def reading(self) -> bool:
        """Whether the transport should read now; what came earlier is handled first."""
        return not self.backlog and not self._peer_ended and self._keeps_up

    @property
    def pump_due(self) -> bool:
        """Whether the transport should call `pump` in a later turn."""
        return self.backlog and self._keeps_up

    @property
    def sated(self) -> bool:
        """Whether so much of the peer was handled since nothing waited that others go first."""
        return self._had > _ENOUGH or self._had_bytes > _ENOUGH * KIB

    def fast_path(self) -> Reader | None:
        """The reader that the transport may feed directly in the ordinary case, else None.

        Instead of calling `receive`, the transport may then set `last_received`, feed this reader,
        have it `deliver` to `handler.on_message`, and call `pump` for whatever else comes. Instead
        of calling `written`, it may drop from the outbox what it wrote at once. It must ask again
        after any other call, and stop when the outbox has no `room`.
        """
        ahead = self._ahead
        if not self.open or not self.reading or ahead.held or ahead.size:
            return None
        if Deadline.STALL in self.deadlines or Deadline.PAUSE in self.deadlines:
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
        connection, outbox, turn, limits = self.connection, self.outbox, self._turn, self._limits
        partial = False
        pause = limits.pause_reading_at
        most, most_bytes = limits.max_turn_messages, limits.max_turn_bytes
        if turn.spent:
            most, most_bytes = min(most, _LITTLE), min(most_bytes, _LITTLE * KIB)
        messages = most - messages
        size = most_bytes - size
        unlooked = _LOOK
        others = 0  # events that are no messages
        self.backlog = True
        while messages > 0 and size > 0 and not self._resting:
            if outbox.size > pause:
                self.transport.write_now()
            if not self._keeps_up:
                break
            some = messages if messages < _LOOK else _LOOK
            taken, length, stop = self._deliver(pause, some, size, now)
            messages -= taken
            size -= length
            if (stop == Stop.EMPTY or stop == Stop.PARTIAL) and not self._peer_ended:
                partial = stop == Stop.PARTIAL
                self.backlog = False
                break
            unlooked -= taken + 1
            if unlooked <= 0:
                unlooked = _LOOK
                if turn.look():
                    break
            if stop == Stop.LIMIT:
                continue
            event = connection.next_event()
            if event is None:
                partial = connection.reader is not None and connection.reader.arrived > 0
                self.backlog = False
                break
            messages -= 1
            if not isinstance(event, (TextMessage, BinaryMessage)):  # they come so without a reader
                others += 1
            size -= self._dispatch(event, now)
            state = connection.state
            if (state is _REQUESTED or state is _CLOSED) and not self._ahead.size:
                self.backlog = False  # nothing follows
                break
        self._resting = False
        if self.backlog:
            self._had += most - messages
            self._had_bytes += most_bytes - size
        else:
            self._had = self._had_bytes = 0
        if connection.state is not _CONNECTION_OPEN:
            self._advance_close(now)
        elif (reader := connection.reader) is not None:
            if not partial:
                if not self.backlog:
                    reader.since = None
            elif reader.since is None:
                reader.since = now
            if others := others + reader.extra:
                reader.extra = 0
                self.charge(others, now)
        account = self._account
        told = account is not None and account.charged
        if partial or self.backlog or told or self._phase is _OPENING:
            self.settle()

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
            self.settle()
        if Deadline.CLOSE in self.deadlines:
            # The peer's time to answer begins when the Close frame has been written.
            self.deadlines.set(Deadline.CLOSE, now + self._timeouts.close)
        if self._phase is _ENDING:
            self._advance_close(now)

    def blocked(self, now: float) -> None:
        """Nothing could be written although the outbox is not empty."""
        if Deadline.STALL not in self.deadlines:
            self.deadlines.set(Deadline.STALL, now + self._timeouts.write_stall)
        self.settle()

    def lost(self, rest: bytes = b"", reason: str = "") -> None:
        """An I/O call failed: the stream is gone in both directions.

        Args:
            rest: what could still be read from it.
            reason: what failed; a client is told if it was still in its handshake.
        """
        if self.over:
            return
        phase = self._phase
        self._take(Step.LOSE)
        if phase is _CONDEMNED:
            self._tell_close(self.verdict)
        elif phase is _OPENING and reason and self.connection.role is Role.CLIENT:
            self._dispatch(self._refusal(rest, reason), self.last_received)
        elif phase is not _OPENING or self.connection.role is Role.CLIENT:  # tell the handler
            self.connection.take_in(rest)
            self.connection.take_in(b"")
            self._hear_out()
        self._drop()

    def _hear_out(self) -> None:
        """Hand over what arrived before the stream was lost, at most one turn's share.

        Of what was not read ahead it is a little once the time of the turn is over: many streams
        may be lost in one turn.
        """
        messages, size = _LAST_MESSAGES, self._limits.max_turn_bytes
        now, connection = self.last_received, self.connection
        self._resting = False
        while self._ahead.size and messages > 0 and size > 0 and not self._resting:
            messages -= 1
            size -= self._tell(self._ahead.take(), now)
        if self._turn.look():
            messages, size = min(messages, _LITTLE), min(size, _LITTLE * KIB)
        while messages > 0 and size > 0 and not self._resting:
            taken, found = self._take_out(connection.reader, min(messages, _LOOK), size)
            messages -= taken
            if taken == 0:
                messages -= 1
                if (event := connection.next_event()) is None:
                    return
                found.append(event)
            size -= self._dispatch_all(found, now)
        self._tell_close(BROKEN)

    def _dispatch_all(self, events: list[Event], now: float) -> int:
        """Tell the handler until it wants no more in this turn; return the size of messages."""
        size = 0
        for event in events:
            if not self._resting:
                size += self._dispatch(event, now)
        return size

    def _take_out(self, reader: Reader | None, messages: int, size: int) -> tuple[int, list[Event]]:
        """The messages that come next, before anybody is told: who is told may not send."""
        found: list[Event] = []
        if reader is None:
            return 0, found
        outbox = self.outbox
        outbox.room = 1
        taken, _, _ = reader.deliver(
            lambda message: found.append(_event(message)), outbox, outbox.size, messages, size
        )
        outbox.room = 0
        return taken, found

    def tick(self, now: float) -> None:
        """Do what is due by `now`."""
        due = self.deadlines.pop_due(now)
        if Deadline.PAUSE in due:
            self._resume()
        if Deadline.THROTTLE in due:
            self.unheard = True
        for kind in due:
            if kind is Deadline.HANDSHAKE:
                self._handshake_due(now)
            elif kind is Deadline.PING:
                if self._keepalive.ping_due(now, self.last_received):
                    self.unheard = False
                    self.send(Ping())
            elif kind is Deadline.PONG:
                heard_all, self.unheard = self.reading and not self.unheard, False
                if self._keepalive.pong_due(now, self.last_received, heard_all):
                    self._give_up(PING_UNANSWERED)
            elif kind is Deadline.STALL:
                self._give_up(self.verdict if self._phase is _CONDEMNED else STALLED)
            elif kind is Deadline.MESSAGE:
                self._watch_message(now)
            elif kind is Deadline.CLOSE:
                self._give_up(CLOSE_UNANSWERED)
            if self.over:
                break

    # -- called by the application --------------------------------------------------------------

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
        return self.enforce_queue_limit(waiting) if outbox.held > self._much else True

    def hold(self, *, ahead: bool = True) -> None:
        """Deliver no more messages until `release`: the handler is busy with the last one.

        Up to `Limits.max_held` is read ahead, so that pings are answered and a Close is seen; then
        nothing more is read, and the peer feels the back-pressure. When the connection ends in the
        meantime, the handler gets at once what was read, in order, and then `on_close`.

        Args:
            ahead: False to read nothing: for a moment, in which nobody misses an answer.
        """
        self._ahead.held = True
        if not ahead:
            self._ahead.most = -1
        self._stop_delivery()

    def release(self) -> None:
        """Resume delivery after `hold`."""
        self._ahead.held = False
        self._ahead.most = self._limits.max_held
        self._resume()
        self.transport.write_soon()  # then the transport asks whether to pump and to read

    def pause(self, seconds: float, now: float) -> None:
        """Deliver nothing for `seconds`, and read ahead as in `hold`: the peer sends too fast."""
        self.deadlines.set(Deadline.PAUSE, now + seconds)
        self._stop_delivery()

    def unpause(self) -> None:
        """End what `pause` began."""
        self.deadlines.unset(Deadline.PAUSE)
        self._resume()
        self.transport.write_soon()  # then the transport asks whether to pump and to read

    def charge(self, number: int, now: float) -> None:
        """Count control frames and whatever counts as one; a peer that sends too many has to wait.

        Until then nothing at all is read of it: reading ahead would answer its pings.
        """
        wait = self._throttling().charge(number, now)
        if wait and self.open:
            self._slow_down(wait, now)

    def _slow_down(self, seconds: float, now: float) -> None:
        self._throttling().wait(seconds, now)
        self.outbox.room = 0  # ends the fast path

    def _throttling(self) -> Throttle:
        if self._throttle is None:
            self._throttle = Throttle(self.deadlines, self._limits)
        return self._throttle

    def end_turn(self) -> None:
        """Deliver no more messages in this turn: the last ones caused much work, others wait."""
        self._had += _ENOUGH + 1
        self._resting = True
        self.outbox.room = 0  # ends a delivery under way

    # -- events ---------------------------------------------------------------------------------

    def _deliver(self, pause: int, messages: int, size: int, now: float) -> tuple[int, int, int]:
        """Deliver the messages that come next; see `Reader.deliver`."""
        on_message = self._handler.on_message
        ahead = self._ahead
        if ahead.held or ahead.size or Deadline.PAUSE in self.deadlines:  # seldom
            if self._holding:
                on_message = self._keep
            elif ahead.size:
                return 1, self._tell(ahead.take(), now), Stop.LIMIT
        connection, outbox = self.connection, self.outbox
        reader = connection.reader
        if reader is None:
            return 0, 0, Stop.OTHER
        if self._phase is not _OPEN or connection.state is not _CONNECTION_OPEN:
            outbox.room = 1
            try:
                return reader.deliver(_ignore, outbox, pause, messages, size)
            finally:
                outbox.room = 0  # nothing may be sent any more
        outbox.room = self._much
        try:
            return reader.deliver(on_message, outbox, pause, messages, size)
        except Exception as error:
            self.failed(error, now)
            return 1, 0, Stop.LIMIT

    def _keep(self, message: str | bytes) -> None:
        """Read a message ahead."""
        ahead = self._ahead
        ahead.add(_event(message))
        if ahead.size > ahead.most:
            self.outbox.room = 0  # ends the delivery

    def _stop_delivery(self) -> None:
        # What follows is looked at in the next turn, so that an answer which needs no waiting
        # leaves before the answers to that.
        self._resting = self._phase is _OPEN
        self.outbox.room = 0  # ends a delivery under way

    def _resume(self) -> None:
        """Deliver again, what was held back first."""
        if self._ahead.size:
            self.backlog = True
            self.unheard = True  # the transport may not have read for a while

    def enforce_queue_limit(self, waiting: int) -> bool:
        """Write a long queue now, and give the peer up if too much of it is left.

        Args:
            waiting: bytes that waited before the last message was added.

        Returns:
            Whether the peer was kept.
        """
        if Deadline.STALL not in self.deadlines:
            self.transport.write_now()
        if waiting and self.outbox.held > self._limits.queue_limit:
            self._condemn(TOO_SLOW)
        self.settle()
        return self._phase is not _CONDEMNED

    # -- memory ---------------------------------------------------------------------------------

    def settle(self) -> bool:
        """Tell the server's budget how much is held for the peer; whether it is worth telling."""
        account = self._account
        if account is None or self.over or self._phase is _CONDEMNED:
            return False
        if account.charge(self, self._held()) and not self.outbox.size:
            self._slow_down(_UPLOAD_PAUSE, self.last_received)
            self.transport.write_soon()  # then the transport asks whether to read
        return account.charged > 0

    # -- deadlines ------------------------------------------------------------------------------

    def _begin(self, now: float) -> None:
        super()._begin(now)
        if self.over:
            return
        self.outbox.room = self._much
        self._keepalive.begin(now)
        self._watch_message(now)
        self.reserve(self.connection.overhead)
        if self._account is not None and self._account.charged:  # for the request
            self.settle()

    def _watch_message(self, now: float) -> None:
        """Look how old the message under way is; end the connection if it takes too long."""
        reader = self.connection.reader
        if reader is None or self._phase is not _OPEN:
            return
        if self._age.exceeded(reader, now, self.reading):
            self._tell_close(self.connection.fail(UNFINISHED))
            self._advance_close(now)
