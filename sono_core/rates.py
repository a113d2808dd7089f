"""How often something may happen: a token bucket, with time as a number."""

BURST = 2.0
"""Seconds' worth that may come at once."""


class TokenBucket:
    """Limits a rate. Whoever exceeds it has to wait until what is owed is paid.

    Args:
        rate: of whatever is counted, a second; twice as much may come at once.
        now: seconds of a clock that never steps.
    """

    __slots__ = ("_at", "_left", "_rate")

    def __init__(self, rate: float, now: float) -> None:
        self._rate = rate
        self._left = BURST * rate
        self._at = now

    def take(self, amount: float, now: float) -> float:
        """Count an amount.

        Returns:
            Seconds for which no more should be taken; most often 0.
        """
        rate = self._rate
        self._left = left = min(self._left + (now - self._at) * rate, BURST * rate) - amount
        self._at = now
        return -left / rate if left < 0 else 0.0
