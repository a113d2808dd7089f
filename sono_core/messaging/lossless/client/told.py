"""What a client tells its application, beside the packets `Event` and `Asked` themselves."""

from typing import Any

from msgspec import field

from sono_core.messaging.lossless import Position
from sono_core.messaging.lossless.packets import Asked, Event
from sono_core.quoting import Discreet

from .pending import Pending
from .status import Status


class Opened(Discreet, frozen=True):
    """A connection has a session."""

    id: str
    """The client's public id."""
    resumed: bool
    """Whether it is the session that was. If not, everything that is not in a channel's history
    is lost, and presence must be set again."""
    first: bool
    """Whether it is the client's first."""
    limits: dict[str, int]
    """What the server accepts, by the names of `Limits`."""


class Missed(Discreet, frozen=True):
    """A gap: entries of a stream that cannot be had.

    After a resume it may be noticed late, when later entries were told already.
    """

    stream: str
    at: Position
    """The last that is missing."""
    first: int | None
    """The offset of the first; None if it is not known how many there are."""


class Entered(Discreet, frozen=True):
    """The client is a member of a channel."""

    channel: str
    current: bool
    """Whether it is the current one."""


class Departed(Discreet, frozen=True):
    """The client is no member of a channel any more."""

    channel: str
    code: str | None = None
    """Why, if the server ended the membership."""


class PresenceChanged(Discreet, frozen=True):
    """Who came, changed or went."""

    channel: str
    count: int
    """Of all members."""
    entered: list[tuple[str, Any]] = field(default_factory=list)
    """Ids with their public data, of those that came or changed it."""
    gone: list[str] = field(default_factory=list)


class TokenWanted(Discreet, frozen=True):
    """The identity ends: `token` is to be called."""

    seconds: float
    """Until then, as the server says."""


class Refused(Discreet, frozen=True):
    """The server refused a packet without a number."""

    code: str
    message: str


class Settled(Discreet, frozen=True):
    """A packet has its outcome."""

    pending: Pending


Told = (
    Event
    | Asked
    | Opened
    | Missed
    | Entered
    | Departed
    | PresenceChanged
    | TokenWanted
    | Refused
    | Settled
    | Status
)
