"""What the tests of `Sono` send and receive."""

from __future__ import annotations

import json
from typing import Any

from tests.helpers import Peer
from tests.servers import Wire


def message(text: object, event: str = "message") -> dict[str, Any]:
    """A client's message to its channel."""
    return {"protocol": "message", "event": event, "payload": {"message": text}}


def move(channel: str) -> dict[str, Any]:
    return {"protocol": "changeChannel", "payload": {"to": channel}}


def payloads(peer: Peer) -> list[Any]:
    """The messages in the packets since the last call."""
    return [packet["payload"] for packet in peer.take()]


def packet(wire: Wire) -> Any:
    return json.loads(wire.message())
