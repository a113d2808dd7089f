"""What a node keeps of a session beside it, and the order in which its client hears of changes."""

from collections.abc import Callable
from functools import partial
from typing import Any

from sono_core.messaging.lossless import Position, Receipt

from .questions import Questions
from .sessions import Session


class Kept:
    """What a node keeps of a session beside it: of most sessions no more than this object."""

    __slots__ = (
        "changes",
        "latest",
        "questions",
        "saved_changes",
        "saving",
        "session",
        "turns",
        "untold",
        "watched",
    )

    def __init__(self, session: Session) -> None:
        self.session: Session = session
        self.questions: Questions | None = None  # once it is asked something
        self.watched: dict[str, None] | None = None  # channels whose members it wants to know
        self.turns: tuple[Turn, ...] = ()  # changes of its memberships that wait to be told
        self.latest: Receipt[Any] | None = None  # of the last one that was
        self.untold: tuple[tuple[Callable[[], Receipt[Any]], Receipt[Any]], ...] = ()
        """What it is told when it has been saved."""
        self.saving: int = 0
        """How often it is just being saved: what it is told meanwhile comes behind that."""
        self.changes: int = 0
        """How often its memberships have changed, or what it wants to know of their members."""
        self.saved_changes: int = 0
        """Up to which of these changes another node would find."""

    def knows_all(self, at: Position | None) -> bool:
        """Whether a client that is there in its own stream has heard of all those changes."""
        if self.turns:
            return False
        latest = self.latest
        if latest is None:
            return True
        if at is None or not latest.done or latest.error is not None:
            return False
        told: Position | None = latest.value  # None: it was not told, as another node has it
        return told is not None and told.epoch == at.epoch and told.offset <= at.offset


class Turn:
    """A change of a session's memberships: it hears of them in order, whenever the backplane
    answers."""

    __slots__ = ("_change", "_kept", "_tell")

    def __init__(self, kept: Kept) -> None:
        self._tell: Callable[..., Receipt[Any]] | None = None
        self._kept = kept
        self._change = kept.changes
        kept.turns += (self,)

    def come(self, tell: Callable[..., Receipt[Any]]) -> None:
        """It is known what to tell; it is told when it is its turn.

        Args:
            tell: takes the number of the change.
        """
        self._tell = partial(tell, change=self._change)
        kept = self._kept
        while kept.turns and (first := kept.turns[0]._tell):
            kept.turns = kept.turns[1:]
            kept.latest = first()
