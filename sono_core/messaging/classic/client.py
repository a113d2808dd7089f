"""A Sono client without its I/O: the packets that it sends, and the meaning of answers.

RFC 6455, section 3 (URIs); docs/protocol.md (classic dialect).
"""

from collections import deque
from collections.abc import Callable
from typing import Any

import msgspec

from sono_core.arguments import require_callable

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


class Incoming(msgspec.Struct, frozen=True):
    """An event from the server, with everything that its payload held."""

    event: str
    payload: Any


class PendingGrab:
    """A question that waits for its answer."""

    __slots__ = ("items", "kind")

    def __init__(self, kind: str) -> None:
        self.kind: str = kind
        self.items: list[str] | None = None
        """The answer, once it has come."""


class _FromServer(msgspec.Struct):
    protocol: str
    payload: dict[str, Any]


_decode = msgspec.json.Decoder(_FromServer).decode


class ClientState:
    """A client's state beside its connection: callbacks, open questions, the current channel."""

    def __init__(self) -> None:
        self._callbacks: dict[str, list[Callback]] = {}
        self._pending: dict[str, deque[PendingGrab]] = {}
        self._channel: str | None = None  # where it last asked to be

    def change_channel(self, name: str) -> str:
        """The packet that asks to be moved to a channel. Raises as `message`."""
        packet = change_channel(name)
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
        return [] if self._channel is None else [change_channel(self._channel)]

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
                waiting.popleft().items = items
        return Incoming(packet.protocol, payload)

    def grab(self, kind: str) -> tuple[PendingGrab, str]:
        """A question, to be checked after each `receive`, and the packet that asks it.

        Raises:
            TypeError: `kind` is not a str.
            LocalProtocolError: it holds a lone surrogate.
        """
        _require_str(kind, "kind")
        pending = PendingGrab(kind)
        packet = packets.dump(Grab(GrabPayload(kind)), kind)
        self._pending.setdefault(kind, deque()).append(pending)
        return pending, packet


def message(content: object, event: str = "message") -> str:
    """The packet that says something to everybody in the channel, oneself included.

    Raises:
        TypeError: `content` cannot be written as JSON, or `event` is not a str.
        ValueError: the event's name is reserved or illegal.
        LocalProtocolError: `content` holds a lone surrogate.
    """
    return packets.dump(Message(MessagePayload(content), packets.own_event(event)), content)


def broadcast(content: object, event: str = "message") -> str:
    """As `message`, but not to oneself."""
    return packets.dump(Broadcast(MessagePayload(content), packets.own_event(event)), content)


def direct_message(content: object, to: str, event: str = "message") -> str:
    """As `message`, but to one client, in any channel."""
    _require_str(to, "to")
    event = packets.own_event(event)
    return packets.dump(DirectMessage(DirectPayload(content, to), event), content)


def change_channel(name: str) -> str:
    """The packet that asks to be moved to a channel. Raises as `message`."""
    _require_str(name, "name")
    return packets.dump(ChangeChannel(ChannelPayload(name)), name)


def _require_str(value: object, what: str) -> None:
    if not isinstance(value, str):
        raise TypeError(f"{what} must be a str, not {type(value).__name__}")
