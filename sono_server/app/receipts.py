"""What an operation of the application gives at once, to wait for its result with."""

import contextlib
from collections.abc import Callable, Generator
from concurrent.futures import Future, InvalidStateError
from concurrent.futures import TimeoutError as LateError
from threading import RLock
from typing import Any, Generic, TypeVar

from sono_core.messaging.lossless import Receipt
from sono_server.aio import awaited_future
from sono_server.serving import Loop

T = TypeVar("T")
_settling = RLock()  # of all promises, for a moment of each


class Promise(Generic[T]):
    """The result of something that is done later: `await` it, or ask for `result` in a thread.

    Args:
        loop: of the server; None if nobody waits in its thread.

    A function of yours may return one and `complete` it later, from any thread: so a plain function
    decides later. What follows of its client waits until then.
    """

    __slots__ = ("_error", "_future", "_loop", "_settled", "_value")

    def __init__(self, loop: Loop | None = None) -> None:
        self._loop = loop
        self._settled = False
        self._value: Any = None
        self._error: Exception | None = None
        # Made when somebody waits: most never do, and it takes as long as a message to a few.
        self._future: Future[T] | None = None

    def settle(self, receipt: Receipt[T]) -> None:
        """The operation has succeeded or failed."""
        if receipt.error is not None:
            self.fail(receipt.error)
        else:
            self.complete(receipt.value)

    def complete(self, value: T) -> None:
        """It succeeded. What comes second changes nothing."""
        self._settle(value, None)

    def fail(self, error: Exception) -> None:
        """It failed. What comes second changes nothing."""
        self._settle(None, error)

    def _settle(self, value: Any, error: Exception | None) -> None:
        with _settling:
            if self.done:
                return
            self._value, self._error = value, error
            self._settled = True
            future = self._future
        if future is not None:
            _tell(future, value, error)

    def _waited(self) -> "Future[T]":
        if self._future is not None:
            return self._future
        made: Future[T] = Future()
        with _settling:
            if self._future is None:
                self._future = made
        if self._settled:
            _tell(self._future, self._value, self._error)
        return self._future

    @property
    def done(self) -> bool:
        """Whether it has succeeded or failed."""
        return self._settled or (self._future is not None and self._future.done())

    def result(self, timeout: float | None = None) -> T:
        """Wait for the result, in another thread than the server's.

        Args:
            timeout: seconds; None waits as long as it takes.

        Raises:
            RuntimeError: it is not there, and this is the server's own thread, which would wait for
                itself.
            TimeoutError: the time is over.
            SonoError: the operation failed.
        """
        if not self.done and self._loop is not None and self._loop.in_loop():
            raise RuntimeError("the server's own thread cannot wait for what it has to do itself")
        try:
            return self._waited().result(timeout)
        except LateError:  # until Python 3.10 it is an exception of its own
            if self.done:
                raise
            raise TimeoutError("it is not done in time") from None

    def then(self, function: Callable[["Promise[T]"], object]) -> None:
        """Call the function with this when it is done; at once if it is."""
        self._waited().add_done_callback(lambda _: function(self))

    def __await__(self) -> Generator[Any, None, T]:
        return awaited_future(self._waited())

    def __repr__(self) -> str:
        return f"<Promise {'done' if self.done else 'pending'}>"


def _tell(future: "Future[T]", value: Any, error: Exception | None) -> None:
    with contextlib.suppress(InvalidStateError):  # whoever awaited it has been cancelled
        if error is None:
            future.set_result(value)
        else:
            future.set_exception(error)
