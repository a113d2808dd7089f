"""Requests of clients that wait for the application. docs/protocol.md, section 7: `timeout`."""

from heapq import heapify, heappop, heappush

_SPARE = 64  # times that are kept although nobody waits for them any more


class Pending:
    """Which requests of which client wait, and until when.

    Args:
        most: how many of one client may.
    """

    __slots__ = ("_due", "_most", "_waiting")

    def __init__(self, most: int) -> None:
        self._most = most
        self._waiting: dict[str, dict[int, float]] = {}  # deadlines, by client and number
        self._due: list[tuple[float, str, int]] = []  # a heap; some are answered already

    def begin(self, client: str, number: int, deadline: float) -> bool:
        """A request waits from now on; False if as many wait as may."""
        mine = self._waiting.setdefault(client, {})
        if len(mine) >= self._most:
            return False
        mine[number] = deadline
        heappush(self._due, (deadline, client, number))
        if len(self._due) > 2 * self._most * len(self._waiting) + _SPARE:
            self._due = [due for due in self._due if self._waits(*due)]
            heapify(self._due)
        return True

    def end(self, client: str, number: int) -> bool:
        """It is answered; False if it waits no more."""
        mine = self._waiting.get(client, {})
        if mine.pop(number, None) is None:
            return False
        if not mine:
            del self._waiting[client]
        return True

    def forget(self, client: str) -> None:
        """Nothing of that client's waits any more."""
        self._waiting.pop(client, None)

    @property
    def deadline(self) -> float | None:
        """When `expire` may have something to do; None if nothing waits."""
        return self._due[0][0] if self._due else None

    def expire(self, now: float) -> list[tuple[str, int]]:
        """End those whose time is over, and say which they are."""
        over = []
        while self._due and self._due[0][0] <= now:
            due = heappop(self._due)
            if self._waits(*due):
                _, client, number = due
                self.end(client, number)
                over.append((client, number))
        return over

    def _waits(self, deadline: float, client: str, number: int) -> bool:
        return self._waiting.get(client, {}).get(number) == deadline
