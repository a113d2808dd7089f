"""How much one client may send and cause: rates, with time as a number, and shares of a turn."""

from sono_core.limits import KIB, Limits
from sono_core.rates import BURST, TokenBucket

_DELIVERY = 64  # bytes that a delivery counts beside what is delivered: a small one costs as much
_FEW, _LITTLE = 64, 64 * KIB  # deliveries, and bytes of them, that are little in any turn


class RateLimiter:
    """Limits how fast one client may send. A client that sends more has to wait.

    Args:
        limits: `packet_rate`, `byte_rate` and `delivery_rate` count; twice of each may come at
            once.
        now: seconds of a clock that never steps.
    """

    __slots__ = (
        "_at",
        "_byte_rate",
        "_bytes",
        "_delivered",
        "_packet_rate",
        "_packets",
    )

    def __init__(self, limits: Limits, now: float) -> None:
        self._packet_rate, self._byte_rate = limits.packet_rate, limits.byte_rate
        self._packets = BURST * self._packet_rate
        self._bytes = BURST * self._byte_rate
        self._at = now
        self._delivered = TokenBucket(limits.delivery_rate, now)

    def take(self, size: int, now: float) -> float:
        """Count a packet of that size, in bytes.

        Returns:
            Seconds for which no more should be taken; most often 0.
        """
        passed, self._at = now - self._at, now
        packet_rate, byte_rate = self._packet_rate, self._byte_rate
        packets = min(self._packets + passed * packet_rate, BURST * packet_rate) - 1
        octets = min(self._bytes + passed * byte_rate, BURST * byte_rate) - size
        self._packets, self._bytes = packets, octets
        if packets >= 0 and octets >= 0:
            return 0.0
        return max(-packets / packet_rate, -octets / byte_rate)

    def deliver(self, deliveries: int, size: int, now: float) -> float:
        """Count what a packet has delivered to others: `size` bytes to each.

        Returns:
            Seconds for which no more should be taken; most often 0.
        """
        return self._delivered.take(deliveries * (size + _DELIVERY), now)

    def owed(self, now: float) -> float:
        """Seconds for which no more should be taken, by all that was counted."""
        self._packets += 1  # `take` counts one
        return max(self.take(0, now), self._delivered.take(0, now))


class SharedTurn:
    """What the packets of all clients may cause in one turn of their loop.

    Args:
        limits: `max_turn_deliveries` and `max_turn_delivered`.
    """

    __slots__ = ("_deliveries", "_given", "_limits", "_size", "_untouched", "spent")

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        most, size = limits.max_turn_deliveries, limits.max_turn_delivered
        self._untouched = most - min(_FEW, most), size - min(_LITTLE, size)
        self.spent: bool = False
        """Whether what is left is only for those who ask for little."""
        self._given: dict[str, tuple[int, int]] = {}  # to them, since
        self.renew()

    def renew(self) -> None:
        """A turn begins."""
        self.spent = False
        self._deliveries = self._limits.max_turn_deliveries
        self._size = self._limits.max_turn_delivered
        self._given.clear()

    def take(self, deliveries: int, size: int) -> bool:
        """Count deliveries of that many bytes each.

        Returns:
            Whether they add up to more than a few, so that the turn should be renewed when the
            loop's next begins.
        """
        self._deliveries -= deliveries
        self._size -= deliveries * size
        if self._deliveries < 0 or self._size < 0:
            self.spent = True
        deliveries_left, size_left = self._untouched
        return self._deliveries < deliveries_left or self._size < size_left

    def share(self, clients: int) -> int:
        """Deliveries that each of so many clients may cause although the turn is spent."""
        return max(1, self._limits.max_turn_deliveries // clients)

    def grant(self, client: str, deliveries: int, size: int, clients: int) -> bool:
        """Whether a client asks for little: then it is served although the turn is spent.

        Args:
            deliveries: that its packet would cause, of `size` bytes each.
            clients: that share the loop.
        """
        limits = self._limits
        before, bytes_before = self._given.get(client, (0, 0))
        deliveries += before
        size = bytes_before + (deliveries - before) * size
        if deliveries > self.share(clients):
            return False
        if size > max(_LITTLE, limits.max_turn_delivered // clients):
            return False
        self._given[client] = deliveries, size
        return True
