"""Channels and clients: who receives what, and how fast one client may send."""

from .hub import Deliver, Effect, Hub, Publish
from .ratelimit import RateLimiter

__all__ = ["Deliver", "Effect", "Hub", "Publish", "RateLimiter"]
