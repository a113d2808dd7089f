"""What handlers are derived from, so that they need only what they are for."""

from sono_core.events import Accept, Close, Reject, Request


class BaseHandler:
    """A `Handler` that does nothing. Who derives from it supplies `on_error` at least."""

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
        """See `Handler`; an error that nobody hears of is not found."""
        raise NotImplementedError
