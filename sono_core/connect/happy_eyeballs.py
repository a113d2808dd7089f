"""Which address of a host a client connects to, and when. RFC 8305 ("Happy Eyeballs").

Every client drives the same decision. Nothing is connected here.
"""

import math
from collections import deque
from collections.abc import Iterable
from typing import Any

_DELAY = 0.25  # seconds from one attempt to the next (RFC 8305, section 5)
_MAX_NAMED = 8  # addresses of a host that an exception names

AddressInfo = tuple[Any, Any, int, str, Any]
"""Family, type, protocol, canonical name and address, as `socket.getaddrinfo` returns them."""


class HappyEyeballs:
    """The attempts to connect to one of a host's addresses; the first that succeeds wins.

    Connect to what `begin` returns, call it again at `wake`, and tell `failed`; until an attempt
    succeeds, or `over` is true. Then end all other attempts.

    Args:
        found: the host's addresses, in the order of the system's preference.
        now: seconds of a clock that never steps.
        timeout: seconds for all attempts together.
    """

    __slots__ = ("_deadline", "_due", "_failures", "_pending", "_waiting")

    def __init__(self, found: Iterable[AddressInfo], now: float, timeout: float) -> None:
        self._waiting = deque(_interleaved(found))
        self._pending: list[str] = []  # the attempts under way, by the names of their addresses
        self._failures: list[tuple[str, str]] = []  # names and reasons
        self._due = now  # when the next attempt is
        self._deadline = now + timeout

    @property
    def wake(self) -> float:
        """When to call `begin` and `over` again, if no attempt has ended before."""
        return min(self._due if self._waiting else math.inf, self._deadline)

    def over(self, now: float) -> bool:
        """Whether no attempt can succeed any more: all have failed, or the time is up."""
        return now >= self._deadline or not (self._waiting or self._pending)

    def begin(self, now: float) -> AddressInfo | None:
        """The address to connect to now; None if none is due."""
        if not self._waiting or now < self._due:
            return None
        self._due = now + _DELAY
        info = self._waiting.popleft()
        self._pending.append(_named(info))
        return info

    def failed(self, info: AddressInfo, reason: str, now: float) -> None:
        """An attempt has failed: the next one is due at once."""
        name = _named(info)
        self._pending.remove(name)
        self._failures.append((name, reason))
        self._due = now

    @property
    def reason(self) -> str:
        """Why none succeeded: each address that was tried, if there were several."""
        ended = [*self._failures, *((name, "took too long") for name in self._pending)]
        if len(ended) == 1:
            ((_, reason),) = ended
            return reason if self._failures else "connecting took too long"
        if not ended:
            return "connecting took too long" if self._waiting else "the host has no address"
        named = "; ".join(f"{name}: {reason}" for name, reason in ended[:_MAX_NAMED])
        more = len(ended) - _MAX_NAMED
        return f"{named}; and {more} more" if more > 0 else named


def _interleaved(found: Iterable[AddressInfo]) -> Iterable[AddressInfo]:
    """Each address once, the families in turn: the preferred one first (RFC 8305, section 4)."""
    families: dict[Any, dict[Any, AddressInfo]] = {}
    for info in found:
        families.setdefault(info[0], {}).setdefault(info[4], info)
    queues = [deque(addresses.values()) for addresses in families.values()]
    while queues:
        for queue in queues:
            yield queue.popleft()
        queues = [queue for queue in queues if queue]


def _named(info: AddressInfo) -> str:
    """An address without its port, as errors name it."""
    host, _, *more = info[4]
    scope = more[1] if more else 0  # of an IPv6 address
    return f"{host}%{scope}" if scope else str(host)
