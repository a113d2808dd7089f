"""When to ping, and when a peer that does not answer is given up. RFC 6455, section 5.5.2."""

from sono_core.limits import Timeouts

from .deadlines import Deadline, Deadlines


class Keepalive:
    """Pings after silence, and waits for any sign of life.

    It is lazy: a read only notes when it happened, and mostly a deadline that comes finds that it
    is to be looked at later.

    Args:
        deadlines: of the session; PING and PONG are set here.
        timeouts: `ping_interval` and `pong` count.
        now: seconds of the session's clock.
    """

    __slots__ = ("_deadlines", "_pinged", "_timeouts")

    def __init__(self, deadlines: Deadlines, timeouts: Timeouts, now: float) -> None:
        self._deadlines = deadlines
        self._timeouts = timeouts
        self._pinged = now  # when an answer began to be waited for

    def begin(self, now: float) -> None:
        """The connection is open: look after it from now on."""
        self._deadlines.set(Deadline.PING, now + self._timeouts.ping_interval)

    def ping_due(self, now: float, last_received: float) -> bool:
        """The deadline PING has come; whether to send a ping."""
        due = last_received + self._timeouts.ping_interval
        if due > now:  # the peer spoke meanwhile
            self._deadlines.set(Deadline.PING, due)
            return False
        self._deadlines.set(Deadline.PING, now + self._timeouts.ping_interval)
        if last_received < self._pinged:  # the last ping's answer is still waited for
            return False
        self._pinged = now
        self._wait_for_pong(now)
        return True

    def pong_due(self, now: float, last_received: float, heard_all: bool) -> bool:
        """The deadline PONG has come; whether the peer is to be given up.

        Args:
            heard_all: whether all that the peer sent has been read; if not, its pong may wait
                where nobody looked.
        """
        if last_received >= self._pinged or Deadline.PONG in self._deadlines:
            return False  # it was answered, and another may have been sent in this very tick
        if not heard_all:
            self._wait_for_pong(now)
        return heard_all

    def reading_again(self, now: float) -> None:
        """Nothing was read for a while, so that no pong could be seen: wait for it anew."""
        if Deadline.PONG in self._deadlines:
            self._wait_for_pong(now)

    def _wait_for_pong(self, now: float) -> None:
        self._deadlines.set(Deadline.PONG, now + self._timeouts.pong)
