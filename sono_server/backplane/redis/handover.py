"""What threads have to say to the loop: in order, with one call of the loop for all that waits."""

import threading
from collections.abc import Callable, Iterable

Call = Callable[[], object]


class Handover:
    """Hands calls from other threads over to the loop.

    Args:
        call_soon: has a function called in the loop's thread. It may refuse, if the loop has too
            much to do already or has ended: then the calls wait, and `retry` tries again.
    """

    def __init__(self, call_soon: Callable[[Call], object]) -> None:
        self.held: int = 0
        """Bytes that wait, as far as `put` was told of them."""
        self._call_soon = call_soon
        self._lock = threading.Lock()
        self._calls: list[Call] = []
        self._posted = False

    def put(self, calls: Iterable[Call], size: int = 0) -> None:
        """Have calls made, behind those that were put before.

        Args:
            size: bytes that they hold.
        """
        with self._lock:
            self._calls.extend(calls)
            self.held += size
            if self._posted or not self._calls:
                return
            self._posted = True
        self._post()

    @property
    def stuck(self) -> bool:
        """Whether calls wait of which the loop does not know."""
        return bool(self._calls) and not self._posted

    def retry(self) -> None:
        """Tell the loop, if it would not hear of it before."""
        with self._lock:
            if self._posted or not self._calls:
                return
            self._posted = True
        self._post()

    def _post(self) -> None:
        try:
            taken = self._call_soon(self.drain)
        except BufferError:
            taken = False
        if taken is False:
            self._posted = False

    def drain(self) -> None:
        """In the loop: make all calls that wait.

        Raises:
            Exception: what the first one raised that failed; the others are made all the same.
        """
        with self._lock:
            calls, self._calls = self._calls, []
            self.held = 0
            self._posted = False
        failure: Exception | None = None
        for call in calls:
            try:
                call()
            except Exception as error:
                failure = failure or error
        if failure is not None:
            raise failure
