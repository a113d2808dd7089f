"""A stream and a clock in memory: by themselves, no bytes move and no time passes.

Streams behave like TCP's: each side ends separately, what was written before the end arrives, and
an end that leaves with bytes unread resets the stream.
"""

import math
from collections.abc import Callable

from sono_core.lifecycle import Driver, Layer, Transport

Builder = Callable[[Transport], Layer]
"""Makes the layer at one end of a stream: a `Session`, or a layer around one."""

_MAX_STEPS = 1_000_000  # in one run: stops two ends that never fall silent


class Clock:
    """A clock that moves only when it is told to. Call it like `time.monotonic`.

    >>> clock = Clock()
    >>> clock.now += 2.5
    >>> clock()
    2.5
    """

    def __init__(self, now: float = 0.0) -> None:
        self.now = now
        """Seconds."""

    def __call__(self) -> float:
        return self.now


class MemoryTransport(Driver):
    """One end of a stream in memory: the transport of the layer there."""

    peer: "MemoryTransport"
    """The other end."""
    flush_scheduled: bool

    def __init__(self, clock: Clock) -> None:
        self.start(fast=False)
        self._clock = clock
        self.capacity: float = math.inf
        """Bytes that may wait here unread; above it the peer's writes wait."""
        self.chunk: float = math.inf
        """The most bytes that one read gives."""
        self.cut = False
        """Whether nothing arrives here any more: neither bytes nor the end of the stream."""
        self.incoming: bytearray = bytearray()
        """Bytes that have come and are unread."""
        self.sent: bytearray = bytearray()
        """Everything that this end wrote, as it was on the wire; see `frames`."""
        self._blocked = False
        self._finished = False  # the peer sends no more
        self._reset = False  # the stream is gone in both directions
        self._gone = False  # this end has left it

    def inject(self, data: bytes) -> None:
        """Send bytes past the session, such as those that no session would send."""
        self.sent += data
        self.peer.incoming += data

    def end(self) -> None:
        """End this side of the stream, whatever the session wants."""
        self.peer._finished = True

    def reset(self) -> None:
        """Lose the stream, as the peer's reset or a failing network does."""
        self._reset = True

    def step(self) -> bool:
        """Run one turn of a loop here; return whether there was anything to do."""
        layer, now = self.layer, self._clock.now
        if layer.over:
            return False
        if self._reset and not self.cut:
            layer.lost()
        elif self.flush_scheduled:
            self.flush_scheduled = False
            self.flush(now)
        elif self.pump_scheduled:
            self.pump(now)
        elif layer.reading and not self.cut and (self.incoming or self._finished):
            self._read(now)
        elif layer.deadlines.next <= now:
            self.tick(now)
        elif self._blocked and self._room() > 0:
            self.flush(now)
        else:
            return False
        return True

    def _read(self, now: float) -> None:
        size = int(min(self.chunk, len(self.incoming)))
        data = bytes(self.incoming[:size])
        del self.incoming[:size]
        self.receive(data, now)

    def _room(self) -> float:
        return self.peer.capacity - len(self.peer.incoming)

    # -- Driver -----------------------------------------------------------------------------------

    def time(self) -> float:
        return self._clock.now

    def write_soon(self) -> None:
        self.flush_scheduled = True

    def _write_some(self) -> int:
        if self.peer._gone and not self.cut:
            raise ConnectionResetError("the peer has left")
        data = self.layer.outbox.peek()
        size = int(max(0, min(self._room(), len(data))))
        self.inject(bytes(data[:size]))
        return size

    def _end_stream(self) -> None:
        self.end()

    def _abandon(self) -> None:
        self._gone = True
        self.end()
        if self.incoming:  # as TCP does if one end leaves with bytes unread
            self.peer.reset()

    def _watch(self, reading: bool, blocked: bool) -> None:
        self._blocked = blocked

    def _pump_later(self) -> None:
        """Nothing to do: `step` checks `pump_scheduled`."""

    def _tick_at(self, due: float) -> None:
        """Nothing to do: `step` and `MemoryPipe.advance` check the deadlines."""


class MemoryPipe:
    """Two ends of a stream in memory, with a layer at each.

    Args:
        client: makes the layer at one end, for the transport there.
        server: the same for the other.
        clock: the one that both use; a new one if None.
    """

    def __init__(self, client: Builder, server: Builder, clock: Clock | None = None) -> None:
        self.clock: Clock = clock or Clock()
        self.client: MemoryTransport = MemoryTransport(self.clock)
        self.server: MemoryTransport = MemoryTransport(self.clock)
        self.client.peer, self.server.peer = self.server, self.client
        self.client.layer = client(self.client)
        self.server.layer = server(self.server)

    def run(self) -> None:
        """Let everything happen that happens now.

        Raises:
            RuntimeError: it never ends, because both sides answer every answer.
        """
        for _ in range(_MAX_STEPS):
            if not self.client.step() | self.server.step():
                return
        raise RuntimeError("the two ends never fall silent")

    def advance(self, seconds: float) -> None:
        """Let time pass: each deadline is handled when it is due, and everything that follows."""
        self.run()
        until = self.clock.now + seconds
        while (due := self._due()) <= until:
            self.clock.now = due
            self.run()
        self.clock.now = until

    def cut(self) -> None:
        """Pull the cable: nothing arrives any more at either end, and neither is told."""
        self.client.cut = self.server.cut = True

    def reset(self) -> None:
        """Lose the stream at both ends."""
        self.client.reset()
        self.server.reset()

    def _due(self) -> float:
        return min(self.client.layer.deadlines.next, self.server.layer.deadlines.next)
