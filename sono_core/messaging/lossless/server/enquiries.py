"""What clients may ask the server itself. docs/protocol.md, clause 3.11."""

from collections.abc import Iterable
from typing import Annotated, Any

import msgspec

from sono_core.errors import SonoError
from sono_core.messaging import Publish as Publication
from sono_core.messaging.lossless import Data, Entry, Page, Position
from sono_core.messaging.lossless.packets import Failure, Members

PREFIX = "sono."
"""Begins the names of these requests; no application answers one."""
HISTORY = "sono.history"
MEMBERS = "sono.members"
CHANNELS = "sono.channels"


class Unanswerable(SonoError):  # noqa: N818 - it never leaves the package
    """The request cannot be answered."""

    def __init__(self, code: str, text: str) -> None:
        super().__init__(text)
        self.failure: Failure = Failure(code, text)


class HistoryQuery(msgspec.Struct, frozen=True):
    """What `sono.history` takes."""

    channel: str
    before: Position | None = None
    limit: Annotated[int, msgspec.Meta(ge=1, le=100)] = 50


class MembersQuery(msgspec.Struct, frozen=True):
    """What `sono.members` takes."""

    channel: str


def read(kind: type[Any], data: object) -> Any:
    """What a client gave.

    Raises:
        Unanswerable: it is something else.
    """
    try:
        return msgspec.convert(data, kind)
    except msgspec.ValidationError as error:
        raise Unanswerable("invalid-packet", str(error)) from None


def history(page: Page, most: int) -> Data:
    """A page of a channel's history, the newest last.

    Args:
        most: bytes; the oldest are left out.
    """
    kept: list[object] = []
    more = page.more
    for entry in reversed(page.entries):
        most -= entry.size
        if most < 0 and kept:
            more = True
            break
        kept.append(_written(entry))
    return Data.of({"entries": kept[::-1], "more": more})


def _written(entry: Entry) -> object:
    body: Publication = entry.body
    written = {"at": entry.at, "event": body.event, "data": body.payload}
    return written if body.sender is None else {**written, "from": body.sender}


def members(snapshot: Members) -> Data:
    """Who is in a channel."""
    return Data.of(
        {"version": snapshot.version, "members": snapshot.members, "count": snapshot.count}
    )


def channels(names: Iterable[str], most: int) -> Data:
    """Names of channels.

    Args:
        most: bytes; what is beyond them is left out, and the answer says so.
    """
    kept: list[str] = []
    truncated = False
    for name in names:
        most -= len(name.encode()) + 3
        if most < 0:
            truncated = True
            break
        kept.append(name)
    return Data.of({"channels": kept, "truncated": True} if truncated else {"channels": kept})
