"""The mirror of a channel's members: snapshots, and changes in order. docs/protocol.md, 4.8.

Versions count the changes. A change that comes before the snapshot, or after one that was missed,
is held until a snapshot says which of those that are held are newer.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import msgspec

from sono_core.messaging.lossless.packets import Members, Presence

from .limits import ClientLimits
from .told import PresenceChanged


class Mirror:
    """Who is in a channel, as far as is known.

    Args:
        channel: its name.
        limits: `max_members` and `max_held`.
    """

    __slots__ = (
        "_current",
        "_held",
        "_limits",
        "_version",
        "asking",
        "channel",
        "count",
        "members",
        "wanting",
        "watched",
    )

    def __init__(self, channel: str, limits: ClientLimits) -> None:
        self.channel: str = channel
        self._limits = limits
        self.members: dict[str, Any] = {}
        """Their public data, by id."""
        self.count: int = 0
        """Of all members, also those that are not kept."""
        self.wanting: bool = False
        """Whether a snapshot has to be asked for."""
        self.asking: bool = False
        """Whether one is asked for."""
        self.watched: bool = False
        """Whether the server knows that the client wants to be told."""
        self._version = 0  # of the members
        self._current = False  # whether they are the snapshot and all changes since
        self._held: list[Presence] = []

    def expect(self) -> None:
        """A snapshot will come, because the server has to send one."""
        self._current = self.wanting = False

    def lapse(self) -> None:
        """Changes may have been missed."""
        self._current = False
        self.wanting = True

    def snapshot(
        self, members: Iterable[tuple[str, Any]], count: int, version: int
    ) -> list[PresenceChanged]:
        """Take a snapshot, and the newer ones of the changes that were held.

        Returns:
            What is different from what was known.
        """
        if self._current and version < self._version:
            return []
        before, self.members = self.members, {}
        entered = []
        for member, data in members:
            self._keep(member, data)
            if member not in before or before[member] != data:
                entered.append((member, data))
        gone = [member for member in before if member not in self.members]
        self._version = version
        self._current = True
        self.wanting = False
        changes = []
        if entered or gone or count != self.count:
            changes.append(PresenceChanged(self.channel, count, entered, gone))
        self.count = count
        held, self._held = self._held, []
        for presence in held:
            changes += self.change(presence)
        return changes

    def change(self, presence: Presence) -> list[PresenceChanged]:
        """Take a change, if it is the next one; hold it, if it may be later.

        Returns:
            What is different now.
        """
        if self._current:
            if presence.version <= self._version:
                return []
            if presence.version != self._version + 1:
                self.lapse()
        if not self._current:
            self._hold(presence)
            return []
        self._version = presence.version
        self.count = presence.count
        for member in presence.gone:
            self.members.pop(member, None)
        for member, data in presence.entered:
            self._keep(member, data)
        return [PresenceChanged(self.channel, presence.count, presence.entered, presence.gone)]

    def _keep(self, member: str, data: Any) -> None:
        if member in self.members or len(self.members) < self._limits.max_members:
            self.members[member] = data

    def _hold(self, presence: Presence) -> None:
        if (
            len(self._held) >= self._limits.max_held
        ):  # the snapshot will not fit to those that follow
            self._held.clear()
        self._held.append(presence)


class Snapshot(msgspec.Struct, frozen=True):
    """The result of `sono.members`."""

    members: list[tuple[str, Any]]
    count: int
    version: int


class Mirrors:
    """The mirrors of all channels whose presence the application wants.

    Args:
        limits: what each keeps.
        tell: tells the application a change.
        ask: asks the server for a snapshot of a channel.
    """

    __slots__ = ("_ask", "_limits", "_mirrors", "_tell")

    def __init__(
        self,
        limits: ClientLimits,
        *,
        tell: Callable[[PresenceChanged], None],
        ask: Callable[[str], None],
    ) -> None:
        self._limits = limits
        self._tell = tell
        self._ask = ask
        self._mirrors: dict[str, Mirror] = {}

    def __iter__(self) -> Iterator[Mirror]:
        return iter(self._mirrors.values())

    def members(self, channel: str) -> dict[str, Any]:
        """The members that are known."""
        mirror = self._mirrors.get(channel)
        return dict(mirror.members) if mirror else {}

    def add(self, channel: str) -> None:
        """Mirror a channel, from a snapshot on that will come."""
        if channel not in self._mirrors:
            self._mirrors[channel] = Mirror(channel, self._limits)

    def watch(self, channel: str) -> None:
        """The server knows that the client wants to be told."""
        if channel not in self._mirrors:  # it went with a former membership
            self.add(channel)
            self.lapse(channel)
        self._mirrors[channel].watched = True

    def give_up(self, channel: str) -> None:
        """A join has failed; but another may have succeeded."""
        mirror = self._mirrors.get(channel)
        if mirror is not None and not mirror.watched:
            self.remove(channel)

    def remove(self, channel: str) -> None:
        """Mirror it no longer."""
        self._mirrors.pop(channel, None)

    def clear(self) -> None:
        """Mirror nothing any more."""
        self._mirrors.clear()

    def lapse(self, channel: str) -> None:
        """Changes of a channel may have been missed."""
        mirror = self._mirrors.get(channel)
        if mirror is not None:
            mirror.lapse()
            self._ask_for(mirror)

    def take_members(self, members: Members) -> None:
        """Take a snapshot."""
        self._take_snapshot(members.channel, members.members, members.count, members.version)

    def take_answer(self, channel: str, snapshot: Snapshot | None) -> None:
        """Take what came of asking: None if there is no snapshot, but it may be on its way."""
        mirror = self._mirrors.get(channel)
        if mirror is not None:
            mirror.asking = False
        if snapshot is not None:
            self._take_snapshot(channel, snapshot.members, snapshot.count, snapshot.version)

    def _take_snapshot(
        self, channel: str, members: list[tuple[str, Any]], count: int, version: int
    ) -> None:
        mirror = self._mirrors.get(channel)
        if mirror is not None:
            self._note(mirror, mirror.snapshot(members, count, version))

    def take_presence(self, presence: Presence) -> None:
        """Take a change."""
        mirror = self._mirrors.get(presence.channel)
        if mirror is not None:
            self._note(mirror, mirror.change(presence))

    def _note(self, mirror: Mirror, changes: list[PresenceChanged]) -> None:
        for change in changes:
            self._tell(change)
        self._ask_for(mirror)

    def _ask_for(self, mirror: Mirror) -> None:
        """Ask for a snapshot, once until the answer comes."""
        if mirror.wanting and not mirror.asking:
            mirror.asking = True
            self._ask(mirror.channel)
