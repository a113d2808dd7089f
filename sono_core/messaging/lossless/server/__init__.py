"""The server's side: sessions that outlive connections, and what was asked in them."""

from .conversation import (
    Answer,
    Authorise,
    Conversation,
    Do,
    Enumerate,
    Hear,
    Identify,
    Work,
)
from .failures import UNAVAILABLE, unknown_client
from .identities import ENDED, EXPIRES_AT, Terms, author_of, same, written
from .node import Host, Node, Settings
from .orders import Order
from .presence import Presence
from .questions import Questions, TooManyRequests
from .sessions import Bounds, Numbering, Session, Sessions

__all__ = [
    "ENDED",
    "EXPIRES_AT",
    "UNAVAILABLE",
    "Answer",
    "Authorise",
    "Bounds",
    "Conversation",
    "Do",
    "Enumerate",
    "Hear",
    "Host",
    "Identify",
    "Node",
    "Numbering",
    "Order",
    "Presence",
    "Questions",
    "Session",
    "Sessions",
    "Settings",
    "Terms",
    "TooManyRequests",
    "Work",
    "author_of",
    "same",
    "unknown_client",
    "written",
]
