"""Channels and clients: who receives what, in which dialect, and how fast one client may send."""

from .dialect import Content, Dialect, Reply
from .hub import Deliver, Effect, Hub, MessagingError, Publish
from .names import RESERVED_EVENTS, check_event, check_name
from .ratelimit import RateLimiter

__all__ = [
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
    "check_event",
    "check_name",
]
