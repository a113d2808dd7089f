"""Who is in a channel, for those who want to know. docs/protocol.md, sections 3 and 4.

A member is present while it has a connection, and for a grace period after it has lost one, so that
a client which comes back was never gone for others. Changes are told together: a crowd that arrives
at once is one packet, and who came and went in between is in none.
"""

from collections import OrderedDict
from collections.abc import Callable, Collection
from itertools import islice
from typing import Any

from sono_core.messaging.lossless import Change, Data, Position, Receipt, packets

COALESCE = 0.1
"""Seconds for which changes are collected before they are told."""

RECORD = 256
"""Bytes of memory that public data takes beside its own bytes, about."""

Members = Callable[[str], Collection[str]]


class Board:
    """What is told of one channel."""

    __slots__ = ("before", "version", "watchers")

    def __init__(self) -> None:
        self.version: int = 0
        self.watchers: dict[str, None] = {}
        self.before: dict[str, bool] = {}  # who may have changed, and whether it was present


class Presence:
    """Who is present in which channel, and who is told.

    Args:
        members: of a channel, present or not; none if there is no such channel.
        grace: seconds.
        most: members in a snapshot; those that entered last are left out.
        size: bytes that the public data of all may take.
    """

    def __init__(self, members: Members, grace: float, most: int, size: int) -> None:
        self._members = members
        self._grace = grace
        self._most = most
        self._size = size
        self.noted: Callable[[], object] = _nobody
        """Called when there is something to tell that will be due sooner than `deadline` said."""
        self.held: int = 0
        """Bytes of the public data of all."""
        self._boards: dict[str, Board] = {}  # of channels that somebody watches
        # The first of a dict is found in no time only if none was taken out before it.
        self._since: OrderedDict[str, float] = OrderedDict()  # with changes; when the first was
        self._data: dict[str, dict[str, Data]] = {}  # by member and channel
        # Members without a connection; when they are away.
        self._leaving: OrderedDict[str, float] = OrderedDict()
        self._away: set[str] = set()

    # -- what happens to members ------------------------------------------------------------------

    def entered(self, channel: str, member: str, now: float) -> None:
        """It is a member of the channel from now on."""
        self._note(channel, member, False, now)

    def left(self, channel: str, member: str, now: float) -> None:
        """It is none any more, and watches no longer."""
        present = member not in self._away
        self.unwatch(channel, member)
        if mine := self._data.get(member):
            if data := mine.pop(channel, None):
                self.held -= _charge(data)
            if not mine:
                del self._data[member]
        self._note(channel, member, present, now)

    def present(self, channel: str, member: str, data: Data, now: float) -> bool:
        """Set what others see of it in a channel that it is a member of; False if all take too
        much."""
        before = self._data.get(member, {}).get(channel)
        added = _charge(data) - (_charge(before) if before else 0)
        if added > 0 and self.held + added > self._size:
            return False
        self.held += added
        self._data.setdefault(member, {})[channel] = data
        if member not in self._away:
            self._note(channel, member, True, now)
        return True

    def suspended(self, member: str, now: float) -> None:
        """It has lost its connection; nothing changes if it had none."""
        if member not in self._away:
            self._leaving.setdefault(member, now + self._grace)

    def resumed(self, member: str, channels: Collection[str], now: float) -> None:
        """It has a connection again."""
        self._leaving.pop(member, None)
        if member in self._away:
            self._away.remove(member)
            for channel in channels:
                self._note(channel, member, False, now)

    def moved(self, member: str) -> None:
        """It is about to leave all its channels here, as it goes on at another node: nobody is told
        that it went."""
        self._leaving.pop(member, None)
        self._away.add(member)

    def ended(self, member: str) -> None:
        """It has left all its channels for good."""
        self._leaving.pop(member, None)
        self._away.discard(member)
        for data in self._data.pop(member, {}).values():
            self.held -= _charge(data)

    def changed(self, channel: str, change: Change) -> None:
        """The backplane tells who came or went on any node; with one node it has no rosters."""

    def compared(self, channel: str, version: Position | None) -> None:
        """It tells which version of a roster it has."""

    # -- who is told ------------------------------------------------------------------------------

    def watch(self, channel: str, member: str) -> packets.Members | None:
        """Tell a member of changes from now on; what is so far is in the answer. None: `tick` will
        tell it that."""
        board = self._boards.setdefault(channel, Board())
        board.watchers[member] = None
        return self.snapshot(channel)

    def unwatch(self, channel: str, member: str) -> None:
        """Tell it no more; nothing happens if it was not told."""
        board = self._boards.get(channel)
        if board and member in board.watchers:
            del board.watchers[member]
            if not board.watchers:
                self._forget(channel)

    def _forget(self, channel: str) -> None:
        del self._boards[channel]
        self._since.pop(channel, None)

    def ask(self, channel: str, most: int | None = None) -> Receipt[packets.Members]:
        """As `snapshot`; it may have to be asked elsewhere."""
        return Receipt.of(self.snapshot(channel, most))

    def snapshot(self, channel: str, most: int | None = None) -> packets.Members:
        """Who is present, as the packet that says so.

        Args:
            most: members in it; None: as many as packets may have.
        """
        most = self._most if most is None else most
        board = self._boards.get(channel)
        here = self._here(channel)
        if board:  # who is shown here and goes before the next change is told must be in that
            board.before.update((member, True) for member in here if member in board.before)
        return packets.Members(
            channel=channel,
            version=board.version if board else 0,
            members=[(member, self._seen(channel, member)) for member in islice(here, most)],
            count=len(here),
        )

    # -- time -------------------------------------------------------------------------------------

    @property
    def deadline(self) -> float | None:
        """When `tick` has something to do; None if nothing is to come."""
        away = next(iter(self._leaving.values())) if self._leaving else None
        if not self._since:
            return away
        told = next(iter(self._since.values())) + COALESCE
        return told if away is None else min(told, away)

    def tick(
        self, channels: Callable[[str], Collection[str]], now: float
    ) -> list[tuple[packets.Presence | packets.Members, list[str]]]:
        """What is to be told now, and whom.

        Args:
            channels: of a member.
        """
        while self._leaving:
            member, until = next(iter(self._leaving.items()))
            if until > now:
                break
            del self._leaving[member]
            self._away.add(member)
            for channel in channels(member):
                self._note(channel, member, True, now)
        due = [channel for channel, since in self._since.items() if since + COALESCE <= now]
        return [told for channel in due if (told := self._told(channel))]

    def _told(self, channel: str) -> tuple[packets.Presence | packets.Members, list[str]] | None:
        del self._since[channel]
        board = self._boards[channel]
        here = self._here(channel)
        entered, gone = [], []
        for member, before in board.before.items():
            if member in here:
                entered.append((member, self._seen(channel, member)))
            elif before:
                gone.append(member)
        board.before.clear()
        if not (entered or gone):
            return None
        board.version += 1
        packet = packets.Presence(
            channel=channel,
            version=board.version,
            count=len(here),
            entered=entered,
            gone=gone,
        )
        return packet, list(board.watchers)

    def _here(self, channel: str) -> Collection[str]:
        """Who is present; it is quick to see whether somebody is among them."""
        return dict.fromkeys(
            member for member in self._members(channel) if member not in self._away
        )

    def _seen(self, channel: str, member: str) -> Any:
        return self._data.get(member, {}).get(channel)

    def _note(self, channel: str, member: str, before: bool, now: float) -> None:
        """Whether it is present, or what others see of it, has changed.

        Args:
            before: whether it was present.
        """
        board = self._boards.get(channel)
        if board:
            self._change(channel, board, member, before, now)

    def _change(self, channel: str, board: Board, member: str, before: bool, now: float) -> None:
        board.before.setdefault(member, before)
        if channel not in self._since:
            self._since[channel] = now
            self.noted()


def _nobody() -> None:
    """Nobody wants to know."""


def _charge(data: Data) -> int:
    return RECORD + data.size
