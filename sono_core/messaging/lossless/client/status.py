"""How a client stands with its server, for the application's banner."""

import enum
from collections.abc import Iterable

from sono_core.quoting import Discreet


class State(enum.Enum):
    """Whether there is a connection."""

    CONNECTING = "connecting"
    """One is being made, or its welcome has not come yet."""
    OPEN = "open"
    WAITING = "waiting"
    """The next attempt is due later."""
    CLOSED = "closed"
    """There will be none any more."""


class Status(Discreet, frozen=True):
    """Where a client stands."""

    state: State
    retry_at: float | None = None
    """When the next attempt is due, on the caller's clock, while the client waits."""

    def shown(self) -> Iterable[tuple[str, object]]:
        """See `Discreet`."""
        yield from (("state", self.state), ("retry_at", self.retry_at))
