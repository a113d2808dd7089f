"""A node's view of who is present in one channel, kept up by changes that may be lost."""

from collections.abc import Callable
from typing import Any

from .backplane import Backplane, Change, Receipt, Roster
from .positions import Position

_MOST = 256
"""Changes that wait for those before them. Beyond that the roster is asked for, as it is anyway."""


class RosterView:
    """Follows a roster: applies each change once and in order, and asks anew if one was missed.

    Give `arrived` to the subscription of the stream before calling `start`.

    Args:
        stream: the name of the channel's stream.
        backplane: is asked for the roster.
        on_change: is told the change that follows what was told before.
        on_roster: is told everything, at first and when a change was missed.
    """

    __slots__ = (
        "_again",
        "_asking",
        "_backplane",
        "_busy",
        "_early",
        "_on_change",
        "_on_roster",
        "_owed",
        "_stopped",
        "_stream",
        "members",
        "version",
    )

    def __init__(
        self,
        stream: str,
        backplane: Backplane,
        on_change: Callable[[Change], object],
        on_roster: Callable[[Roster], object],
    ) -> None:
        self.version: Position | None = None
        """Of what was told last; None before that."""
        self.members: dict[str, Any] = {}
        """Public data by id."""
        self._stream = stream
        self._backplane = backplane
        self._on_change = on_change
        self._on_roster = on_roster
        self._early: dict[Position, Change] = {}
        self._busy = False  # whether something is being told
        self._asking = False
        self._again = False  # whether to ask again after that
        self._owed = False  # whether asking has failed
        self._stopped = False

    def start(self) -> None:
        """Ask for the roster."""
        self._ask()

    def stop(self) -> None:
        """Tell nothing any more."""
        self._stopped = True
        self._early.clear()

    def arrived(self, change: Change) -> None:
        """The backplane tells a change, in any order."""
        at, version = change.version, self.version
        if self._stopped or at in self._early:
            return
        if version is not None and at.epoch == version.epoch and at.offset <= version.offset:
            return
        if len(self._early) < _MOST:
            self._early[at] = change
        self._go_on()
        if (self._early or self._again) and not self._busy:
            self._ask()

    def check(self, version: Position | None) -> None:
        """Compare with the backplane's version, and ask if it is ahead. Call it every 10 s.

        Args:
            version: `Top.roster`.
        """
        ours = self.version
        if version is None or ours is None:
            differs = version is not ours
        else:
            differs = version.epoch != ours.epoch or version.offset > ours.offset
        if differs or self._early or self._owed:
            self._ask()

    def _ask(self) -> None:
        self._again = True
        while self._again and not self._asking and not self._busy and not self._stopped:
            self._again = self._owed = False
            self._asking = True
            self._backplane.members(self._stream).then(self._answered)

    def _answered(self, receipt: Receipt[Roster]) -> None:
        self._asking = False
        if self._stopped:
            return
        if self._busy:
            self._again = True  # what it says may be known when that has been told
            return
        if receipt.error is not None:
            self._again = False
            self._owed = True
            return
        self._take(receipt.value)
        if self._again:
            self._ask()

    def _take(self, roster: Roster) -> None:
        at, version = roster.version, self.version
        if version is None or at.epoch != version.epoch or at.offset > version.offset:
            self.version = at
            self.members = dict(roster.members)
            self._tell(self._on_roster, roster)
        self._early = {
            early: change
            for early, change in self._early.items()
            if early.epoch == at.epoch and early.offset > at.offset
        }
        self._go_on()

    def _go_on(self) -> None:
        """Apply what follows."""
        while not self._busy and not self._stopped and self.version is not None:
            following = Position(self.version.epoch, self.version.offset + 1)
            change = self._early.pop(following, None)
            if change is None:
                return
            self.version = following
            if change.present:
                self.members[change.member] = change.data
            else:
                self.members.pop(change.member, None)
            self._tell(self._on_change, change)

    def _tell(self, tell: Callable[[Any], object], what: Any) -> None:
        self._busy = True
        try:
            tell(what)
        finally:
            self._busy = False
