"""What every transport does around the calls of its session, whatever moves the bytes.

A loop that is told when a stream can be read or written derives its transport from `Driver` and
adds the I/O. No I/O here, and no rule of the protocol: those are the session's.
"""

import math

from sono_core.websocket import Reader

from .interfaces import Layer

_NO_SLOTS: tuple[str, ...] = ()  # in a name, so that mypy lets attributes be declared


class Driver:
    """A `Transport` without its I/O.

    It has no slots, so that it may stand beside a base that is written in C. Who derives from
    it calls `start` first, sets `layer`, and supplies the methods under "the I/O".
    """

    __slots__ = _NO_SLOTS

    layer: Layer
    """What is driven; to be set before anything is received."""
    reader: Reader | None
    """What `Session.fast_path` gave: what may be fed without asking the layer."""
    flush_scheduled: bool
    """Whether a flush is coming anyway."""
    pump_scheduled: bool
    """Whether the session waits to be pumped in a later turn."""
    scheduled: float
    """When `layer.tick` will be called, at the latest."""
    _fast: bool  # whether somebody feeds the reader without asking the session
    _broken: bool  # writing failed
    _closing: bool  # the session asked for the end of this side
    _shut: bool  # and it was sent

    def start(self, fast: bool) -> None:
        """Set everything to how it is at the beginning.

        Args:
            fast: whether somebody feeds the reader without asking the layer.
        """
        self._fast = fast
        self.reader = None
        self.flush_scheduled = self.pump_scheduled = False
        self.scheduled = math.inf
        self._broken = self._closing = self._shut = False

    # -- the I/O, supplied by who derives from this -----------------------------------------------

    def time(self) -> float:
        """Seconds of the clock that all deadlines are measured with."""
        raise NotImplementedError

    def _write_some(self) -> int:
        """Write from the front of `layer.outbox` what goes without waiting; the bytes written.

        Raises:
            OSError: writing failed.
        """
        raise NotImplementedError

    def _end_stream(self) -> None:
        """End this side of the stream; everything is written."""
        raise NotImplementedError

    def _abandon(self) -> None:
        """End the stream in both directions, and forget it."""
        raise NotImplementedError

    def _watch(self, reading: bool, blocked: bool) -> None:
        """Read or stop reading, and call `flush` when writing goes again if it was blocked."""
        raise NotImplementedError

    def _pump_later(self) -> None:
        """Call `pump` in the next turn of the loop."""
        raise NotImplementedError

    def _tick_at(self, due: float) -> None:
        """Call `tick` then; `scheduled` is set to it."""
        raise NotImplementedError

    def _rest(self) -> bytes:
        """What the peer sent before writing to it failed, a Close frame perhaps."""
        return b""

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
        """This was read; `b""` is the end of the stream."""
        # What is answered meanwhile needs no flush of its own: one comes at the end.
        scheduled, self.flush_scheduled = self.flush_scheduled, True
        try:
            self.layer.receive(data, now)
        finally:
            self.flush_scheduled = scheduled
        self.flush(now)

    def resume(self, now: float, messages: int = 0, size: int = 0) -> None:
        """Pump, after so many messages that were delivered in this turn already."""
        scheduled, self.flush_scheduled = self.flush_scheduled, True
        try:
            self.layer.pump(now, messages, size)
        finally:
            self.flush_scheduled = scheduled
        self.flush(now)

    def pump(self, now: float) -> None:
        """The turn that `_pump_later` asked for."""
        self.pump_scheduled = False
        if not self.layer.over:
            self.resume(now)

    def tick(self, now: float) -> None:
        """The time that `_tick_at` asked for; nothing is scheduled any more."""
        if not self.layer.over:
            self.layer.tick(now)
            self.flush(now)

    def flush(self, now: float) -> None:
        """Write what waits, then see to everything else that this connection needs."""
        layer = self.layer
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

    def _write(self, now: float) -> bool:
        """Write what the stream takes; False if something must wait for it."""
        layer = self.layer
        while layer.outbox.size:
            try:
                size = self._write_some()
            except OSError:
                self._broken = True  # for flush: the session may be in the middle of something
                return True
            if not size:
                layer.blocked(now)
                self.reader = None  # the session follows what is written from here on
                return False
            layer.written(size, now)
        return True
