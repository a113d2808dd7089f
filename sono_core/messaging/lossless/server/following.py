"""The streams that a node follows, and the members that are behind in them."""

from collections.abc import Callable, Collection, Iterable, Sequence
from functools import partial
from typing import Any, Protocol

from sono_core.errors import SonoError
from sono_core.messaging.lossless import (
    OWN,
    Backplane,
    Change,
    Entry,
    Feed,
    Missing,
    Position,
    Receipt,
    Start,
    Top,
)

CHECK = 10.0
"""Seconds between two comparisons with the backplane's tops."""


class Listener(Protocol):
    """Who is told what happens in streams; names are the backplane's."""

    def delivered(self, name: str, entry: Entry, behind: Collection[str]) -> None:
        """An entry is for all members but those that are behind."""

    def told(self, name: str, body: Any) -> None:
        """So is something volatile."""

    def changed(self, name: str, change: Change) -> None:
        """So is who came or went; it may come twice, late, in another order, or never."""

    def compared(self, name: str, top: Top) -> None:
        """This is how far a stream is; it is asked about every 10 s."""

    def missed(self, name: str, missing: Missing, behind: Collection[str]) -> None:
        """So is a gap."""

    def replayed(self, name: str, member: str, item: Entry | Missing) -> bool:
        """This is for a member that is behind; False if it has no room for more."""


class _Audience:
    """The followers of one stream; see `Audience`."""

    __slots__ = ("_following", "_name", "behind")

    def __init__(self, following: "Following", name: str) -> None:
        self.behind: Collection[str] = ()
        """The feed's members that are behind; it is always the same dict."""
        self._following = following
        self._name = name

    def deliver(self, entry: Entry) -> None:
        self._following.listener.delivered(self._name, entry, self.behind)

    def gap(self, missing: Missing) -> None:
        self._following.listener.missed(self._name, missing, self.behind)

    def replay(self, member: str, items: Sequence[Entry | Missing], caught_up: bool) -> None:
        self._following.replay(self._name, member, items, caught_up)


class Overtaken(SonoError):  # noqa: N818 - it never leaves the package
    """A member no longer waits to begin: it has left, or begins anew."""


class _Place:
    """A member that is behind in a stream."""

    __slots__ = ("after", "forgotten", "receipt", "told")

    def __init__(self) -> None:
        self.receipt: Receipt[Start] = Receipt()
        self.forgotten = False
        """Whether it has lost its connection, and will not go on from there."""
        self.told = False
        """Whether it knows where it begins, so that it may get what follows."""
        self.after: int | None = None
        """The number of the packet whose result tells it."""


class Following:
    """The feeds of a process, and which members go on in which of them when they have room.

    A member's own stream goes before its others.
    """

    def __init__(self, backplane: Backplane, listener: Listener) -> None:
        self.listener: Listener = listener
        self._backplane = backplane
        self._feeds: dict[str, Feed[str]] = {}
        self._starting: dict[str, Receipt[Position]] = {}  # of feeds, until they have started
        self._places: dict[str, dict[str, _Place]] = {}  # by member and stream
        self._next_check = 0.0
        self._comparing = False
        self._again = False  # whether to compare once more behind the comparison under way
        backplane.suspected = self.check

    def follow(self, name: str) -> Receipt[Position] | None:
        """Follow a stream; nothing happens if it is followed.

        Returns:
            What is done when it is; None if it is already.
        """
        self._feed(name)
        return self._starting.get(name)

    def unfollow(self, name: str) -> None:
        """Follow it no longer."""
        if feed := self._feeds.pop(name, None):
            self._starting.pop(name, None)
            feed.stop()

    def position(self, name: str) -> Position | None:
        """Up to where it was delivered; None if that is not known."""
        feed = self._feeds.get(name)
        return feed.position if feed else None

    # -- members that are behind ------------------------------------------------------------------

    def begin(self, name: str, member: str, position: Position | None) -> Receipt[Start]:
        """A member follows a stream from a position on; see `Feed.catch_up`.

        It gets nothing of it until `go_on`. The receipt fails with `Overtaken` if the member begins
        there again, or leaves.
        """
        places = self._places.setdefault(member, {})
        former = places.get(name)
        place = places[name] = _Place()
        receipt = self._feed(name).catch_up(member, position)
        receipt.then(partial(self._begun, name, member, place))
        if former is not None:
            former.receipt.fail(Overtaken())
        return place.receipt

    def _begun(self, name: str, member: str, place: _Place, receipt: Receipt[Start]) -> None:
        if receipt.error is not None:
            self._remove(name, member)
            place.receipt.fail(receipt.error)
            return
        if place.forgotten:
            self._remove(name, member)
            self._drop(name, member)
        place.receipt.complete(receipt.value)

    def beginning(self, name: str, member: str) -> Receipt[Start] | None:
        """What `begin` gave, until the member has caught up."""
        place = self._places.get(member, {}).get(name)
        return place.receipt if place else None

    def go_on_after(self, name: str, member: str, number: int) -> None:
        """The result of that packet tells a member where it begins in a stream."""
        place = self._places.get(member, {}).get(name)
        if place is not None and place.after is None:
            place.after = number

    def passed(self, member: str, number: int) -> None:
        """A member has got the result of that packet."""
        if places := self._places.get(member):
            self.go_on(member, [name for name, place in places.items() if place.after == number])

    def go_on(self, member: str, names: Collection[str] | None = None) -> None:
        """Give a member what it misses.

        Args:
            names: streams of which it knows now where it begins; None: it has room again in all.
        """
        places = self._places.get(member, {})
        if names is None:
            names = list(places)
        else:
            for name in names:
                if name in places:
                    places[name].told = True
        own = f"{OWN}{member}"
        for name in sorted(names, key=lambda name: name != own):
            place, first = places.get(name), places.get(own)
            if place is not None and place.told and (place is first or not (first and first.told)):
                self._feeds[name].ready(member)

    def replay(
        self, name: str, member: str, items: Sequence[Entry | Missing], caught_up: bool
    ) -> None:
        """See `Audience.replay`."""
        places = self._places[member]
        place = places[name]
        room = True
        for item in items:
            room = self.listener.replayed(name, member, item)
            if places.get(name) is not place:
                return  # it has left meanwhile, or lost its connection
        if caught_up:
            self._remove(name, member)
            if room and name == f"{OWN}{member}":
                self.go_on(member)
        elif room:
            self._feeds[name].ready(member)

    def leave(self, name: str, member: str) -> None:
        """A member follows a stream no longer; nothing happens if it does not."""
        self._drop(name, member)
        if place := self._remove(name, member):
            place.receipt.fail(Overtaken())

    def forget(self, member: str) -> None:
        """It follows none, for now. Where it begins comes out all the same."""
        for name, place in list(self._places.get(member, {}).items()):
            place.forgotten = True
            if place.receipt.done:
                self._remove(name, member)
                self._drop(name, member)

    def _drop(self, name: str, member: str) -> None:
        if feed := self._feeds.get(name):  # else it was its last member, and is followed no more
            feed.drop(member)

    def _remove(self, name: str, member: str) -> _Place | None:
        places = self._places.get(member, {})
        place = places.pop(name, None)
        if place is not None and not places:
            del self._places[member]
        return place

    # -- what was lost on its way -----------------------------------------------------------------

    @property
    def deadline(self) -> float:
        """When `tick` has something to do."""
        return self._next_check

    def tick(self, now: float) -> None:
        """Compare with the backplane, if it is time, and try again what could not be followed."""
        if self._next_check <= now:
            self._next_check = now + CHECK
            self._compare()

    def check(self) -> None:
        """Something may have been lost: compare now, behind the comparison under way."""
        self._again = self._comparing
        self._compare()

    def _compare(self) -> None:
        for name in list(self._feeds):
            self._feed(name)
        if not self._comparing:  # an answer must not be older than the check before
            self._comparing = True
            self._backplane.tops(list(self._feeds)).then(self._compared)

    def _compared(self, receipt: Receipt[dict[str, Top]]) -> None:
        self._comparing = False
        if receipt.error is None:
            for name, top in receipt.value.items():
                if feed := self._feeds.get(name):
                    feed.check(top.at)
                    self.listener.compared(name, top)
        if self._again:
            self._again = False
            self._compare()

    def _feed(self, name: str) -> Feed[str]:
        feed = self._feeds.get(name)
        if feed is None:
            audience = _Audience(self, name)
            feed = self._feeds[name] = Feed(name, self._backplane, audience)
            audience.behind = feed.behind
        if feed.position is None and name not in self._starting:
            started = feed.start(
                on_change=partial(self.listener.changed, name),
                on_volatile=partial(self.listener.told, name),
            )
            self._starting[name] = started
            started.then(partial(self._started, name))
        return feed

    def _started(self, name: str, receipt: Receipt[Position]) -> None:
        if self._starting.get(name) is receipt:
            del self._starting[name]


class Starting:
    """Waits until it is known where a member begins in each of several streams.

    Args:
        names: of the streams.
        then: is told it, of all but those that the member has left meanwhile; None if it cannot be
            known of one.
    """

    __slots__ = ("_failed", "_missing", "_starts", "_then")

    def __init__(
        self, names: Iterable[str], then: Callable[[dict[str, Start] | None], object]
    ) -> None:
        self._starts: dict[str, Start | None] = dict.fromkeys(names)
        self._missing = len(self._starts)
        self._failed = False
        self._then = then

    def started(self, name: str, receipt: Receipt[Start]) -> None:
        """It is known for one of them, or cannot be known."""
        if receipt.error is None:
            self._starts[name] = receipt.value
        elif not isinstance(receipt.error, Overtaken):
            self._failed = True
        self._missing -= 1
        if not self._missing:
            found = {name: start for name, start in self._starts.items() if start is not None}
            self._then(None if self._failed else found)
