"""A server's memory for its peers: who holds how much, and who is closed when it is too much.

The bounds of a connection multiply with the number of connections, so one more is needed for all
of them together. `MemoryBudget` is told in steps, by each session when its turn ends.
"""

from collections.abc import Callable
from typing import Protocol

from sono_core.limits import KIB

FREE = 4096
"""Bytes that each connection may hold without being counted: nothing is told for them."""
_UPLOAD = 64 * KIB  # bytes held above which a peer sends slowly while memory is tight
_LOW = (
    3 / 4
)  # of the limit: what remains after connections were closed, and where uploads slow down
_STEP = 1 / 16  # of the limit: what must be added at least between two measurements


class Holder(Protocol):
    """Whose memory is counted: a session."""

    def measure(self, seen: set[int]) -> int:
        """Bytes held. Large objects count unless they are in `seen`, which they enter."""

    def evict(self) -> None:
        """End the connection, in its next tick."""


class MemoryBudget:
    """What is held for all peers of a server: their partial messages and heads, and their queues.

    Beyond the limit, those that hold most are closed until three quarters are left. A peer that
    holds at most 4 KiB, because it sends whole messages and reads its answers, is never closed.

    A frame for many peers lies in many queues and in memory once. It is counted in each at first;
    only when the sum exceeds the limit are the queues looked through, at most once for each
    sixteenth of the limit that is added.

    Args:
        limit: bytes.
    """

    __slots__ = ("_beside", "_charges", "_grown", "_next", "_reserved", "_sum", "evicted", "limit")

    def __init__(self, limit: int) -> None:
        self.limit: int = limit
        """Bytes."""
        self.evicted: int = 0
        """Connections that were closed for memory so far."""
        self._charges: dict[Holder, int] = {}  # only those above FREE
        self._sum = 0  # of them
        self._grown = 0  # the last measurement, and what was added since
        self._reserved = 0
        self._beside: list[Callable[[], int]] = []
        self._next: float = limit  # of those two, when to measure again

    @property
    def held(self) -> int:
        """Bytes; never less than what is held, but for what is free."""
        return min(self._sum, self._grown) + self._fixed

    @property
    def tight(self) -> bool:
        """Whether more than three quarters are held: large messages should come slowly."""
        return self.held > _LOW * self.limit

    @property
    def full(self) -> bool:
        """Whether the limit is exceeded: no more connections should come."""
        return self.held > self.limit

    @property
    def _fixed(self) -> int:
        """What no connection can give back by sending and reading."""
        if not self._beside:
            return self._reserved
        return self._reserved + sum(held() for held in self._beside)

    def count(self, held: Callable[[], int]) -> None:
        """Count what is held for all peers together, such as histories; it is asked when needed.

        Whoever holds that keeps it within a part of the limit.
        """
        self._beside.append(held)

    def reserve(self, size: int) -> None:
        """Count what a connection always holds, such as TLS's state; negative at its end."""
        self._reserved += size

    def charge(self, holder: Holder, amount: int) -> None:
        """Say how much a holder holds now; 0 for at most `FREE`."""
        added = amount - self._charges.pop(holder, 0)
        if amount:
            self._charges[holder] = amount
        self._sum += added
        if added > 0:
            self._grown += added
            if self.held > self.limit and self._grown + self._fixed > self._next:
                self._relieve()
        elif not self._sum:
            self._grown = 0
            self._next = self.limit

    def _relieve(self) -> None:
        """Measure what is held, and close those that hold most if it is too much."""
        seen: set[int] = set()
        ranked = sorted(self._charges, key=self._charges.__getitem__, reverse=True)
        measured = [(holder, holder.measure(seen)) for holder in ranked]
        held = sum(size for _, size in measured)
        fixed = self._fixed
        if held + fixed > (1 - _STEP) * self.limit:
            for holder, size in measured:
                if held + fixed <= _LOW * self.limit:
                    break
                held -= size
                self._sum -= self._charges.pop(holder)
                self.evicted += 1
                holder.evict()
        self._grown = held
        self._next = max(self.limit, held + fixed + _STEP * self.limit)


class Account:
    """What one connection holds of a server's budget, as far as the budget was told.

    Args:
        budget: the server's.
    """

    __slots__ = ("_budget", "_reserved", "charged")

    def __init__(self, budget: MemoryBudget) -> None:
        self._budget = budget
        self._reserved = 0
        self.charged: int = 0
        """Bytes; 0 for at most `FREE`."""

    def charge(self, holder: Holder, held: int) -> bool:
        """Tell the budget how much is held now.

        Returns:
            Whether the peer should send slowly: what it sends grows while memory is tight.
        """
        if held <= FREE:
            held = 0
        before, self.charged = self.charged, held
        if held != before:
            self._budget.charge(holder, held)
        return held > max(before, _UPLOAD) and self._budget.tight

    def reserve(self, size: int) -> None:
        """Count memory that is held until `close`."""
        self._reserved += size
        self._budget.reserve(size)

    def close(self, holder: Holder) -> None:
        """Give everything back; the connection is over."""
        self._budget.charge(holder, 0)
        self._budget.reserve(-self._reserved)
        self._reserved = self.charged = 0
