"""Nothing lost in silence: streams with positions, and sessions that outlive connections.

State machines for both ends, without I/O, clocks and randomness of their own; they know values
(`packets`), and not how these are written. docs/protocol.md.
"""

from . import packets
from .backplane import (
    Backplane,
    BackplaneError,
    Change,
    Fenced,
    Origin,
    Receipt,
    Roster,
    SavedSession,
    Top,
)
from .data import Data
from .feed import Feed
from .history import DEFAULT_HISTORY, Histories, History
from .memory import MemoryBackplane
from .positions import EVERYBODY, MAX_NUMBER, OWN, Position, channel_of, stream_of
from .replay import Start
from .rosters import RosterView
from .streams import FENCE_AGE, KEY_AGE, MAX_KEYS, Batch, Entry, Missing, Page

__all__ = [
    "DEFAULT_HISTORY",
    "EVERYBODY",
    "FENCE_AGE",
    "KEY_AGE",
    "MAX_KEYS",
    "MAX_NUMBER",
    "OWN",
    "Backplane",
    "BackplaneError",
    "Batch",
    "Change",
    "Data",
    "Entry",
    "Feed",
    "Fenced",
    "Histories",
    "History",
    "MemoryBackplane",
    "Missing",
    "Origin",
    "Page",
    "Position",
    "Receipt",
    "Roster",
    "RosterView",
    "SavedSession",
    "Start",
    "Top",
    "channel_of",
    "packets",
    "stream_of",
]
