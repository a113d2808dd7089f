"""What one thread does for all: the others wait until it comes back."""

import threading

from sono_io import MAX_WAIT


class Leader:
    """Something that one thread at a time does, and others wait for.

    What they wait for is guarded by a lock of its owner's: `enter_or_take` is called with that
    lock, and `wait` without. `leave` needs none, so that an interrupted thread can always leave.
    """

    __slots__ = ("_holder", "_waiters")

    def __init__(self) -> None:
        self._holder: int | None = None
        self._waiters: list[threading.Lock] = []

    @property
    def mine(self) -> bool:
        """Whether this thread has it."""
        return self._holder == threading.get_ident()

    @property
    def taken(self) -> bool:
        """Whether another thread has it."""
        holder = self._holder
        return holder is not None and holder != threading.get_ident()

    def leave(self) -> None:
        """Have it no longer, and let those who wait look who takes it."""
        if self._holder == threading.get_ident():
            self._holder = None
            self.notify()

    def notify(self) -> None:
        """Let those who wait look again."""
        waiters = self._waiters
        while waiters:
            try:
                waiters.pop().release()
            except IndexError:  # another thread was quicker
                return

    def enter_or_take(self) -> "threading.Lock | None":
        """Take it if no other thread has it; else begin to wait: `notify` ends the `wait`."""
        if not self.taken:
            self._holder = threading.get_ident()
            return None
        waiter = threading.Lock()
        waiter.acquire()
        self._waiters.append(waiter)
        return waiter

    def wait(self, waiter: threading.Lock, timeout: float) -> None:
        """Wait for that, in seconds at most, while another thread has the duty."""
        try:
            if self.taken:  # else it was left before this one had entered, unnoticed
                waiter.acquire(timeout=max(0.0, min(timeout, MAX_WAIT)))
        finally:
            if waiter in self._waiters:
                try:
                    self._waiters.remove(waiter)
                except ValueError:  # notified meanwhile
                    pass
