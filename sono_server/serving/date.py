"""The wall clock: for the field Date (RFC 9110, sections 5.6.7 and 6.6.1), and identities that end.

All else is timed by clocks that nobody can set.
"""

import time
from collections.abc import Callable
from email.utils import formatdate

wall_clock: Callable[[], float] = time.time
"""Seconds since 1970."""


class HTTPDate:
    """Gives the time as text; it is written anew at most once a second.

    Args:
        clock: seconds since 1970.
    """

    __slots__ = ("_clock", "_second", "_text")

    def __init__(self, clock: Callable[[], float] = wall_clock) -> None:
        self._clock = clock
        self._second = -1
        self._text = ""

    def __call__(self) -> str:
        """The time now, such as `Sun, 06 Nov 1994 08:49:37 GMT`."""
        second = int(self._clock())
        if second != self._second:
            self._text = formatdate(second, usegmt=True)
            self._second = second
        return self._text
