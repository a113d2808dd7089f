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
from .delivery import UNAVAILABLE, unknown_client
from .identities import ENDED, EXPIRES_AT, Terms, same
from .node import Host, Node, Settings
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
    "Presence",
    "Questions",
    "Session",
    "Sessions",
    "Settings",
    "Terms",
    "TooManyRequests",
    "Work",
    "same",
    "unknown_client",
]
