"""A Sono client without its I/O: the packets that it sends, and the meaning of answers.

RFC 6455, section 3 (URIs); docs/protocol.md (classic dialect).
"""

from collections import deque
from collections.abc import Callable, Iterable
from typing import Any

import msgspec

from sono_core.arguments import require_callable, require_type
from sono_core.errors import LocalProtocolError
from sono_core.limits import DEFAULT_LIMITS, Limits
from sono_core.quoting import Discreet

from . import packets
from .packets import (
    Broadcast,
    ChangeChannel,
    ChannelPayload,
    DirectMessage,
    DirectPayload,
    Grab,
    GrabPayload,
    Message,
    MessagePayload,
)

Callback = Callable[[Any], object]


class Incoming(Discreet, frozen=True):
    """An event from the server, with everything that its payload held."""

    event: str
    payload: Any

    def shown(self) -> Iterable[tuple[str, object]]:
        """See `Discreet`."""
        yield "event", self.event


class Listing(list[str]):
    """The names that were asked for. Two are equal if the names are."""

    truncated: bool = False
    """Whether the server left some out, because there were too many."""


class PendingGrab:
    """A question that waits for its answer."""

    __slots__ = ("items", "kind")

    def __init__(self, kind: str) -> None:
        self.kind: str = kind
        self.items: Listing | None = None
        """The answer, once it has come."""


class _FromServer(msgspec.Struct):
    protocol: str
    payload: dict[str, Any]


_decode = msgspec.json.Decoder(_FromServer).decode


class ClientState:
    """A client's state beside its connection: callbacks, open questions, the current channel.

    Args:
        limits: what the server accepts: `max_name`, `max_depth`, `max_containers`, `max_message`.
    """

    def __init__(self, limits: Limits = DEFAULT_LIMITS) -> None:
        self._limits = limits
        self._callbacks: dict[str, list[Callback]] = {}
        self._pending: dict[str, deque[PendingGrab]] = {}
        self._channel: str | None = None  # where it last asked to be

    def change_channel(self, name: str) -> str:
        """The packet that asks to be moved to a channel. Raises as `message`."""
        packet = change_channel(name, self._limits)
        self._channel = name
        return packet

    @property
    def asking(self) -> bool:
        """Whether a question waits for its answer."""
        return any(self._pending.values())

    def returned(self) -> list[str]:
        """The packets to send first on a connection that replaces a lost one.

        Questions asked on the lost connection are forgotten.
        """
        self._pending.clear()
        return [] if self._channel is None else [change_channel(self._channel, self._limits)]

    def on(self, event: str, callback: Callback) -> None:
        """Call back with the payload of each event of that name; callbacks add up.

        Raises:
            TypeError: the callback cannot be called.
        """
        require_callable("callback", callback)
        self._callbacks.setdefault(event, []).append(callback)

    def off(self, event: str, callback: Callback | None = None) -> None:
        """Take one callback back, or all of an event; nothing happens if there is none."""
        if callback is None:
            self._callbacks.pop(event, None)
        elif callback in self._callbacks.get(event, ()):
            self._callbacks[event].remove(callback)

    def callbacks(self, event: str) -> list[Callback]:
        """The callbacks of an event, in the order of their registration."""
        return list(self._callbacks.get(event, ()))

    def receive(self, message: str | bytes) -> Incoming | None:
        """Take a message of the server: an event to call back for, or None.

        A listing also answers the oldest question of its kind. Anything but a packet is ignored.
        """
        if not isinstance(message, str):
            return None
        try:
            packet = _decode(message)
        except (msgspec.DecodeError, RecursionError, UnicodeError, ValueError):
            return None
        payload = packet.payload
        kind, items = payload.get("type"), payload.get("message")
        if packet.protocol == packets.GRAB and isinstance(kind, str) and isinstance(items, list):
            waiting = self._pending.get(kind)
            if waiting:
                listing = Listing(items)
                listing.truncated = payload.get("truncated") is True
                waiting.popleft().items = listing
        return Incoming(packet.protocol, payload)

    def grab(self, kind: str) -> tuple[PendingGrab, str]:
        """A question, to be checked after each `receive`, and the packet that asks it.

        Raises:
            TypeError: `kind` is not a str.
            LocalProtocolError: it holds a lone surrogate, or is too long.
        """
        require_type("kind", kind, str)
        _require_pairs("kind", kind)
        pending = PendingGrab(kind)
        packet = packets.dump(Grab(GrabPayload(kind)), kind, self._limits)
        self._pending.setdefault(kind, deque()).append(pending)
        return pending, packet


def message(content: object, event: str = "message", limits: Limits = DEFAULT_LIMITS) -> str:
    """The packet that says something to everybody in the channel, oneself included.

    Raises:
        TypeError: `content` cannot be written as JSON, or `event` is not a str.
        ValueError: the event's name is reserved or illegal.
        LocalProtocolError: a server with these limits refuses `content`; see `packets.dump`.
    """
    packet = Message(MessagePayload(content), packets.own_event(event, limits))
    return packets.dump(packet, content, limits, grows=_MESSAGE_GROWS)


def broadcast(content: object, event: str = "message", limits: Limits = DEFAULT_LIMITS) -> str:
    """As `message`, but not to oneself."""
    packet = Broadcast(MessagePayload(content), packets.own_event(event, limits))
    return packets.dump(packet, content, limits, grows=_BROADCAST_GROWS)


def direct_message(
    content: object, to: str, event: str = "message", limits: Limits = DEFAULT_LIMITS
) -> str:
    """As `message`, but to one client, in any channel."""
    require_type("to", to, str)
    _require_pairs("to", to)
    packet = DirectMessage(DirectPayload(content, to), packets.own_event(event, limits))
    return packets.dump(packet, content, limits)


def change_channel(name: str, limits: Limits = DEFAULT_LIMITS) -> str:
    """The packet that asks to be moved to a channel.

    Raises:
        TypeError: `name` is not a str.
        ValueError: it is not a channel's name.
    """
    packet = ChangeChannel(ChannelPayload(packets.own_channel(name, limits)))
    return packets.dump(packet, name, limits)


def _require_pairs(what: str, text: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise LocalProtocolError(f"{what} holds a lone surrogate") from None


def _growth(kind: type[Message] | type[Broadcast]) -> int:
    """By how much a packet grows when the server passes it on, with the sender's id."""
    sent = packets.dump(kind(MessagePayload(None), "e"), None)
    return len(packets.relayed("e", None, "x" * _ID)) - len(sent)


_ID = 16  # characters of a client's id on Sono's servers
_MESSAGE_GROWS = _growth(Message)
_BROADCAST_GROWS = _growth(Broadcast)
