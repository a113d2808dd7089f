"""A layer that passes every call on: the base of layers that change some of them, such as TLS."""

from typing import cast

from sono_core.websocket import Outbox, Reader

from .deadlines import Deadlines
from .interfaces import Engine, Handler, Layer, Transport
from .session import Session


class ForwardingLayer:
    """Stands between a transport and an inner layer, and changes nothing.

    To its transport it is what the inner layer is; to the inner layer it is the transport.
    Subclasses override what they change, and supply `transport`.

    Args:
        inner: a `Session`, or a layer around one.
    """

    __slots__ = ("_inner",)

    transport: Transport
    """The transport below."""

    def __init__(self, inner: Layer) -> None:
        self._inner = inner

    @property
    def answers_together(self) -> bool:
        """See `Layer`."""
        return self._inner.answers_together

    @property
    def engine(self) -> Engine | None:
        """See `Layer`."""
        return self._inner.engine

    @property
    def outbox(self) -> Outbox:
        """See `Layer`."""
        return self._inner.outbox

    @property
    def deadlines(self) -> Deadlines:
        """See `Layer`: always the inner layer's own, the same object."""
        return self._inner.deadlines

    @property
    def over(self) -> bool:
        """See `Layer`."""
        return self._inner.over

    @property
    def reading(self) -> bool:
        """See `Layer`."""
        return self._inner.reading

    @property
    def pump_due(self) -> bool:
        """See `Layer`."""
        return self._inner.pump_due

    @property
    def sated(self) -> bool:
        """See `Layer`."""
        return self._inner.sated

    def fast_path(self) -> Reader | None:
        """See `Layer`."""
        return self._inner.fast_path()

    def receive(self, data: bytes, now: float) -> None:
        """See `Layer`."""
        self._inner.receive(data, now)

    def pump(self, now: float, messages: int = 0, size: int = 0) -> None:
        """See `Layer`."""
        self._inner.pump(now, messages, size)

    def written(self, size: int, now: float) -> None:
        """See `Layer`."""
        self._inner.written(size, now)

    def blocked(self, now: float) -> None:
        """See `Layer`."""
        self._inner.blocked(now)

    def lost(self, rest: bytes = b"", reason: str = "") -> None:
        """See `Layer`."""
        self._inner.lost(rest, reason)

    def tick(self, now: float) -> None:
        """See `Layer`."""
        self._inner.tick(now)

    def out_of_memory(self, error: MemoryError) -> None:
        """See `Layer`."""
        self._inner.out_of_memory(error)

    def go_away(self, code: int, reason: str, now: float) -> None:
        """See `Layer`."""
        self._inner.go_away(code, reason, now)

    # A transport uses these with a reader, which only a session gives; see `Session.fast_path`.

    @property
    def handler(self) -> Handler:
        """See `Session`."""
        return cast(Session, self._inner).handler

    @property
    def last_received(self) -> float:
        """See `Session`."""
        return cast(Session, self._inner).last_received

    @last_received.setter
    def last_received(self, now: float) -> None:
        cast(Session, self._inner).last_received = now

    def charge(self, number: int, now: float) -> None:
        """See `Session`."""
        cast(Session, self._inner).charge(number, now)

    def settle(self) -> bool:
        """See `Session`."""
        return cast(Session, self._inner).settle()

    def failed(self, error: Exception, now: float) -> None:
        """See `Session`."""
        cast(Session, self._inner).failed(error, now)

    def enforce_queue_limit(self, waiting: int) -> bool:
        """See `Session`."""
        return cast(Session, self._inner).enforce_queue_limit(waiting)
