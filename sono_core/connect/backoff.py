"""Whether and when a client connects again after its connection failed or ended.

Exponential back-off with full jitter: clients that were cut off together come back apart.
"""

import math
from collections.abc import Callable

from sono_core.close_codes import CloseCode
from sono_core.errors import ConnectError
from sono_core.events import Close

_MAX_RETRY_AFTER = 300.0  # seconds that a server may ask a client to stay away

# Closes after which another connection may do better. Any other was intended, or would come
# again.
_RETRIED_CLOSES = frozenset(
    (
        CloseCode.GOING_AWAY,
        CloseCode.ABNORMAL_CLOSURE,
        CloseCode.INTERNAL_ERROR,
        CloseCode.SERVICE_RESTART,
        CloseCode.TRY_AGAIN_LATER,
        CloseCode.BAD_GATEWAY,
    )
)
_RETRIED_STATUSES = frozenset((408, 429))  # besides 5xx: too slow, too many


def retryable(end: ConnectError | Close) -> bool:
    """Whether another attempt makes sense after this failure or this end of a connection.

    Yes where no connection or no response came, for 408, 429 and 5xx, for a connection that was
    lost or stalled, and for 1001 and 1011 to 1014. No for other refusals, for all other closes,
    and for a certificate that is not trusted, because it may mean an attack.
    """
    if isinstance(end, Close):
        stalled = end.code == CloseCode.SLOW_READER and not end.clean  # this side gave up
        return end.code in _RETRIED_CLOSES or stalled
    if end.status is None:
        return not end.untrusted
    return end.status in _RETRIED_STATUSES or end.status >= 500


class Backoff:
    """How long to wait before each of several attempts.

    The delay before attempt n, counted from 0, is spread evenly from 0 to `base * 2**n` seconds,
    and is at most `cap`.

    Args:
        random: returns a number from 0 up to, but not including, 1, as `random.random` does.
        base: seconds.
        cap: seconds.

    Raises:
        ValueError: not 0 < base <= cap, or cap is infinite.
    """

    __slots__ = ("_base", "_ceiling", "_random", "cap")

    def __init__(
        self, *, random: Callable[[], float], base: float = 0.5, cap: float = 30.0
    ) -> None:
        if not 0 < base <= cap < math.inf:
            raise ValueError("a back-off needs 0 < base <= cap, and a finite cap")
        self._random = random
        self._base = self._ceiling = base
        self.cap: float = cap
        """Seconds that no delay exceeds."""

    def next(self) -> float:
        """Seconds to wait before the next attempt."""
        delay = self._random() * self._ceiling
        self._ceiling = min(self.cap, 2 * self._ceiling)
        return delay

    def reset(self) -> None:
        """Start again as before the first attempt."""
        self._ceiling = self._base


class Reconnection:
    """Whether and when to connect again: back-off over the life of a client.

    The back-off begins anew after a connection that stayed open for `cap` seconds. Opening is not
    enough: clients would ask a server that accepts connections and fails at once without a pause.

    Args:
        backoff: the client's own.
        retry: decides which failures and ends are worth another attempt.
    """

    __slots__ = ("_backoff", "_opened_at", "_retry")

    def __init__(
        self, backoff: Backoff, retry: Callable[[ConnectError | Close], bool] = retryable
    ) -> None:
        self._backoff = backoff
        self._retry = retry
        self._opened_at: float | None = None

    def opened(self, now: float) -> None:
        """A connection was opened; `now` is in seconds of a clock that never steps."""
        self._opened_at = now

    def after(self, end: ConnectError | Close, now: float) -> float | None:
        """Seconds to wait after a failed attempt or the end of a connection; None to give up.

        The time that a server asks for in Retry-After, up to five minutes, is added to the
        back-off's own, so that its clients do not return together.
        """
        opened_at, self._opened_at = self._opened_at, None
        if not self._retry(end):
            return None
        if opened_at is not None and now - opened_at >= self._backoff.cap:
            self._backoff.reset()
        asked = (isinstance(end, ConnectError) and end.retry_after) or 0.0
        return min(asked, _MAX_RETRY_AFTER) + self._backoff.next()
