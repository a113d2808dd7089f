"""What every transport does before and after it calls its layer, on every loop.

A transport derives from `Driver` and adds the I/O. There is no I/O here, and no rule of the
protocol: the session has those.
"""

import math

from sono_core.websocket import Reader

from .interfaces import Layer

_NO_SLOTS: tuple[str, ...] = ()  # by name, so that mypy permits declared attributes


class Driver:
    """A `Transport` without its I/O.

    It has no slots, so that a subclass can have a base written in C as well. Subclasses call
    `start` first, set `layer`, and implement `write_soon` and the methods under
    "the I/O".
    """

    __slots__ = _NO_SLOTS

    layer: Layer
    """The layer to drive; must be set before anything is received."""
    reader: Reader | None
    """From `Session.fast_path`: the transport may feed it without asking the layer."""
    flush_scheduled: bool
    """Whether a flush is scheduled already."""
    pump_scheduled: bool
    """Whether a pump is scheduled for a later turn."""
    scheduled: float
    """The latest time at which `tick` will be called."""
    _fast: bool  # whether the transport feeds the reader without asking the layer
    _broken: bool  # writing failed
    _closing: bool  # the session asked for the end of this side
    _shut: bool  # and the transport has ended it

    def start(self, fast: bool) -> None:
        """Set the initial state.

        Args:
            fast: whether the transport feeds the reader without asking the layer.
        """
        self._fast = fast
        self.reader = None
        self.flush_scheduled = self.pump_scheduled = False
        self.scheduled = math.inf
        self._broken = self._closing = self._shut = False

    # -- the I/O, implemented by subclasses -------------------------------------------------------

    def time(self) -> float:
        """The time in seconds, on the clock of all deadlines."""
        raise NotImplementedError

    def _write_some(self) -> int:
        """Write from the front of `layer.outbox` without waiting; return the number of bytes.

        Raises:
            OSError: writing failed.
        """
        raise NotImplementedError

    def _end_stream(self) -> None:
        """End this side of the stream; everything has been written."""
        raise NotImplementedError

    def _abandon(self) -> None:
        """End the stream in both directions, and forget it."""
        raise NotImplementedError

    def _watch(self, reading: bool, blocked: bool) -> None:
        """Read or stop reading; if `blocked`, call `flush` when writing is possible again."""
        raise NotImplementedError

    def _pump_later(self) -> None:
        """Call `pump` in the next turn of the loop."""
        raise NotImplementedError

    def _tick_at(self, due: float) -> None:
        """Call `tick` at `due`, and set `scheduled` to it."""
        raise NotImplementedError

    def _rest(self) -> bytes:
        """What the peer sent before writing to it failed, such as a Close frame."""
        return b""

    def unexpected(self, error: Exception) -> None:
        """A call failed in a way that nobody foresaw, by a defect.

        By default the caller gets the exception. A server ends this connection alone.
        """
        raise error

    def call_failed(self, error: Exception) -> None:
        """A call of the layer or of the I/O failed; every loop and the fast path come here.

        Where memory ran out, the layer ends its connection. Anything else nobody foresaw.
        """
        if isinstance(error, MemoryError):
            try:
                self.layer.out_of_memory(error)
            except Exception as again:
                error = again
            else:
                return
        self.unexpected(error)

    # -- Transport --------------------------------------------------------------------------------

    def write_now(self) -> None:
        """See `Transport`."""
        self._write(self.time())

    def close(self) -> None:
        """See `Transport`."""
        self._closing = True
        self.write_soon()

    def write_soon(self) -> None:
        """See `Transport`."""
        raise NotImplementedError

    def abort(self) -> None:
        """See `Transport`."""
        self.reader = None
        self.scheduled = math.inf
        self._abandon()

    # -- what the loop calls ----------------------------------------------------------------------

    def receive(self, data: bytes, now: float) -> None:
        """Pass on what was read; `b""` is the end of the stream."""
        self._pass_on(data, now)
        self.flush(now)

    def receive_in_turn(self, data: bytes, now: float) -> None:
        """The same in a loop with turns, at whose end it flushes: slow answers leave together.

        So does what the application may answer in this turn, a request for one. A layer that reads
        no more is flushed at once, as a loop may read again in the same turn.
        """
        self._pass_on(data, now)
        layer = self.layer
        if (layer.answers_together or not layer.outbox.size) and layer.reading:
            self.write_soon()
        else:
            self.flush(now)

    def _pass_on(self, data: bytes, now: float) -> None:
        # Answers need no flush of their own: one comes at the end.
        scheduled, self.flush_scheduled = self.flush_scheduled, True
        try:
            self.layer.receive(data, now)
        except Exception as error:
            self.call_failed(error)
        finally:
            self.flush_scheduled = scheduled

    def resume(self, now: float, messages: int = 0, size: int = 0) -> None:
        """Pump, counting the messages that were delivered in this turn already."""
        scheduled, self.flush_scheduled = self.flush_scheduled, True
        try:
            self.layer.pump(now, messages, size)
        except Exception as error:
            self.call_failed(error)
        finally:
            self.flush_scheduled = scheduled
        self.flush(now)

    def pump(self, now: float) -> None:
        """Called in the turn that `_pump_later` asked for."""
        self.pump_scheduled = False
        if not self.layer.over:
            self.resume(now)

    def tick(self, now: float) -> None:
        """Called at the time that `_tick_at` asked for; nothing is scheduled any more."""
        try:
            if not self.layer.over:
                self.layer.tick(now)
        except Exception as error:
            self.call_failed(error)
        self.flush(now)

    def go_away(self, code: int, reason: str, now: float) -> None:
        """See `Session.go_away`."""
        try:
            self.layer.go_away(code, reason, now)
        except Exception as error:
            self.call_failed(error)

    def flush(self, now: float) -> None:
        """Write what waits, then do everything else that the connection needs."""
        layer = self.layer
        try:
            blocked = layer.outbox.size > 0 and not self._write(now)
            if self._broken and not layer.over:
                layer.lost(self._rest())
            if layer.over:
                return
            if self._closing and not self._shut and not layer.outbox.size:
                self._shut = True
                self._end_stream()
            if layer.pump_due and not self.pump_scheduled:
                self.pump_scheduled = True
                self._pump_later()
            self._watch(layer.reading, blocked)
            if layer.deadlines.next < self.scheduled:
                self._tick_at(layer.deadlines.next)
            self.reader = layer.fast_path() if self._fast else None
        except Exception as error:
            self.call_failed(error)

    def _write(self, now: float) -> bool:
        """Write what the stream takes; False if it takes no more."""
        layer = self.layer
        while layer.outbox.size:
            try:
                size = self._write_some()
            except OSError:
                self._broken = True  # for flush: the session may be in the middle of a call
                return True
            if not size:
                layer.blocked(now)
                self.reader = None  # from now on the session must hear of every write
                return False
            layer.written(size, now)
        return True
