"""The interfaces between transports, layers and handlers."""

from collections.abc import Callable
from typing import NamedTuple, Protocol

from sono_core.events import Accept, Close, Reject, Request
from sono_core.websocket import Outbox, Reader

from .deadlines import Deadlines


class Transport(Protocol):
    """The I/O of one connection. No method may block, or raise for the peer's fault.

    In return a transport calls its layer (see `Layer`): `receive` with what it read (`b""` at
    the end of the stream) while `layer.reading`; `written` and `blocked` as it empties
    `layer.outbox`; `lost` when an I/O call failed; `tick` when `layer.deadlines.next` is
    reached; `pump` in a later turn when `layer.pump_due`.

    A transport that holds copies of what it cannot write has their bytes in an attribute
    `buffered`; they count as memory held for the peer.
    """

    def write_soon(self) -> None:
        """Bytes wait in the outbox: write them before this turn of the loop ends."""

    def write_now(self) -> None:
        """Many bytes wait: write at once what can be written without blocking."""

    def close(self) -> None:
        """Write the outbox, then end this side of the stream; go on reading until its end."""

    def abort(self) -> None:
        """End the stream in both directions at once. This is always the last call."""


class Turn(Protocol):
    """The time of one turn of a loop, which all of its connections share."""

    spent: bool
    """Whether it is over: then each connection gets only a little more."""

    def look(self) -> bool:
        """Look at the clock, and set `spent` to what is returned."""


class _Endless:
    """The turn of a session whose loop serves nobody else, or measures no time."""

    spent = False

    def look(self) -> bool:
        return False


ENDLESS: Turn = _Endless()


class Engine(NamedTuple):
    """The methods with which a layer encrypts, so that C can call them for every message.

    A transport uses them only while `Layer.fast_path` gives a reader. What is not ordinary it
    leaves to the coder's `halted` and `half_written`; the coder's `left` and `begun` say how far a
    record was taken. See `sono_core.tls.SecureSession`.
    """

    coder: "Layer"
    """The layer that encrypts; others may be around it that change nothing."""
    inner: "Layer"
    """The layer within, a `Session` to the transport; its outbox is to be encrypted."""
    take: Callable[[memoryview], int]
    """Takes bytes from the peer."""
    read: Callable[[int, memoryview], object]
    """Decrypts at most so many bytes into a buffer; returns their number, 0 at the peer's end."""
    write: Callable[[memoryview], int]
    """Encrypts; returns the number of bytes."""
    pending: Callable[[], int]
    """Bytes that are decrypted and not read."""
    give: Callable[[], bytes]
    """All that is to be written."""


class Layer(Protocol):
    """What a transport drives: a `Session`, or a layer around one, such as TLS.

    To its transport a layer around a session is what the session is; to the session it is the
    transport. See `Session` for what the methods mean.
    """

    transport: Transport
    """The transport below."""

    @property
    def answers_together(self) -> bool:
        """Whether answers of a turn should leave at its end, one connection's behind another's.

        Where an answer takes long to make, its peer would sleep before each one that leaves alone,
        and waking it takes the kernel longer than sending.
        """

    @property
    def engine(self) -> Engine | None:
        """What encrypts, if anything does; the same until the session is over."""

    @property
    def outbox(self) -> Outbox:
        """What the transport is to write."""

    @property
    def deadlines(self) -> Deadlines:
        """When `tick` is due."""

    @property
    def over(self) -> bool:
        """Whether the transport is gone."""

    @property
    def reading(self) -> bool:
        """Whether the transport should read now."""

    @property
    def pump_due(self) -> bool:
        """Whether the transport should call `pump` in a later turn."""

    @property
    def sated(self) -> bool:
        """Whether so much of the peer was handled since nothing waited that others go first."""

    def fast_path(self) -> Reader | None:
        """The reader that the transport may feed directly in the ordinary case, else None.

        A layer that returns one also has `handler`, `last_received`, `failed` and `settle`, as a
        `Session` does: the transport uses them instead of `receive`. A layer that changes bytes
        returns None, or has an `engine`.
        """

    def receive(self, data: bytes, now: float) -> None:
        """Take what was read; `b""` is the end of the stream."""

    def pump(self, now: float, messages: int = 0, size: int = 0) -> None:
        """Continue with what was received."""

    def written(self, size: int, now: float) -> None:
        """`size` bytes of the outbox, from its front, were written."""

    def blocked(self, now: float) -> None:
        """Nothing could be written although the outbox is not empty."""

    def lost(self, rest: bytes = b"", reason: str = "") -> None:
        """An I/O call failed: the stream is gone in both directions."""

    def tick(self, now: float) -> None:
        """Do what is due by `now`."""

    def out_of_memory(self, error: MemoryError) -> None:
        """Something failed for lack of memory: end this connection at once, and no other."""

    def go_away(self, code: int, reason: str, now: float) -> None:
        """Server: end politely, in whatever state, because the server is stopping."""


class Handler(Protocol):
    """Receives a session's events. Exceptions go to `on_error` and close the connection."""

    def on_request(self, request: Request) -> None:
        """Server: a well-formed request, to be answered by `accept` or `respond`."""

    def on_response(self, response: Accept | Reject) -> None:
        """Client: the server's answer. After an `Accept` the connection is open."""

    def on_message(self, message: str | bytes, /) -> object:
        """A whole message; while the session holds, only what came before the connection ended."""

    def on_pong(self, payload: bytes) -> None:
        """A pong, asked for or not."""

    def on_close(self, close: Close) -> None:
        """The end of a connection that was open; called exactly once, and last."""

    def on_error(self, error: Exception) -> None:
        """A method of this handler raised. The connection is closed with 1011 if it is open."""


class BaseHandler:
    """A `Handler` that does nothing, as a base; subclasses implement at least `on_error`."""

    __slots__ = ()

    def on_request(self, request: Request) -> None:
        """See `Handler`; a request that nobody answers gets 503 at its deadline."""

    def on_response(self, response: Accept | Reject) -> None:
        """See `Handler`."""

    def on_message(self, message: str | bytes, /) -> object:
        """See `Handler`."""

    def on_pong(self, payload: bytes) -> None:
        """See `Handler`."""

    def on_close(self, close: Close) -> None:
        """See `Handler`."""

    def on_error(self, error: Exception) -> None:
        """See `Handler`; left to subclasses, so that no error goes unnoticed."""
        raise NotImplementedError


class _Gone(BaseHandler):
    """The transport and the handler of a session that is over: it does nothing."""

    __slots__ = ()

    def on_error(self, error: Exception) -> None:
        """See `Handler`."""

    def write_soon(self) -> None:
        """See `Transport`."""

    def write_now(self) -> None:
        """See `Transport`."""

    def close(self) -> None:
        """See `Transport`."""

    def abort(self) -> None:
        """See `Transport`."""


GONE = _Gone()
"""Replaces the transport and the handler of a session that is over, which frees them at once."""
