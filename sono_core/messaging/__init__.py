"""Channels and clients: who receives what, in which dialect, and how fast one client may send."""

from .dialect import CHANNELS, MEMBERS, Content, Dialect, Reply, size_of
from .hub import Deliver, Effect, Hub, MessagingError, Publish
from .names import RESERVED_EVENTS, check_channel, check_event, check_name
from .patterns import matcher
from .ratelimit import RateLimiter, SharedTurn

__all__ = [
    "CHANNELS",
    "MEMBERS",
    "RESERVED_EVENTS",
    "Content",
    "Deliver",
    "Dialect",
    "Effect",
    "Hub",
    "MessagingError",
    "Publish",
    "RateLimiter",
    "Reply",
    "SharedTurn",
    "check_channel",
    "check_event",
    "check_name",
    "matcher",
    "size_of",
]
