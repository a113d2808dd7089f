"""What an application is told of a channel's past and of those who are present."""

from collections.abc import Iterable
from typing import Any

from sono_core.messaging import Publish
from sono_core.messaging.lossless import Page, Position, packets
from sono_core.quoting import Discreet

MOST = 100
"""Entries in a page, at most."""


class HistoryEntry(Discreet, frozen=True):
    """What was said in a channel."""

    at: Position
    event: str
    data: Any
    sender: str | None
    """The id of the client that said it; None for the server."""

    def shown(self) -> Iterable[tuple[str, object]]:
        """See `Discreet`."""
        yield from (("at", self.at), ("event", self.event), ("sender", self.sender))


class HistoryPage(Discreet, frozen=True):
    """A page of a channel's history. The one before it ends at `before=page.entries[0].at`."""

    entries: list[HistoryEntry]
    """The newest last."""
    more: bool
    """Whether older ones are kept."""


class Presence(Discreet, frozen=True):
    """Who is present in a channel."""

    members: dict[str, Any]
    """Their public data by their ids, in the order of their entering; None for those without."""
    version: int
    """Of the changes that clients are told."""


def history(page: Page) -> HistoryPage:
    """A page of the backplane's, as applications get it."""
    return HistoryPage([_entry(entry.at, entry.body) for entry in page.entries], page.more)


def _entry(at: Position, said: Publish) -> HistoryEntry:
    data: Any = said.payload
    return HistoryEntry(at, said.event, data.value(), said.sender)


def presence(snapshot: packets.Members) -> Presence:
    """A snapshot with all members, as applications get it."""
    members = {id: None if data is None else data.value() for id, data in snapshot.members}
    return Presence(members, snapshot.version)
