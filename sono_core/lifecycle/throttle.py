"""When a peer has to wait because it makes too much work beside its messages."""

from sono_core.limits import Limits
from sono_core.rates import TokenBucket

from .deadlines import Deadline, Deadlines


class Throttle:
    """Counts control frames and what counts as one, and says how long nothing is read.

    Args:
        deadlines: of the session; THROTTLE is set here.
        limits: `control_rate` applies.
    """

    __slots__ = ("_bucket", "_deadlines", "_rate")

    def __init__(self, deadlines: Deadlines, limits: Limits) -> None:
        self._deadlines = deadlines
        self._rate = limits.control_rate
        self._bucket: TokenBucket | None = None  # made when the first is charged

    def charge(self, number: int, now: float) -> float:
        """Count that many; return the seconds that the peer has to wait, 0 for none."""
        if self._bucket is None:
            self._bucket = TokenBucket(self._rate, now)
        return self._bucket.take(number, now)

    def wait(self, seconds: float, now: float) -> None:
        """Have nothing read for that long, at least."""
        until = now + seconds
        due = max(until, self._deadlines.get(Deadline.THROTTLE, until))
        self._deadlines.set(Deadline.THROTTLE, due)
