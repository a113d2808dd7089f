"""A client's position in one stream, and what becomes of an entry. docs/protocol.md, 2.4 to 2.8."""

import enum

from sono_core.messaging.lossless import Position


class Verdict(enum.Enum):
    """What to do with an entry."""

    TAKE = "take it"
    NEW_LIFE = "tell a gap of unknown extent, and take it"
    ASK = "drop it, and read again from the position"
    DROP = "drop it"


class Cursor:
    """A position, which entries and gaps move on.

    Args:
        at: where it begins.
        late: whether the stream began before, and a packet that is to come says where.
    """

    __slots__ = ("at", "origin")

    def __init__(self, at: Position, *, late: bool = False) -> None:
        self.at: Position = at
        self.origin: Position | None = at if late else None
        """Where a late one began, until that packet has come."""

    def take(self, at: Position) -> Verdict:
        """What to do with an entry; the position moves if it is taken."""
        here = self.at
        if at.offset < 1:  # there is no such entry
            return Verdict.DROP
        if at.epoch != here.epoch:
            self.at = at
            return Verdict.NEW_LIFE
        if at.offset == here.offset + 1:
            self.at = at
            return Verdict.TAKE
        return Verdict.ASK if at.offset > here.offset else Verdict.DROP


def is_behind(here: Position, there: Position) -> bool:
    """Whether a position is certainly an earlier one than another."""
    return here.epoch == there.epoch and here.offset < there.offset


def is_ahead(here: Position, there: Position) -> bool:
    """Whether a client that is here may not have been there yet."""
    return here.epoch != there.epoch or here.offset < there.offset


def first_missing(here: Position, there: Position) -> int | None:
    """The offset of the first entry between two positions; None if the extent is not known."""
    return here.offset + 1 if is_behind(here, there) else None
