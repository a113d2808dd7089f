"""What a `Session` asks of the I/O that carries it, and what it offers in return."""

from typing import Protocol

from .events import Accept, Close, Reject, Request


class Transport(Protocol):
    """The I/O of one connection. No method may block, or raise for the peer's fault.

    In return a transport calls the session: `receive` with what it read (`b""` at the end of
    the stream) while `session.reading`; `written` and `blocked` as it empties
    `session.outbox`; `lost` when an I/O call failed; `tick` when `session.deadlines.next` is
    reached; `pump` in a later turn when `session.pump_due`.
    """

    def write_soon(self) -> None:
        """Bytes wait in the outbox: write them before this turn of the loop ends."""

    def write_now(self) -> None:
        """Many bytes wait: write at once what can be written without blocking."""

    def close(self) -> None:
        """Write the outbox, then end this side of the stream; go on reading until its end."""

    def abort(self) -> None:
        """End the stream in both directions at once. The last call, and always made."""


class Handler(Protocol):
    """Who is told what happens on a connection. Exceptions go to `on_error` and close it."""

    def on_request(self, request: Request) -> None:
        """Server: a well-formed request, to be answered by `accept` or `respond`."""

    def on_response(self, response: Accept | Reject) -> None:
        """Client: the server's answer. After an `Accept` the connection is open."""

    def on_message(self, message: str | bytes, /) -> object:
        """A whole message."""

    def on_pong(self, payload: bytes) -> None:
        """A pong, asked for or not."""

    def on_close(self, close: Close) -> None:
        """The end of a connection that was open; exactly once, and nothing comes after it."""

    def on_error(self, error: Exception) -> None:
        """A method of this handler raised. The connection is closed with 1011 if it is open."""
