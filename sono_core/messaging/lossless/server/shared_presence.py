"""Who is in a channel whose members are connected to several nodes.

Each node says of its own members whether they are present; a channel's roster, in the backplane, is
what all have said. A node looks at those rosters alone that somebody here watches or asks for.
"""

from collections import OrderedDict
from collections.abc import Callable, Collection
from functools import partial
from itertools import islice
from typing import Any

from sono_core.messaging.lossless import (
    Backplane,
    Change,
    Data,
    Position,
    Receipt,
    Roster,
    RosterView,
    packets,
    stream_of,
)

from .presence import Board, Members, Presence

SURVEY = 1.0
"""Seconds for which an answer of the backplane about all nodes is given again."""
NOTHING = Data.of(None)
"""The public data of a member that has none."""


class _Watched:
    """A roster that somebody watches here."""

    __slots__ = ("known", "view")

    def __init__(self, view: RosterView) -> None:
        self.view: RosterView = view
        self.known = 0  # members, before the last change


class SharedPresence(Presence):
    """As `Presence`, for several nodes.

    Args:
        backplane: has the rosters.
        clock: the time, in seconds.
        follow: follows a channel's stream; what it gives is done when changes are told. None: they
            are already.
        members, grace, most, size: see `Presence`; of this node's members.
    """

    def __init__(
        self,
        backplane: Backplane,
        clock: Callable[[], float],
        follow: Callable[[str], Receipt[Position] | None],
        members: Members,
        grace: float,
        most: int,
        size: int,
    ) -> None:
        super().__init__(members, grace, most, size)
        self._backplane = backplane
        self._clock = clock
        self._follow = follow
        # The last answers, and when they were asked for: it takes a while to find out.
        self._asked: OrderedDict[str, tuple[float, Receipt[Roster]]] = OrderedDict()
        self._moved: set[str] = set()  # members that go on at other nodes
        self._watched: dict[str, _Watched] = {}
        self._due: dict[str, None] = {}  # channels whose watchers are to be told everything

    # -- what happens to members of this node -----------------------------------------------------

    def _note(self, channel: str, member: str, before: bool, now: float) -> None:
        if member in self._members(channel) and member not in self._away:
            data = super()._seen(channel, member)
            size = data.size if data else 0
            # What it has shown on another node goes along.
            keep = data is None
            self._backplane.enter(stream_of(channel), member, data or NOTHING, size, keep=keep)
        elif member in self._moved:
            self._backplane.release(stream_of(channel), member)
        elif before:
            self._backplane.exit(stream_of(channel), member)

    def moved(self, member: str) -> None:
        """See `Presence.moved`."""
        super().moved(member)
        self._moved.add(member)

    def ended(self, member: str) -> None:
        """See `Presence.ended`."""
        super().ended(member)
        self._moved.discard(member)

    # -- what the backplane says of all -----------------------------------------------------------

    def changed(self, channel: str, change: Change) -> None:
        """It tells a change, in any order."""
        if watched := self._watched.get(channel):
            watched.view.arrived(change)

    def compared(self, channel: str, version: Position | None) -> None:
        """It says which version it has; call it every 10 s."""
        if watched := self._watched.get(channel):
            watched.view.check(version)

    # -- who is told ------------------------------------------------------------------------------

    def watch(self, channel: str, member: str) -> packets.Members | None:
        """See `Presence.watch`."""
        board = self._boards.setdefault(channel, Board())
        board.watchers[member] = None
        watched = self._watched.get(channel)
        if watched is None:
            view = RosterView(
                stream_of(channel),
                self._backplane,
                partial(self._on_change, channel),
                partial(self._on_roster, channel),
            )
            watched = self._watched[channel] = _Watched(view)
            begun = self._follow(channel)
            if begun is None:
                view.start()
            else:  # or changes in between would be missed
                begun.then(lambda _: view.start())
        return None if watched.view.version is None else self.snapshot(channel)

    def _forget(self, channel: str) -> None:
        super()._forget(channel)
        self._due.pop(channel, None)
        self._watched.pop(channel).view.stop()

    def _on_change(self, channel: str, change: Change) -> None:
        watched, board = self._watched[channel], self._boards[channel]
        number = len(watched.view.members)
        before = number == watched.known if change.present else number < watched.known
        watched.known = number
        self._change(channel, board, change.member, before, self._clock())

    def _on_roster(self, channel: str, roster: Roster) -> None:
        """Everything is known anew, so all watchers are told everything."""
        watched, board = self._watched[channel], self._boards[channel]
        watched.known = len(roster.members)
        board.before.clear()
        board.version += 1
        self._due[channel] = None
        self.noted()

    def ask(self, channel: str, most: int | None = None) -> Receipt[packets.Members]:
        """See `Presence.ask`."""
        watched = self._watched.get(channel)
        if watched and watched.view.version is not None:
            return Receipt.of(self.snapshot(channel, most))
        answer: Receipt[packets.Members] = Receipt()

        def told(receipt: Receipt[Roster]) -> None:
            if receipt.error is not None:
                answer.fail(receipt.error)
                return
            members = receipt.value.members
            shown = list(islice(members.items(), self._most if most is None else most))
            answer.complete(
                packets.Members(channel=channel, version=0, members=shown, count=len(members))
            )

        self._roster(channel).then(told)
        return answer

    def _roster(self, channel: str) -> Receipt[Roster]:
        now, asked = self._clock(), self._asked
        while asked and next(iter(asked.values()))[0] + SURVEY <= now:
            asked.popitem(last=False)
        if channel not in asked:
            asked[channel] = now, self._backplane.members(stream_of(channel))
        return asked[channel][1]

    def _here(self, channel: str) -> Collection[str]:
        watched = self._watched.get(channel)
        return watched.view.members if watched else ()

    def _seen(self, channel: str, member: str) -> Any:
        return self._watched[channel].view.members.get(member)

    # -- time -------------------------------------------------------------------------------------

    @property
    def deadline(self) -> float | None:
        """See `Presence.deadline`."""
        return 0.0 if self._due else super().deadline

    def tick(
        self, channels: Callable[[str], Collection[str]], now: float
    ) -> list[tuple[packets.Presence | packets.Members, list[str]]]:
        """See `Presence.tick`."""
        told: list[tuple[packets.Presence | packets.Members, list[str]]] = []
        for channel in self._due:
            board = self._boards[channel]
            board.before.clear()  # what was to be told is in the snapshot
            self._since.pop(channel, None)
            told.append((self.snapshot(channel), list(board.watchers)))
        self._due.clear()
        return told + super().tick(channels, now)
