"""What clients and servers say to each other, as values; how it is written is a codec's business.

docs/protocol.md, sections 3 to 5. `type` tells packets apart. Names and numbers are checked by
whoever takes a packet, as what is refused depends on that.
"""

from typing import Annotated, Any

import msgspec
from msgspec import UNSET, field

from sono_core.quoting import Discreet

from .positions import MAX_NUMBER, Position

Seq = Annotated[int, msgspec.Meta(ge=1, le=MAX_NUMBER)]


class Failure(Discreet, frozen=True):
    """Why something was not done. A program decides by `code`."""

    code: str
    message: str
    temporary: bool = False
    """Whether it may go well later."""


class _Packet(
    Discreet, frozen=True, tag_field="type", tag=str.lower, omit_defaults=True, kw_only=True
):
    pass


# -- from client to server ------------------------------------------------------------------------


class Hello(_Packet, frozen=True):
    """Opens a connection, and resumes a session."""

    token: str | None = None
    key: str | None = None
    streams: dict[str, Position] = field(default_factory=dict)
    """The client's position in each of its streams."""
    channel: str | None = None
    """The current channel, if the session is gone."""
    joined: list[str] = field(default_factory=list)
    """The channels beside it, if the session is gone."""


class Join(_Packet, frozen=True):
    """Become a member of a channel beside the current one."""

    seq: Seq
    channel: str
    at: Position | None = None
    """From where on, if that can be had."""
    presence: bool = False
    """Whether to be told who is there."""


class Move(_Packet, frozen=True):
    """Make a channel the current one."""

    seq: Seq
    channel: str
    at: Position | None = None


class Leave(_Packet, frozen=True):
    """Be no member of a channel any more."""

    seq: Seq
    channel: str


class Publish(_Packet, frozen=True, rename={"to_self": "self"}):
    """Say something to the members of a channel."""

    channel: str
    event: str
    data: Any
    seq: Seq | None = None
    """None: it is volatile."""
    to_self: bool = True


class Send(_Packet, frozen=True):
    """Say something to one client."""

    to: str
    event: str
    data: Any
    seq: Seq | None = None
    """None: it is volatile."""


class Request(_Packet, frozen=True):
    """Ask the server."""

    seq: Seq
    name: str
    data: Any
    timeout: Annotated[float, msgspec.Meta(gt=0)] | None = None
    """Seconds."""


class Reply(_Packet, frozen=True):
    """Answer a request of the server's, by `data` or by `error`."""

    seq: Seq
    re: int
    data: Any = UNSET
    error: Failure | None = None


class Present(_Packet, frozen=True):
    """Set one's own public data in a channel."""

    seq: Seq
    channel: str
    data: Any


class Read(_Packet, frozen=True):
    """Ask for the entries that follow a position."""

    stream: str
    at: Position


class Token(_Packet, frozen=True):
    """A fresh token, before the identity ends."""

    token: str


class Beat(_Packet, frozen=True):
    """A sign of life, in either direction."""


class Bye(_Packet, frozen=True):
    """End the session."""


FromClient = (
    Hello
    | Join
    | Move
    | Leave
    | Publish
    | Send
    | Request
    | Reply
    | Present
    | Read
    | Token
    | Beat
    | Bye
)
Numbered = Join | Move | Leave | Publish | Send | Request | Reply | Present
"""Those that have a `seq`; `Publish` and `Send` may do without."""


# -- from server to client ------------------------------------------------------------------------


class Begun(Discreet, frozen=True):
    """How a client follows a stream: from where on, and whether all was recovered up to there."""

    stream: str
    at: Position
    recovered: bool


class Denied(Discreet, frozen=True):
    """A channel that a client is no member of any more."""

    channel: str
    error: Failure


class Welcome(_Packet, frozen=True):
    """The answer to `hello`."""

    id: str
    key: str
    resumed: bool
    seq: int
    """The highest number that was accepted."""
    channel: str
    streams: list[Begun]
    denied: list[Denied] = field(default_factory=list)
    beat: float = 25.0
    """Seconds without anything else after which the server sends a `beat`."""
    limits: dict[str, int] = field(default_factory=dict)
    """What the server accepts, by the names of `Limits`."""


class Event(_Packet, frozen=True, rename={"sender": "from"}):
    """Something that a client or the server said."""

    stream: str
    event: str
    data: Any
    at: Position | None = None
    """None: it is volatile."""
    sender: str | None = None
    """None: the server."""


class Skip(_Packet, frozen=True):
    """An entry that is not for this client."""

    stream: str
    at: Position


class Gap(_Packet, frozen=True):
    """What is between the client's position and that one cannot be had."""

    stream: str
    at: Position


class Result(_Packet, frozen=True):
    """What became of a numbered packet."""

    stream: str
    at: Position
    re: int
    data: Any = UNSET
    published: Position | None = None
    error: Failure | None = None


class Asked(_Packet, frozen=True, tag="request"):
    """A request of the server's."""

    stream: str
    at: Position
    id: int
    name: str
    data: Any


class Joined(_Packet, frozen=True):
    """The server made the client a member of a channel."""

    stream: str
    at: Position
    channel: str
    position: Position
    current: bool = False


class Left(_Packet, frozen=True):
    """The server ended a membership."""

    stream: str
    at: Position
    channel: str
    code: str


class Members(_Packet, frozen=True):
    """Who is in a channel: a snapshot."""

    channel: str
    version: int
    members: list[tuple[str, Any]]
    count: int
    """Of all members; `members` may hold fewer."""


class Presence(_Packet, frozen=True, rename={"entered": "in", "gone": "out"}):
    """Who came, changed or went since the version before."""

    channel: str
    version: int
    count: int
    entered: list[tuple[str, Any]] = field(default_factory=list)
    gone: list[str] = field(default_factory=list)


class Ack(_Packet, frozen=True):
    """All numbers up to `seq` are accepted."""

    seq: int


class Renew(_Packet, frozen=True, rename={"seconds": "in"}):
    """The identity ends; a token is asked for."""

    seconds: float


class Error(_Packet, frozen=True):
    """A packet without a number was refused."""

    code: str
    message: str


FromServer = (
    Welcome
    | Event
    | Skip
    | Gap
    | Result
    | Asked
    | Joined
    | Left
    | Members
    | Presence
    | Ack
    | Renew
    | Beat
    | Error
)
Entry = Event | Skip | Gap | Result | Asked | Joined | Left
"""Those that belong to a stream."""
