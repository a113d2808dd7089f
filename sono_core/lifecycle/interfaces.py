"""The interfaces between transports, layers and handlers."""

from typing import Protocol

from sono_core.events import Accept, Close, Reject, Request
from sono_core.websocket import Outbox, Reader

from .deadlines import Deadlines


class Transport(Protocol):
    """The I/O of one connection. No method may block, or raise for the peer's fault.

    In return a transport calls its layer (see `Layer`): `receive` with what it read (`b""` at
    the end of the stream) while `layer.reading`; `written` and `blocked` as it empties
    `layer.outbox`; `lost` when an I/O call failed; `tick` when `layer.deadlines.next` is
    reached; `pump` in a later turn when `layer.pump_due`.
    """

    def write_soon(self) -> None:
        """Bytes wait in the outbox: write them before this turn of the loop ends."""

    def write_now(self) -> None:
        """Many bytes wait: write at once what can be written without blocking."""

    def close(self) -> None:
        """Write the outbox, then end this side of the stream; go on reading until its end."""

    def abort(self) -> None:
        """End the stream in both directions at once. This is always the last call."""


class Layer(Protocol):
    """What a transport drives: a `Session`, or a layer around one, such as TLS.

    To its transport a layer around a session is what the session is; to the session it is the
    transport. See `Session` for what the methods mean.
    """

    transport: Transport
    """The transport below."""

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

    def fast_path(self) -> Reader | None:
        """The reader that the transport may feed directly in the ordinary case, else None.

        A layer that returns one also has `handler`, `last_received` and `failed`, as a `Session`
        does: the transport uses them instead of `receive`. A layer that changes bytes returns
        None.
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

    def go_away(self, code: int, reason: str, now: float) -> None:
        """Server: end politely, in whatever state, because the server is stopping."""


class Handler(Protocol):
    """Receives a session's events. Exceptions go to `on_error` and close the connection."""

    def on_request(self, request: Request) -> None:
        """Server: a well-formed request, to be answered by `accept` or `respond`."""

    def on_response(self, response: Accept | Reject) -> None:
        """Client: the server's answer. After an `Accept` the connection is open."""

    def on_message(self, message: str | bytes, /) -> object:
        """A whole message."""

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
