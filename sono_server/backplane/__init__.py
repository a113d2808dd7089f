"""What lets several processes serve as one: a backplane that they share. docs/scaling.md."""

from .choice import ENVIRONMENT, MEMORY, opened
from .envelopes import Envelopes
from .errors import TooLargeError, UnreadableError, UnusableError

__all__ = [
    "ENVIRONMENT",
    "MEMORY",
    "Envelopes",
    "TooLargeError",
    "UnreadableError",
    "UnusableError",
    "opened",
]
