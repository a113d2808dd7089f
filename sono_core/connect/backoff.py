"""Whether and when a client connects again after its connection failed or ended.

Exponential back-off with jitter above a least time: clients that were cut off together come back
apart, and none at once. docs/protocol.md, sections 6 and 8.
"""

import enum
import math
import re
from collections.abc import Callable, Mapping

from sono_core.close_codes import CloseCode
from sono_core.errors import ConnectError
from sono_core.events import Close

_MAX_RETRY_AFTER = 300.0  # seconds that a server may ask a client to stay away
_retry_after = re.compile(r"retry_after=([0-9]{1,9}(?:\.[0-9]{1,9})?)(?![0-9.])").search


class Advice(enum.Enum):
    """What a client does after a close."""

    COME_BACK = "come back"
    COME_BACK_LATER = "come back later"
    """Not before the time that the close's reason gives as `retry_after=SECONDS`."""
    RENEW = "come back once, with a fresh token"
    """Without one, stay away."""
    STAY_AWAY = "stay away"
    """It was intended, or would come again."""


ADVICE: Mapping[int, Advice] = {
    CloseCode.GOING_AWAY: Advice.COME_BACK,
    CloseCode.ABNORMAL_CLOSURE: Advice.COME_BACK,
    CloseCode.INTERNAL_ERROR: Advice.COME_BACK,
    CloseCode.SERVICE_RESTART: Advice.COME_BACK,
    CloseCode.TRY_AGAIN_LATER: Advice.COME_BACK_LATER,
    CloseCode.BAD_GATEWAY: Advice.COME_BACK,
    CloseCode.SLOW_READER: Advice.COME_BACK,
    CloseCode.SLOW_SENDER: Advice.COME_BACK,
    CloseCode.NO_HELLO: Advice.COME_BACK,
    CloseCode.TOKEN_REFUSED: Advice.RENEW,
}
"""By close code; after all others clients stay away."""

_RETRIED_STATUSES = frozenset((408, 429))  # besides 5xx: too slow, too many


def advice(end: ConnectError | Close) -> Advice:
    """What to do after this failure or this end of a connection.

    Come back where no connection or no response came, after 408, 429 and 5xx, and after the
    closes in `ADVICE`. Stay away after other refusals and all other closes, and where a
    certificate is not trusted, because it may mean an attack.
    """
    if isinstance(end, Close):
        return ADVICE.get(end.code, Advice.STAY_AWAY)
    if end.status is None:
        again = not end.untrusted
    else:
        again = end.status in _RETRIED_STATUSES or end.status >= 500
    return Advice.COME_BACK if again else Advice.STAY_AWAY


def retryable(end: ConnectError | Close) -> bool:
    """Whether another attempt makes sense after this failure or end, without a fresh token."""
    return advice(end) in (Advice.COME_BACK, Advice.COME_BACK_LATER)


def retry_after(end: ConnectError | Close) -> float:
    """Seconds for which the server asks the client to stay away: at most five minutes, mostly 0."""
    if isinstance(end, ConnectError):
        asked = end.retry_after or 0.0
    else:
        found = advice(end) is Advice.COME_BACK_LATER and _retry_after(end.reason)
        asked = float(found[1]) if found else 0.0
    return min(asked, _MAX_RETRY_AFTER)


class Backoff:
    """How long to wait before each of several attempts.

    The delay before attempt n, counted from 0, is `base` and a time that is spread evenly from 0
    to `base * 2**n` seconds; it is at most `cap`.

    Args:
        random: returns a number from 0 up to, but not including, 1, as `random.random` does.
        base: seconds.
        cap: seconds.

    Raises:
        ValueError: not 0 < base <= cap, or cap is infinite.
    """

    __slots__ = ("_base", "_random", "_spread", "cap")

    def __init__(
        self, *, random: Callable[[], float], base: float = 0.5, cap: float = 20.0
    ) -> None:
        if not 0 < base <= cap < math.inf:
            raise ValueError("a back-off needs 0 < base <= cap, and a finite cap")
        self._random = random
        self._base = self._spread = base
        self.cap: float = cap
        """Seconds that no delay exceeds."""

    def next(self) -> float:
        """Seconds to wait before the next attempt."""
        widest = self.cap - self._base
        delay = self._base + self._random() * min(widest, self._spread)
        self._spread = min(self.cap, 2 * self._spread)
        return min(self.cap, delay)

    def reset(self) -> None:
        """Start again as before the first attempt."""
        self._spread = self._base


class Reconnection:
    """Whether and when to connect again: back-off over the life of a client.

    The back-off begins anew after a connection that stayed open for `cap` seconds. Opening is not
    enough: clients would ask a server that accepts connections and fails at once without a pause.

    Args:
        backoff: the client's own.
        retry: decides which failures and ends are worth another attempt.
        renews: whether the client can get a fresh token. It then also comes back after a close
            with 4011, once until a connection has lasted.
    """

    __slots__ = ("_backoff", "_opened_at", "_renewed", "_renews", "_retry")

    def __init__(
        self,
        backoff: Backoff,
        retry: Callable[[ConnectError | Close], bool] = retryable,
        *,
        renews: bool = False,
    ) -> None:
        self._backoff = backoff
        self._retry = retry
        self._renews = renews
        self._renewed = False
        self._opened_at: float | None = None

    def opened(self, now: float) -> None:
        """A connection was opened; `now` is in seconds of a clock that never steps."""
        self._opened_at = now

    def after(self, end: ConnectError | Close, now: float) -> float | None:
        """Seconds to wait after a failed attempt or the end of a connection; None to give up.

        The time that a server asks for, up to five minutes, is added to the back-off's own, so
        that its clients do not return together.
        """
        opened_at, self._opened_at = self._opened_at, None
        if opened_at is not None and now - opened_at >= self._backoff.cap:
            self._backoff.reset()
            self._renewed = False
        if not self._retry(end) and not self._renew(end):
            return None
        return retry_after(end) + self._backoff.next()

    def _renew(self, end: ConnectError | Close) -> bool:
        again = self._renews and not self._renewed and advice(end) is Advice.RENEW
        self._renewed |= again
        return again
