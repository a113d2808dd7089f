"""Clients, channels and the routing between them; pure and deterministic. docs/protocol.md.

The hub decides who gets what and returns it as effects; delivering is the caller's. What goes
to a channel is *published* first and turned into local recipients by `recipients`, so that a
broker can carry a publication between the two.
"""

from collections.abc import Collection, Iterable, KeysView

import msgspec

from sono_core.limits import DEFAULT_LIMITS, Limits
from sono_core.messaging.classic import (
    Broadcast,
    ChangeChannel,
    DirectMessage,
    Grab,
    Message,
    Packet,
    PacketError,
    packets,
)


class Deliver(msgspec.Struct, frozen=True):
    """Send `text` to one client that is connected here."""

    client: str
    text: str


class Publish(msgspec.Struct, frozen=True):
    """Send `text` to the members of a channel wherever they are connected."""

    channel: str | None
    """None stands for every client, in whatever channel."""
    text: str
    skip: str | None = None
    """A member that does not get it: the sender of a broadcast."""


Effect = Deliver | Publish
_MAX_UTF8 = 4  # bytes of a character


class _Channel:
    __slots__ = ("keep", "members")

    def __init__(self, keep: bool) -> None:
        self.keep = keep  # created by the application: outlives its last member
        self.members: dict[str, None] = {}  # an ordered set


class Hub:
    """Who is connected, and in which channel.

    Args:
        home: the channel that new clients enter.
        open_channels: whether clients may create channels by moving there. Such a channel goes
            with its last member.
        limits: `max_channels`, `max_name`, `max_depth`, and `max_message` for what is passed on.

    Raises:
        ValueError: `home` is no channel name.
    """

    def __init__(
        self, home: str = "Home", *, open_channels: bool = False, limits: Limits = DEFAULT_LIMITS
    ) -> None:
        self._limits = limits
        self._open_channels = open_channels
        self._clients: dict[str, str] = {}  # client -> its channel
        self._channels: dict[str, _Channel] = {}
        self.home = home
        self.create(home)

    @property
    def clients(self) -> KeysView[str]:
        """All client ids, in the order of their connecting."""
        return self._clients.keys()

    @property
    def channels(self) -> KeysView[str]:
        """All channel names, in the order of their creation."""
        return self._channels.keys()

    def channel_of(self, client: str) -> str:
        """The client's current channel.

        Raises:
            KeyError: there is no such client.
        """
        return self._clients[client]

    def members(self, channel: str) -> KeysView[str]:
        """The ids of the channel's members, in the order of their entering.

        Raises:
            KeyError: there is no such channel.
        """
        return self._channels[channel].members.keys()

    def create(self, channel: str) -> None:
        """Create a channel that stays, for the application; one that exists keeps its members.

        Raises:
            ValueError: the name is no channel name, or there are too many channels.
        """
        self.check(channel)
        try:
            self._channel(channel).keep = True
        except PacketError as error:
            raise ValueError(f"channel {channel!r}: {error.text}") from None

    def check(self, channel: str) -> None:
        """Whether a channel may have that name.

        Raises:
            ValueError: it is no channel name.
        """
        try:
            packets.check_name(channel, "channel", self._limits)
        except PacketError as error:
            raise ValueError(f"channel {channel!r}: {error.text}") from None

    def _channel(self, name: str) -> _Channel:
        channel = self._channels.get(name)
        if channel is None:
            if len(self._channels) >= self._limits.max_channels:
                raise PacketError("too-many-channels", "there are too many channels")
            channel = self._channels[name] = _Channel(keep=False)
        return channel

    def add(self, client: str) -> None:
        """Let a new client in, to the home channel.

        Raises:
            ValueError: the id is taken.
        """
        if client in self._clients:
            raise ValueError(f"client {client!r} exists already")
        self._clients[client] = self.home
        self._channels[self.home].members[client] = None

    def remove(self, client: str) -> None:
        """Let a client go; nothing happens if it is gone already."""
        channel = self._clients.pop(client, None)
        if channel is not None:
            self._leave(client, channel)

    def _leave(self, client: str, name: str) -> None:
        channel = self._channels[name]
        del channel.members[client]
        if not channel.members and not channel.keep:
            del self._channels[name]

    def move(self, client: str, channel: str) -> None:
        """Make `channel` the client's current one.

        Raises:
            KeyError: there is no such client.
            PacketError: `unknown-channel` or `too-many-channels`; nothing was changed.
        """
        current = self._clients[client]
        if channel == current:
            return
        if channel not in self._channels and not self._open_channels:
            raise PacketError("unknown-channel", f"there is no channel {channel}")
        self._channel(channel).members[client] = None
        self._clients[client] = channel
        self._leave(client, current)

    # -- packets --------------------------------------------------------------------------------

    def receive(self, client: str, packet: Packet) -> list[Effect]:
        """Route a packet of a client that is connected here.

        Raises:
            KeyError: there is no such client.
            PacketError: the packet is refused; nothing was changed.
        """
        current = self._clients[client]
        if isinstance(packet, ChangeChannel):
            self.move(client, packet.payload.to)
            return []
        if isinstance(packet, Grab):
            kind = packet.payload.message
            text = packets.listing(packet.event, kind, self._listing(client, kind))
            return [Deliver(client, text)]
        if isinstance(packet, DirectMessage):
            to = str(packet.payload.to)
            if to not in self._clients:
                raise PacketError("unknown-client", f"there is no client {to}")
            return [Deliver(to, self._relayed(packet, client))]
        text = self._relayed(packet, client)
        skip = client if isinstance(packet, Broadcast) else None
        return [Publish(current, text, skip)]

    def _relayed(self, packet: Message | Broadcast | DirectMessage, client: str) -> str:
        """What others are told; it must not be more than they, with these limits, would take."""
        text = packets.relayed(packet.event, packet.payload.message, client)
        limit = self._limits.max_message
        if len(text) * _MAX_UTF8 > limit and len(text.encode()) > limit:
            raise PacketError("invalid-packet", f"passed on, it has more than {limit} bytes")
        return text

    def _listing(self, client: str, kind: object) -> list[str]:
        match kind:
            case "myid":
                return [client]
            case "clients":
                return list(self.clients)
            case "channels":
                return list(self.channels)
            case "mychannel":
                return [self._clients[client]]
            case "mychannelclients":
                return list(self.members(self._clients[client]))
        return ["invalid grab request"]

    def recipients(self, publication: Publish) -> Collection[str]:
        """Who of the clients connected here gets a publication."""
        if publication.channel is None:
            members: Iterable[str] = self._clients
        elif publication.channel in self._channels:
            members = self._channels[publication.channel].members
        else:
            members = ()
        return [member for member in members if member != publication.skip]
