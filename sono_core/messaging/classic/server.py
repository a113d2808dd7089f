"""The classic dialect on the server: what a packet means, and what the server answers."""

from collections.abc import Iterable

from sono_core.limits import MAX_UTF8, Limits
from sono_core.messaging import (
    CHANNELS,
    MEMBERS,
    Content,
    Deliver,
    Dialect,
    Effect,
    Hub,
    Publish,
    Reply,
    size_of,
)
from sono_core.messaging.lossless import Data
from sono_core.native import PART

from . import packets
from .packets import (
    Broadcast,
    ChangeChannel,
    DirectMessage,
    Grab,
    Message,
    Packet,
    PacketError,
)

Names = tuple[str, int, bool]
"""As `packets.names_within` gives them."""

_ENVELOPE = 1024  # bytes that a listing has at most beside its names


def weigh(message: Content, limits: Limits) -> int:
    """What a message costs its sender, in bytes.

    Raises:
        PacketError: `binary-message`, or as for `packets.weigh`.
    """
    if isinstance(message, bytes):
        raise PacketError("binary-message", "packets are text messages")
    return packets.weigh(message, limits)


def enters(packet: Packet) -> str | None:
    """The channel that a packet asks to be moved to."""
    return packet.payload.to if isinstance(packet, ChangeChannel) else None


def said(packet: Packet) -> tuple[str, object] | None:
    """The event and the payload that a packet carries for others."""
    if isinstance(packet, (ChangeChannel, Grab)):
        return None
    return packet.event, packet.payload.message


def publishes(packet: Packet) -> bool:
    """Whether a packet says something to its sender's channel."""
    return isinstance(packet, (Message, Broadcast))


_LISTS = {"channels": CHANNELS, "mychannelclients": MEMBERS}


def lists(packet: Packet) -> str | None:
    """See `Dialect.lists`."""
    if not isinstance(packet, Grab) or not isinstance(packet.payload.message, str):
        return None
    return _LISTS.get(packet.payload.message)


def receive(hub: Hub, client: str, packet: Packet, limits: Limits) -> list[Effect | Reply]:
    """Carry out a packet of a client that is connected here.

    Raises:
        KeyError: there is no such client.
        MessagingError: the packet is refused; nothing was changed.
    """
    current = hub.channel_of(client)
    if isinstance(packet, ChangeChannel):
        hub.move(client, packet.payload.to)
        return []
    if isinstance(packet, Grab):
        return [_answer(hub, client, packet, limits)]
    event, message = packet.event, packet.payload.message
    if isinstance(packet, DirectMessage):
        to = str(packet.payload.to)
        if not hub.may_have(to):
            raise PacketError("unknown-client", f"there is no client {to}")
        effect: Effect = Deliver(to, event, message, client)
    else:
        skip = client if isinstance(packet, Broadcast) else None
        effect = Publish(current, event, Data.parsed(message), client, skip)
    _check_size(CLASSIC.written(effect), limits.max_message)
    return [effect]


def _check_size(content: Content, limit: int) -> None:
    """Refuse a message that its receivers would refuse with these limits."""
    if len(content) * MAX_UTF8 > limit and size_of(content) > limit:
        raise PacketError("invalid-packet", f"passed on, it has more than {limit} bytes")


def _answer(hub: Hub, client: str, packet: Grab, limits: Limits) -> Reply:
    """The answer to a grab, which costs the asker what it takes to list the names."""
    kind = packet.payload.message
    names, number, truncated = _listed(hub, client, kind, limits)
    content = packets.listing(packet.event, kind, names, truncated=truncated)
    _check_size(content, limits.max_message)
    return Reply(content, PART * number)


def _listed(hub: Hub, client: str, kind: object, limits: Limits) -> Names:
    current = hub.channel_of(client)
    match kind:
        case "clients":
            return _kept(hub, kind, hub.clients, limits)
        case "channels" if hub.hidden:
            shown = [name for name in hub.channels_listed if name not in hub.hidden]
            return packets.names_within(shown, _room_for_names(limits))
        case "channels":
            return _kept(hub, kind, hub.channels_listed, limits)
        case "mychannelclients" if hub.present is not None:
            return packets.names_within(hub.present, _room_for_names(limits))
        case "mychannelclients":
            return _kept(hub, (kind, current), hub.members(current), limits)
        case "myid":
            names = [client]
        case "mychannel":
            names = [current]
        case _:
            names = ["invalid grab request"]
    return packets.names_within(names, limits.max_message)


def _kept(hub: Hub, kind: object, names: Iterable[str], limits: Limits) -> Names:
    """Names as they are listed, written once for all who ask before they change."""
    key = CLASSIC.name, kind
    found: Names | None = hub.written.get(key)
    if found is None:
        found = hub.written[key] = packets.names_within(names, _room_for_names(limits))
    return found


def _room_for_names(limits: Limits) -> int:
    return min(limits.max_listing, limits.max_message - _ENVELOPE)


def encode(publication: Publish | Deliver) -> str:
    """A message of a client, or of the server itself, as its receivers get it.

    Raises:
        TypeError: the payload cannot be written as JSON.
        LocalProtocolError: it holds a lone surrogate.
    """
    payload = publication.payload
    if isinstance(payload, Data):
        payload = payload.raw_json()
    if publication.sender is None:
        return packets.from_server(publication.event, payload)
    return packets.relayed(publication.event, payload, publication.sender)


CLASSIC = Dialect(
    name="classic",
    weigh=weigh,
    parse=packets.decode,
    enters=enters,
    said=said,
    receive=receive,
    encode=encode,
    error=packets.error,
    publishes=publishes,
    lists=lists,
)
