"""The classic dialect on the server: what a packet means, and what the server answers."""

from sono_core.limits import MAX_UTF8, Limits
from sono_core.messaging import Content, Deliver, Dialect, Effect, Hub, Publish, Reply

from . import packets
from .packets import (
    Broadcast,
    ChangeChannel,
    DirectMessage,
    Grab,
    Packet,
    PacketError,
)


def parse(message: Content, limits: Limits) -> Packet:
    """The packet in a message.

    Raises:
        PacketError: `binary-message`, or as for `packets.parse`.
    """
    if isinstance(message, bytes):
        raise PacketError("binary-message", "packets are text messages")
    return packets.parse(message, limits)


def said(packet: Packet) -> tuple[str, object] | None:
    """The event and the payload that a packet carries for others."""
    if isinstance(packet, (ChangeChannel, Grab)):
        return None
    return packet.event, packet.payload.message


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
        kind = packet.payload.message
        return [Reply(packets.listing(packet.event, kind, _listed(hub, client, kind)))]
    event, message = packet.event, packet.payload.message
    if isinstance(packet, DirectMessage):
        to = str(packet.payload.to)
        if to not in hub.clients:
            raise PacketError("unknown-client", f"there is no client {to}")
        effect: Effect = Deliver(to, event, message, client)
    else:
        skip = client if isinstance(packet, Broadcast) else None
        effect = Publish(current, event, message, client, skip)
    _check_size(CLASSIC.written(effect), limits.max_message)
    return [effect]


def _check_size(content: Content, limit: int) -> None:
    """Refuse a message that its receivers would refuse with these limits."""
    if len(content) * MAX_UTF8 > limit:
        size = len(content.encode() if isinstance(content, str) else content)
        if size > limit:
            raise PacketError("invalid-packet", f"passed on, it has more than {limit} bytes")


def _listed(hub: Hub, client: str, kind: object) -> list[str]:
    match kind:
        case "myid":
            return [client]
        case "clients":
            return list(hub.clients)
        case "channels":
            return list(hub.channels)
        case "mychannel":
            return [hub.channel_of(client)]
        case "mychannelclients":
            return list(hub.members(hub.channel_of(client)))
    return ["invalid grab request"]


def encode(publication: Publish | Deliver) -> str:
    """A message of a client, or of the server itself, as its receivers get it.

    Raises:
        TypeError: the payload cannot be written as JSON.
        LocalProtocolError: it holds a lone surrogate.
    """
    if publication.sender is None:
        return packets.from_server(publication.event, publication.payload)
    return packets.relayed(publication.event, publication.payload, publication.sender)


CLASSIC = Dialect(
    name="classic",
    parse=parse,
    said=said,
    receive=receive,
    encode=encode,
    error=packets.error,
)
