"""When a client of `sono.v2` gets a sign of life. docs/protocol.md, clause 4.9."""

from collections.abc import Mapping
from heapq import heapify, heappop, heappush
from itertools import count

from sono_core.messaging import Hub
from sono_core.messaging.lossless import EVERYBODY, stream_of

from .clients import Client
from .lines import Line

_SPARE = 16  # times beyond two a connection that are kept before those of lost ones are dropped


class Beats:
    """Looks at each connection when it may have been silent for long enough.

    Args:
        interval: seconds of silence.
        hub: knows which streams a client hears.
        clients: by their ids.
    """

    def __init__(self, interval: float, hub: Hub, clients: Mapping[str, Client]) -> None:
        self.said: dict[str, float] = {}
        """When something was last said in a stream of many."""
        self._interval = interval
        self._hub = hub
        self._clients = clients
        # A heap of times, numbers of connections and clients: it keeps no connection that is gone.
        self._due: list[tuple[float, int, str]] = []
        self._numbers = count()
        self._forget_at = 0.0

    def begin(self, client: str, line: Line, now: float) -> None:
        """A client is attached to a connection."""
        line.number = next(self._numbers)
        heappush(self._due, (now + self._interval, line.number, client))

    def forget_outdated(self, live: int) -> None:
        """Drop times of connections that are gone if there are more than the `live` ones."""
        if len(self._due) > 2 * live + _SPARE:
            self._due = [due for due in self._due if self._line(*due)]
            heapify(self._due)

    def _line(self, due: float, number: int, id: str) -> Line | None:
        client = self._clients.get(id)
        line: Line | None = client._line if client else None
        return line if line and line.number == number and line.socket.open else None

    @property
    def deadline(self) -> float | None:
        """When `tick` has something to do; None if nobody is connected."""
        return self._due[0][0] if self._due else None

    def tick(self, now: float) -> list[Line]:
        """The connections on which nothing was said for so long."""
        silent = []
        while self._due and self._due[0][0] <= now:
            due, number, id = heappop(self._due)
            line = self._line(due, number, id)
            if line is None:
                continue
            streams = map(stream_of, self._hub.channels_of(id))
            heard = [self.said.get(stream, 0.0) for stream in (EVERYBODY, *streams)]
            due = max(line.sent, *heard) + self._interval
            if due <= now:
                silent.append(line)
                due = now + self._interval
            heappush(self._due, (due, number, id))
        if self._forget_at <= now:
            self._forget_at = now + self._interval
            for stream in [name for name, at in self.said.items() if at + self._interval <= now]:
                del self.said[stream]
        return silent
