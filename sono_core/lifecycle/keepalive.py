"""When to ping, and when to give up a peer that does not answer. RFC 6455, section 5.5.2."""

from sono_core.limits import Timeouts

from .deadlines import Deadline, Deadlines


class Keepalive:
    """Pings after silence, and accepts any bytes as a sign of life.

    It is lazy: a read only notes its time, and most deadlines that come are merely put off.

    Args:
        deadlines: of the session; PING and PONG are set here.
        timeouts: `ping_interval` and `pong` apply.
        now: seconds of the session's clock.
    """

    __slots__ = ("_deadlines", "_pinged", "_timeouts")

    def __init__(self, deadlines: Deadlines, timeouts: Timeouts, now: float) -> None:
        self._deadlines = deadlines
        self._timeouts = timeouts
        self._pinged = now  # since when an answer is awaited

    def begin(self, now: float) -> None:
        """Start: the connection is open."""
        self._deadlines.set(Deadline.PING, now + self._timeouts.ping_interval)

    def ping_due(self, now: float, last_received: float) -> bool:
        """The deadline PING has come; return whether to send a ping."""
        due = last_received + self._timeouts.ping_interval
        if due > now:  # the peer spoke meanwhile
            self._deadlines.set(Deadline.PING, due)
            return False
        self._deadlines.set(Deadline.PING, now + self._timeouts.ping_interval)
        if last_received < self._pinged:  # the last ping is still unanswered
            return False
        self._pinged = now
        self._wait_for_pong(now)
        return True

    def pong_due(self, now: float, last_received: float, heard_all: bool) -> bool:
        """The deadline PONG has come; return whether to give the peer up.

        Args:
            heard_all: whether all that the peer sent has been read; if not, its pong may be
                among the rest.
        """
        if last_received >= self._pinged or Deadline.PONG in self._deadlines:
            return False  # answered; another may have been sent in this very tick
        if not heard_all:
            self._wait_for_pong(now)
        return heard_all

    def reading_again(self, now: float) -> None:
        """Wait for a pong anew: while nothing was read, none could be seen."""
        if Deadline.PONG in self._deadlines:
            self._wait_for_pong(now)

    def _wait_for_pong(self, now: float) -> None:
        self._deadlines.set(Deadline.PONG, now + self._timeouts.pong)
