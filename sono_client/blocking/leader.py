"""Leader and followers: one thread does the work for all, and the others wait."""

import threading

from sono_io import MAX_WAIT


class Leader:
    """Elects one thread at a time to work for all; the others wait for it.

    A lock of the owner guards the shared state: call `enter_or_take` with that lock held, and
    `wait` without. `leave` needs no lock, so that an interrupted thread can always leave.
    """

    __slots__ = ("_holder", "_waiters")

    def __init__(self) -> None:
        self._holder: int | None = None
        self._waiters: list[threading.Lock] = []

    @property
    def mine(self) -> bool:
        """Whether this thread is the leader."""
        return self._holder == threading.get_ident()

    @property
    def taken(self) -> bool:
        """Whether another thread is the leader."""
        holder = self._holder
        return holder is not None and holder != threading.get_ident()

    def leave(self) -> None:
        """Stop leading, and wake the followers so that one of them takes over."""
        if self._holder == threading.get_ident():
            self._holder = None
            self.notify()

    def notify(self) -> None:
        """Wake the followers so that they check again."""
        waiters = self._waiters
        while waiters:
            try:
                waiters.pop().release()
            except IndexError:  # another thread was quicker
                return

    def enter_or_take(self) -> "threading.Lock | None":
        """Become the leader if there is none, otherwise a follower: `notify` ends its `wait`."""
        if not self.taken:
            self._holder = threading.get_ident()
            return None
        waiter = threading.Lock()
        waiter.acquire()
        self._waiters.append(waiter)
        return waiter

    def wait(self, waiter: threading.Lock, timeout: float) -> None:
        """Wait for at most `timeout` seconds while another thread leads."""
        try:
            if self.taken:  # otherwise the leader left before this thread had entered
                waiter.acquire(timeout=max(0.0, min(timeout, MAX_WAIT)))
        finally:
            if waiter in self._waiters:
                try:
                    self._waiters.remove(waiter)
                except ValueError:  # notified in the meantime
                    pass
