"""deflate.py: RFC 7692, below the connection."""

import random
from typing import Any

import pytest

from sono_core import Deflate, Role, SharedDeflaters
from sono_core.errors import ProtocolFailure
from sono_core.http.grammar import parse_extensions
from sono_core.websocket.deflate import Agreement, Deflater, Inflater, agree, answer, offer
from tests.memory import traced


def inflated(inflater: Inflater, *frames: bytes, limit: int = 1 << 20) -> bytes:
    out = b""
    for i, frame in enumerate(frames):
        out += b"".join(inflater.inflate(frame, limit - len(out), i == len(frames) - 1))
    return out


@pytest.mark.parametrize(
    ("name", "low", "high"),
    [("max_window_bits", 9, 15), ("level", 1, 9), ("threshold", 0, 1 << 62)],
)
def test_options_out_of_range_are_refused_by_name(name: str, low: int, high: int) -> None:
    settings: list[dict[str, Any]] = [{name: low}, {name: high}]
    for setting in settings:
        assert getattr(Deflate(**setting), name) == setting[name]
    for value in (low - 1, high + 1, str(low), float(low), None, True):
        bad: dict[str, Any] = {name: value}
        with pytest.raises(ValueError, match=name):
            Deflate(**bad)


# The examples of section 7.2.3.
EXAMPLES = {
    "one block": (["f248cdc9c90700"], b"Hello"),
    "two frames": (["f248cd", "c9c90700"], b"Hello"),
    "a block without compression": (["000500faff48656c6c6f00"], b"Hello"),
    "a final block": (["f348cdc9c9070000"], b"Hello"),
    "two blocks": (["f248050000 00ffffcac9c90700".replace(" ", "")], b"Hello"),
}


@pytest.mark.parametrize(("frames", "message"), EXAMPLES.values(), ids=EXAMPLES)
def test_the_examples_of_section_7_2_3(frames: list[str], message: bytes) -> None:
    for takeover in (True, False):
        inflater = Inflater(None, takeover)
        for _ in range(3):
            assert inflated(inflater, *map(bytes.fromhex, frames)) == message


def test_the_shared_window_of_section_7_2_3_2() -> None:
    first, second = bytes.fromhex("f248cdc9c90700"), bytes.fromhex("f200110000")
    inflater = Inflater(None, True)
    assert inflated(inflater, first) == inflated(inflater, second) == b"Hello"
    inflater = Inflater(None, False)
    assert inflated(inflater, first) == b"Hello"
    with pytest.raises(ProtocolFailure) as failure:
        inflated(inflater, second)
    assert failure.value.code == 1007


@pytest.mark.parametrize("bits", [9, 12, 15])
@pytest.mark.parametrize("takeover", [True, False])
@pytest.mark.parametrize("size", [0, 1, 16_383, 16_384, 16_385, 65_536, 300_000])
def test_round_trip_whatever_the_window(bits: int, takeover: bool, size: int) -> None:
    deflater, inflater = Deflater(bits, takeover, 6), Inflater(bits, takeover)
    for data in (bytes(size), random.Random(size).randbytes(size), b"", b"ab" * (size // 2)):
        packed = deflater.deflate(data)
        assert packed
        assert inflated(inflater, packed) == data
        if not takeover:
            cut = len(packed) // 3
            assert inflated(inflater, packed[:cut], b"", packed[cut:]) == data


@pytest.mark.parametrize("size", [0, 100, 65_536, 131_072, 1_000_000])
def test_the_limit_is_exact(size: int) -> None:
    packed = Deflater(15, False, 6).deflate(bytes(size))
    assert len(inflated(Inflater(15, False), packed, limit=max(size, 1))) == size
    if size:
        with pytest.raises(ProtocolFailure) as failure:
            inflated(Inflater(15, False), packed, limit=size - 1)
        assert failure.value.code == 1009


@pytest.mark.parametrize("size", [65_536, 65_537, 65_600, 65_794, 131_073])
def test_all_that_has_come_is_inflated_however_much_at_once(size: int) -> None:
    """zlib may have consumed all its input while some of the output is still inside."""
    packed = Deflater(15, True, 6).deflate(bytes(size))
    whole = sum(map(len, Inflater(15, True).inflate(packed, size, False)))
    bytewise, inflater = 0, Inflater(15, True)
    for byte in packed:
        bytewise += sum(map(len, inflater.inflate(bytes((byte,)), size - bytewise, False)))
    assert whole == bytewise
    assert size - whole < 300  # what the last bits mean is not out yet


@pytest.mark.parametrize("room", [1000, 1 << 20])
def test_a_bomb_holds_no_more_memory_than_its_room(room: int) -> None:
    packed = Deflater(15, False, 9).deflate(bytes(64 << 20))

    def explode(inflater: Inflater) -> None:
        with pytest.raises(ProtocolFailure) as failure:
            inflater.inflate(packed, room, True)
        assert failure.value.code == 1009

    peak = traced(explode, lambda: Inflater(15, False)).peak
    assert peak < room + 80 * 1024  # a step, and what zlib left of the data


def test_the_count_of_final_blocks_is_of_one_message() -> None:
    inflater = Inflater(15, False)
    for _ in range(3):
        assert inflated(inflater, b"\x03\x00" * 1000 + b"\x00") == b""
    with pytest.raises(ProtocolFailure) as failure:
        inflated(inflater, b"\x03\x00" * 1000, b"\x03\x00" * 25)
    assert failure.value.code == 1008


def test_without_takeover_nothing_is_kept_between_messages() -> None:
    inflater = Inflater(15, False)
    inflated(inflater, Deflater(15, False, 6).deflate(b"hello"))
    assert inflater._stream is None


def test_shared_deflaters_are_one_for_each_window_and_level() -> None:
    shared = SharedDeflaters()
    assert shared.get(15, 6) is shared.get(15, 6)
    assert len({shared.get(15, 6), shared.get(15, 9), shared.get(9, 6)}) == 3
    assert not shared.get(15, 6).takeover


@pytest.mark.parametrize("role", list(Role))
def test_a_deflater_is_shared_where_nothing_is_taken_over(role: Role) -> None:
    shared = SharedDeflaters()
    alone = Agreement()
    none = Agreement(True, True, 10, 10)
    assert alone.deflater(role, Deflate(), shared).takeover
    assert alone.deflater(role, Deflate(), shared) is not alone.deflater(role, Deflate(), shared)
    assert none.deflater(role, Deflate(), shared) is shared.get(10, 6)
    assert none.deflater(role, Deflate(), None) is not shared.get(10, 6)
    assert Agreement(True, True).deflater(role, Deflate(level=9), shared) is shared.get(15, 9)


@pytest.mark.parametrize(
    ("agreement", "header"),
    [
        (Agreement(), ""),
        (Agreement(True, False, None, 9), "; server_no_context_takeover; client_max_window_bits=9"),
        (Agreement(False, True, 15), "; client_no_context_takeover; server_max_window_bits=15"),
    ],
)
def test_the_header_of_an_agreement(agreement: Agreement, header: str) -> None:
    assert agreement.header() == f"permessage-deflate{header}"


@pytest.mark.parametrize("server", [Deflate(), Deflate(context_takeover=True, max_window_bits=9)])
@pytest.mark.parametrize("client", [Deflate(), Deflate(context_takeover=True, max_window_bits=9)])
def test_what_a_client_offers_and_a_server_answers_is_agreed_alike(
    client: Deflate, server: Deflate
) -> None:
    agreed = answer(parse_extensions([offer(client)]), server)
    assert agreed
    ((_, parameters),) = parse_extensions([agreed.header()])
    taken = agree(parameters, client)
    assert taken.server_no_context_takeover == agreed.server_no_context_takeover
    assert taken.server_max_window_bits == agreed.server_max_window_bits
    # what a client does of its own accord need not be said
    assert taken.client_no_context_takeover >= agreed.client_no_context_takeover
    assert taken.client_max_window_bits == (9 if client.max_window_bits == 9 else None)


def test_no_offer_no_agreement() -> None:
    assert answer([], Deflate()) is None
    assert answer([("other", [])], Deflate()) is None
