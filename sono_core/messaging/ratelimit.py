"""How much one peer may send: token buckets, with time as a number, and a share of the work."""

from sono_core.limits import Limits

_BURST = 2.0  # seconds' worth that may come at once


class RateLimiter:
    """Limits how fast one client may send. A client that sends more has to wait.

    Args:
        limits: `packet_rate` and `byte_rate` count; twice of each may come at once. And
            `max_turn_deliveries`.
        now: seconds of a clock that never steps.
    """

    __slots__ = (
        "_at",
        "_byte_rate",
        "_bytes",
        "_deliveries",
        "_max_deliveries",
        "_packet_rate",
        "_packets",
    )

    def __init__(self, limits: Limits, now: float) -> None:
        self._packet_rate, self._byte_rate = limits.packet_rate, limits.byte_rate
        self._packets = _BURST * self._packet_rate
        self._bytes = _BURST * self._byte_rate
        self._at = now
        self._max_deliveries = limits.max_turn_deliveries
        self._deliveries = 0

    def take(self, size: int, now: float) -> float:
        """Count a packet of that size, in bytes.

        Returns:
            Seconds for which no more should be taken; most often 0.
        """
        passed, self._at = now - self._at, now
        packet_rate, byte_rate = self._packet_rate, self._byte_rate
        packets = min(self._packets + passed * packet_rate, _BURST * packet_rate) - 1
        octets = min(self._bytes + passed * byte_rate, _BURST * byte_rate) - size
        self._packets, self._bytes = packets, octets
        if packets >= 0 and octets >= 0:
            return 0.0
        return max(-packets / packet_rate, -octets / byte_rate)

    def cause(self, deliveries: int) -> bool:
        """Count the deliveries to others that a packet caused.

        Returns:
            Whether so many have added up, since this was last true, that others should have a turn.
        """
        self._deliveries += deliveries
        if self._deliveries <= self._max_deliveries:
            return False
        self._deliveries = 0
        return True
