"""What lets several processes serve as one: a backplane that they share. docs/scaling.md."""

from .async_publisher import AsyncPublisher
from .choice import ENVIRONMENT, MEMORY, opened
from .envelopes import Envelopes
from .errors import TooLargeError, UnreadableError, UnusableError
from .publisher import Publisher

__all__ = [
    "ENVIRONMENT",
    "MEMORY",
    "AsyncPublisher",
    "Envelopes",
    "Publisher",
    "TooLargeError",
    "UnreadableError",
    "UnusableError",
    "opened",
]
