"""A share of a reader's work: it ends between frames, and between the pieces of an inflated one."""

from __future__ import annotations

from typing import Any

import pytest

from sono_core import Limits, Role
from sono_core.errors import ProtocolFailure
from sono_core.websocket.deflate import Deflater, Inflater
from sono_core.websocket.frames import encode_frame
from sono_core.websocket.opcodes import BINARY, CONTINUATION, PING, TEXT
from sono_core.websocket.outbox import new_outbox
from sono_core.websocket.reader import MessageReader, Stop, message_reader
from tests.rules.peers import MASK

BLOCKS = encode_frame(TEXT, b"\x03\x00" * 1024 + b"\x00", rsv1=True, mask=MASK)
"""A compressed text of nothing, in as many final blocks as it may have."""
PARTS = (
    encode_frame(BINARY, b"\x03\x00" * 400, fin=False, rsv1=True, mask=MASK)
    + encode_frame(CONTINUATION, b"\x03\x00" * 400, fin=False, mask=MASK)
    + encode_frame(CONTINUATION, b"\x00", mask=MASK)
)
"""A compressed message of nothing, in many final blocks and three frames."""
FRAGMENTS = (
    encode_frame(BINARY, b"\x00" * 3, fin=False, rsv1=True, mask=MASK)
    + encode_frame(CONTINUATION, b"\xff\xff\x00\x00\x00", fin=False, mask=MASK) * 500
    + encode_frame(CONTINUATION, b"\xff\xff\x00", mask=MASK)
)


@pytest.fixture(params=[MessageReader, message_reader], ids=["pure", "built"])
def reader(request: pytest.FixtureRequest) -> Any:
    return request.param(Role.SERVER, Limits(), Inflater(15, True))


class Shares:
    """Delivers by shares of 10."""

    def __init__(self, reader: Any) -> None:
        self.messages: list[str | bytes] = []
        self.taken: list[int] = []
        self._reader = reader
        self._outbox = new_outbox()
        self._outbox.room = 1

    def next(self) -> int:
        taken, _, stop = self._reader.deliver(self.messages.append, self._outbox, 0, 10, 1 << 20)
        self.taken.append(taken)
        return int(stop)


@pytest.mark.parametrize(
    ("data", "work", "message"),
    [(BLOCKS, 1025, ""), (PARTS, 804, b""), (FRAGMENTS, 503, b"")],
    ids=["blocks", "blocks in fragments", "fragments"],
)
def test_a_share_ends_in_the_middle_of_a_message(
    reader: Any, data: bytes, work: int, message: object
) -> None:
    shares = Shares(reader)
    reader.feed(data + encode_frame(PING, b"behind", mask=MASK))
    while (stop := shares.next()) == Stop.LIMIT:
        assert reader.held > 0
        assert shares.messages or reader.arrived > 0
    assert stop == Stop.OTHER
    assert shares.messages == [message]
    assert sum(shares.taken) == work
    assert max(shares.taken) <= 10 + 16  # what is inflated at once is in 16 pieces
    assert reader.extra == work - 1
    assert reader.next().opcode == PING
    assert shares.next() == Stop.EMPTY


@pytest.mark.parametrize("share", [1, 2, 5, 17, 32, 100])
@pytest.mark.parametrize("data", [BLOCKS, PARTS, FRAGMENTS], ids=["blocks", "parts", "fragments"])
def test_shares_end_at_the_same_places_in_c_and_in_python(data: bytes, share: int) -> None:
    outcomes = []
    for kind in (MessageReader, message_reader):
        reader: Any = kind(Role.SERVER, Limits(), Inflater(15, True))
        outbox = new_outbox()
        outbox.room = 1
        outcome = []
        for at in range(0, 3 * len(data), 700):  # not where frames end
            reader.feed((data * 3)[at : at + 700])
            stop = Stop.LIMIT
            while stop == Stop.LIMIT:
                got = reader.deliver(outcome.append, outbox, 0, share, 1 << 20)
                stop = got[2]
                outcome.append((*got, reader.extra))
        outcomes.append(outcome)
    assert outcomes[0] == outcomes[1]
    assert sum(isinstance(found, (str, bytes)) for found in outcomes[0]) == 3


def test_what_a_share_left_comes_by_next_too(reader: Any) -> None:
    shares = Shares(reader)
    reader.feed(BLOCKS + BLOCKS)
    assert shares.next() == Stop.LIMIT
    assert [reader.next().text, reader.next().text, reader.next()] == ["", "", None]


def test_a_frame_that_is_inflated_in_part_may_turn_out_wrong(reader: Any) -> None:
    shares = Shares(reader)
    reader.feed(encode_frame(TEXT, b"\x03\x00" * 100 + b"\xff", rsv1=True, mask=MASK))
    while (stop := shares.next()) == Stop.LIMIT:
        pass
    assert stop == Stop.OTHER
    with pytest.raises(ProtocolFailure) as failure:
        reader.next()
    assert failure.value.code == 1007


def test_a_large_message_is_inflated_in_one_share(reader: Any) -> None:
    text = "text " * 200_000
    payload = Deflater(15, True, 6).deflate(text.encode())
    shares = Shares(reader)
    reader.feed(encode_frame(TEXT, payload, rsv1=True, mask=MASK))
    assert shares.next() == Stop.EMPTY
    assert shares.messages == [text]
    assert shares.taken == [1]


def test_a_reader_that_stops_in_the_middle_holds_nothing(reader: Any) -> None:
    reader.feed(BLOCKS)
    Shares(reader).next()
    assert reader.held > 2000
    assert reader.arrived > 0
    reader.stop()
    assert (reader.held, reader.arrived) == (0, 0)
    assert reader.next() is None


def test_half_a_frame_ends_no_share(reader: Any) -> None:
    """What has come of a frame is taken, whether its fragment is the last of the share or not."""
    data = encode_frame(BINARY, b"", fin=False, mask=MASK)
    data += encode_frame(CONTINUATION, b"", fin=False, mask=MASK) * 8
    data += encode_frame(CONTINUATION, b"0123456789", mask=MASK)
    shares = Shares(reader)
    reader.feed(data[:-5])
    assert shares.next() == Stop.LIMIT
    assert shares.messages == []
    reader.feed(data[-5:])
    shares.next()
    assert shares.messages == [b"0123456789"]
