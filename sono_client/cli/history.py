"""What was said in a channel after a position, for `sono listen --from`."""

from sono_client.aio import AsyncSonoClient
from sono_client.lossless import Gap, HistoryEntry, Received
from sono_core.messaging.lossless import Position, stream_of

from .streams import complain, printable

_PAGE = 100  # entries that are asked for at once


async def since(client: AsyncSonoClient, channel: str, position: Position) -> list[Received]:
    """What is left of it; the rest is told as a gap.

    Raises:
        RequestFailed, ConnectionClosed: as `AsyncSonoClient.history`.
    """
    stream = stream_of(channel)
    last = client.positions.get(stream, position)  # that is missing, if nothing is left
    found: list[HistoryEntry] = []
    before: Position | None = None
    more = True
    while more:
        page = await client.history(channel, before=before, limit=_PAGE)
        newer = [entry for entry in page.entries if _is_after(entry.at, position)]
        found = newer + found
        more = page.more and bool(newer) and len(newer) == len(page.entries)
        before = newer[0].at if newer else None
    if found:
        first = found[0].at
        last = Position(first.epoch, first.offset - 1)
    if last.epoch != position.epoch:
        tell_gap(Gap(stream, None, last))
    elif last.offset > position.offset:
        tell_gap(Gap(stream, position.offset + 1, last))
    return [_received(entry, stream) for entry in found]


def _is_after(at: Position, position: Position) -> bool:
    return at.epoch != position.epoch or at.offset > position.offset


def _received(entry: HistoryEntry, stream: str) -> Received:
    payload = {"message": entry.data}
    if entry.sender is not None:
        payload["from"] = entry.sender
    return Received(entry.event, payload, stream, entry.at)


def tell_gap(gap: Gap) -> None:
    """Say on standard error what cannot be had."""
    missing = "an unknown number" if gap.first is None else f"{gap.first} to {gap.at.offset}"
    complain(f"gap in {printable(gap.stream)}: {missing} of its entries cannot be had")
