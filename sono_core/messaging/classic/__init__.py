"""The classic dialect of the Sono protocol: one JSON object per text frame."""

from . import client, packets
from .client import Callback, ClientState, Incoming, Listing
from .packets import (
    Broadcast,
    ChangeChannel,
    DirectMessage,
    Grab,
    Message,
    Packet,
    PacketError,
)
from .server import CLASSIC

__all__ = [
    "CLASSIC",
    "Broadcast",
    "Callback",
    "ChangeChannel",
    "ClientState",
    "DirectMessage",
    "Grab",
    "Incoming",
    "Listing",
    "Message",
    "Packet",
    "PacketError",
    "client",
    "packets",
]
