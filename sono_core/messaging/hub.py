"""Clients, channels and the routing between them; pure and deterministic.

The hub knows memberships, and no dialect: each client's `Dialect` says what a packet means and how
an event is written. An event for a channel is *published* first, and `recipients` turns the
publication into local recipients; a broker can carry it between the two steps.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, KeysView
from typing import Any

from sono_core.errors import SonoError
from sono_core.limits import DEFAULT_LIMITS, Limits
from sono_core.quoting import Discreet

from .names import check_channel

MAX_ID = 64
"""Characters of a client's id: what is longer is nobody's, and need not be looked for elsewhere."""
_MAX_TEXT = 256  # characters: a refusal quotes the packet, and must not grow with it


class MessagingError(SonoError):
    """A client's request is refused; nothing was changed.

    Its dialect tells it `code`, for programs, and `text`, for people.
    """

    def __init__(self, code: str, text: str) -> None:
        super().__init__(text)
        self.code = code
        self.text: str = text[:_MAX_TEXT]


# `dict=True` gives dialects a place beside the fields for what they wrote: it is not compared, and
# no broker carries it.
class Deliver(Discreet, frozen=True, dict=True):
    """Send an event to one client that is connected here."""

    client: str
    event: str
    payload: Any
    """`Data`, once it is on its way; the hub does not look at it."""
    sender: str | None
    """The client that sent it; None stands for the server."""

    def shown(self) -> Iterable[tuple[str, object]]:
        """See `Discreet`."""
        yield from (("client", self.client), ("event", self.event), ("sender", self.sender))


class Publish(Discreet, frozen=True, dict=True):
    """Send an event to the members of a channel wherever they are connected."""

    channel: str | None
    """None stands for every client, in every channel."""
    event: str
    payload: Any
    """`Data`, once it is on its way; the hub does not look at it."""
    sender: str | None
    """The client that sent it; None stands for the server."""
    skip: str | None = None
    """A member that does not get it: the sender of a broadcast."""

    def shown(self) -> Iterable[tuple[str, object]]:
        """See `Discreet`."""
        yield from (("channel", self.channel), ("event", self.event), ("sender", self.sender))


Effect = Deliver | Publish


class _Channel:
    __slots__ = ("keep", "listed", "members")

    def __init__(self) -> None:
        self.keep = False  # whether the application created it: it outlives its last member
        self.listed = True
        self.members: dict[str, None] = {}  # an ordered set


class Hub:
    """The connected clients and their channels.

    Each client has one current channel, and may be a member of others beside it.

    Args:
        home: the channel that new clients enter.
        open_channels: whether clients may create channels by entering them. Such a channel goes
            with its last member.
        limits: `max_channels` and `max_name`.

    Raises:
        ValueError: `home` is not a channel name.
    """

    def __init__(
        self, home: str = "Home", *, open_channels: bool = False, limits: Limits = DEFAULT_LIMITS
    ) -> None:
        self._limits = limits
        self._open_channels = open_channels
        self._clients: dict[str, str] = {}  # client -> its current channel
        self._joined: dict[str, dict[str, None]] = {}  # client -> the others, if there are any
        self._channels: dict[str, _Channel] = {}
        self.written: dict[object, Any] = {}
        """What others made of channels and members; emptied whenever these change."""
        self.entered: Callable[[str, str], object] = _nobody
        """Called with the channel and the client whenever one becomes a member."""
        self.left: Callable[[str, str], object] = _nobody
        """Called likewise whenever a membership has ended; the channel may be gone."""
        self.opens: Callable[[str], bool] = _closed
        """Whether clients may create a channel of that name, though they may create no others."""
        self.elsewhere: bool = False
        """Whether there may be other clients, of other processes."""
        self.unlisted: Callable[[str], object] = _none
        """Called with a channel that clients are told of no longer."""
        self.hidden: Collection[str] = ()
        """Channels that the client whose packet is dealt with is not told of."""
        self.present: Collection[str] | None = None
        """Who is present in its current channel, in all processes; None: the members here."""
        self._others: Collection[str] = ()
        self.home = home
        self.create(home)

    @property
    def clients(self) -> KeysView[str]:
        """All client ids, in the order of their connecting."""
        return self._clients.keys()

    def may_have(self, client: str) -> bool:
        """Whether somebody has that id here, or may have it elsewhere."""
        if client in self._clients:
            return True
        return self.elsewhere and len(client) <= MAX_ID and client.isascii()

    @property
    def channels(self) -> KeysView[str]:
        """All channel names, in the order of their creation."""
        return self._channels.keys()

    @property
    def others(self) -> Collection[str]:
        """Channels of other processes that clients are told of, as far as is known."""
        return self._others

    @others.setter
    def others(self, names: Collection[str]) -> None:
        if names != self._others:
            self._others = names
            self.written.clear()

    @property
    def channels_listed(self) -> Iterator[str]:
        """The names of the channels that clients are told of, in the order of their creation."""
        for name, channel in self._channels.items():
            if channel.listed:
                yield name
        for name in self._others:
            if name not in self._channels:
                yield name

    def may_be_entered(self, channel: str) -> bool:
        """Whether there is that channel, or clients may create it."""
        return channel in self._channels or self._open_channels or self.opens(channel)

    def is_listed(self, channel: str) -> bool:
        """Whether clients are told of a channel; there may be none."""
        found = self._channels.get(channel)
        return found is not None and found.listed

    def channel_of(self, client: str) -> str:
        """The client's current channel.

        Raises:
            KeyError: there is no such client.
        """
        return self._clients[client]

    def channels_of(self, client: str) -> list[str]:
        """All channels that the client is a member of: the current one, and then the others in
        the order of its joining them.

        Raises:
            KeyError: there is no such client.
        """
        return [self._clients[client], *self._joined.get(client, ())]

    def members(self, channel: str) -> KeysView[str]:
        """The ids of the channel's members, in the order of their entering.

        Raises:
            KeyError: there is no such channel.
        """
        return self._channels[channel].members.keys()

    def is_member(self, client: str, channel: str) -> bool:
        """Whether a client is a member of a channel; there may be neither."""
        found = self._channels.get(channel)
        return found is not None and client in found.members

    def create(self, channel: str, *, listed: bool = True) -> None:
        """Create a channel that stays, for the application; one that exists keeps its members.

        Args:
            listed: False takes it out of `listed`, from now on.

        Raises:
            TypeError: the name is not a str.
            ValueError: it is not a channel name, or there are too many channels.
        """
        self.check(channel)
        try:
            created = self._channel(channel)
        except MessagingError as error:
            raise ValueError(f"channel {channel!r}: {error.text}") from None
        created.keep = True
        if not listed:
            created.listed = False
            self.written.clear()
            self.unlisted(channel)

    def check(self, channel: str) -> None:
        """Whether a channel may have that name.

        Raises:
            TypeError: it is not a str.
            ValueError: it is not a channel name.
        """
        check_channel(channel, self._limits)

    def _channel(self, name: str) -> _Channel:
        channel = self._channels.get(name)
        if channel is None:
            if len(self._channels) >= self._limits.max_channels:
                raise MessagingError("too-many-channels", "there are too many channels")
            channel = self._channels[name] = _Channel()
            self.written.clear()
        return channel

    # -- clients --------------------------------------------------------------------------------

    def add(self, client: str) -> None:
        """Let a new client in, to the home channel.

        Raises:
            ValueError: the id is taken.
        """
        if client in self._clients:
            raise ValueError(f"client {client!r} already exists")
        self._clients[client] = self.home
        self._channels[self.home].members[client] = None
        self.written.clear()
        self.entered(self.home, client)

    def remove(self, client: str) -> None:
        """Let a client go, out of all its channels; nothing happens if it is gone already."""
        current = self._clients.pop(client, None)
        if current is None:
            return
        self._exit(client, current)
        for channel in self._joined.pop(client, ()):
            self._exit(client, channel)

    def move(self, client: str, channel: str) -> None:
        """Make `channel` the client's current one; it leaves the one that was.

        The dialect has checked the name. If the client has joined that channel already, it keeps
        its place among the members.

        Raises:
            KeyError: there is no such client.
            MessagingError: `unknown-channel` or `too-many-channels`; nothing was changed.
        """
        current = self._clients[client]
        if channel == current:
            return
        self._enter(client, channel)
        self._clients[client] = channel
        self._forget(client, channel)
        self._exit(client, current)

    def join(self, client: str, channel: str) -> None:
        """Make the client a member of `channel` beside its current one; once is enough.

        The dialect has checked the name.

        Raises:
            KeyError, MessagingError: as for `move`.
        """
        if channel != self._clients[client]:
            self._enter(client, channel)
            self._joined.setdefault(client, {})[channel] = None

    def leave(self, client: str, channel: str) -> None:
        """End what `join` began; nothing happens if the client has not joined that channel.

        Raises:
            KeyError: there is no such client.
            ValueError: it is the client's current channel: every client has one.
        """
        if channel == self._clients[client]:
            raise ValueError(f"channel {channel!r} is the current one of client {client!r}")
        if self._forget(client, channel):
            self._exit(client, channel)

    def _enter(self, client: str, name: str) -> None:
        if not self.may_be_entered(name):
            raise MessagingError("unknown-channel", f"there is no channel {name}")
        members = self._channel(name).members
        if client not in members:
            members[client] = None
            self.written.clear()
            self.entered(name, client)

    def _exit(self, client: str, name: str) -> None:
        self.written.clear()
        channel = self._channels[name]
        del channel.members[client]
        if not channel.members and not channel.keep:
            del self._channels[name]
        self.left(name, client)

    def _forget(self, client: str, channel: str) -> bool:
        """Take a channel from those that the client has joined; whether it was among them."""
        joined = self._joined.get(client, {})
        if channel not in joined:
            return False
        del joined[channel]
        if not joined:
            del self._joined[client]
        return True

    # -- routing --------------------------------------------------------------------------------

    def audience(self, publication: Publish) -> int:
        """How many clients a publication reaches at most."""
        if publication.channel is None:
            return len(self._clients)
        channel = self._channels.get(publication.channel)
        return len(channel.members) if channel else 0

    def recipients(self, publication: Publish) -> Collection[str]:
        """The clients connected here that receive a publication."""
        members: Collection[str] = self._clients
        if publication.channel is not None:
            channel = self._channels.get(publication.channel)
            members = channel.members if channel else ()
        recipients = list(members)
        skip = publication.skip
        if skip is not None and skip in members:
            recipients.remove(skip)
        return recipients


def _nobody(channel: str, client: str) -> None:
    """Nobody wants to know."""


def _none(channel: str) -> None:
    """Nobody wants to know."""


def _closed(channel: str) -> bool:
    """No channel is an exception."""
    return False
