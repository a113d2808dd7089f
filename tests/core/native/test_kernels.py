"""kernels.py: masking against RFC 6455, section 5.3; UTF-8 against an automaton of RFC 3629."""

import itertools

import pytest

from sono_core.native.kernels import Utf8Validator, apply_mask

MASK = b"\x37\xfa\x21\x3d"


def test_the_example_of_section_5_7() -> None:
    assert apply_mask(b"Hello", MASK) == b"\x7f\x9f\x4d\x51\x58"


@pytest.mark.parametrize("size", [*range(18), 125, 126, 1000, 65535, 65536, 65537])
@pytest.mark.parametrize(
    "mask", [MASK, b"\x00\x00\x00\x00", b"\xff\xff\xff\xff", b"\x00\x00\x00\x01"]
)
def test_each_byte_is_masked_with_the_key_in_turn(size: int, mask: bytes) -> None:
    data = bytes((i * 7) & 0xFF for i in range(size))
    masked = apply_mask(data, mask)
    assert masked == bytes(byte ^ mask[i % 4] for i, byte in enumerate(data))
    assert apply_mask(masked, mask) == data


# UTF8-octets of RFC 3629, section 4, as an automaton: for each state the ranges of bytes that
# may follow, with the state that they lead to. State 0 is a whole number of characters.
ANY = (0x80, 0xBF)


RULES: dict[str, list[tuple[int, int, str]]] = {
    "": [
        (0x00, 0x7F, ""),
        (0xC2, 0xDF, "1"),
        (0xE0, 0xE0, "E0"),
        (0xE1, 0xEC, "2"),
        (0xED, 0xED, "ED"),
        (0xEE, 0xEF, "2"),
        (0xF0, 0xF0, "F0"),
        (0xF1, 0xF3, "3"),
        (0xF4, 0xF4, "F4"),
    ],
    "1": [(*ANY, "")],
    "2": [(*ANY, "1")],
    "3": [(*ANY, "2")],
    "E0": [(0xA0, 0xBF, "1")],
    "ED": [(0x80, 0x9F, "1")],
    "F0": [(0x90, 0xBF, "2")],
    "F4": [(0x80, 0x8F, "2")],
}


STEP: dict[tuple[str, int], str] = {
    (state, byte): follower
    for state, rules in RULES.items()
    for low, high, follower in rules
    for byte in range(low, high + 1)
}


def state_after(data: bytes) -> str | None:
    """The automaton's state, or None if it stopped."""
    state: str | None = ""
    for byte in data:
        state = STEP.get((state, byte)) if state is not None else None
    return state


BYTES = [bytes((byte,)) for byte in range(256)]


def check(data: bytes) -> None:
    """The validator fails at the byte that stops the automaton, and at the end if that is not
    between characters.
    """
    validator = Utf8Validator()
    for i, byte in enumerate(data):
        alive = state_after(data[: i + 1]) is not None
        assert validator.feed(BYTES[byte]) is alive, data[: i + 1]
        if not alive:
            return
    assert validator.feed(b"", final=True) is (state_after(data) == ""), data


def test_all_sequences_of_one_and_two_bytes() -> None:
    for one in range(256):
        check(bytes((one,)))
        for two in range(256):
            data = bytes((one, two))
            check(data)
            state = state_after(data)
            assert Utf8Validator().feed(data) is (state is not None), data
            assert Utf8Validator().feed(data, True) is (state == ""), data


@pytest.mark.slow
def test_all_sequences_of_three_bytes() -> None:
    """All third bytes after each valid pair; the second byte of an invalid pair already fails.

    A whole character leaves no state behind. All pairs show that; one of each length continues.
    """
    pairs = [bytes(pair) for pair in itertools.product(range(256), repeat=2)]
    for pair in pairs:
        state = state_after(pair)
        if state is None:
            continue
        validator = Utf8Validator()
        assert validator.feed(pair)
        assert validator.feed(b"", True) is (state == ""), pair
        if (state == "" or pair[0] < 0x80) and pair[0] not in (0x41, 0xC2):
            continue
        for three in range(256):
            alive = (state, three) in STEP
            assert Utf8Validator().feed(pair + BYTES[three]) is alive, (pair, three)


# One byte of each class that the grammar distinguishes, and its neighbours.
TELLING = sorted(
    {
        edge
        for rules in RULES.values()
        for low, high, _ in rules
        for edge in (low - 1, low, high, high + 1)
        if 0 <= edge <= 255
    }
    | {0xC0, 0xC1, 0xF5, 0xFF}
)


def test_telling_sequences_of_three_and_four_bytes_byte_by_byte() -> None:
    for data in itertools.product(TELLING, repeat=3):
        if state_after(bytes(data[:2])):
            check(bytes(data))
    leads = [byte for byte in TELLING if byte >= 0xE0]
    for data in itertools.product(leads, TELLING, TELLING, TELLING):
        if state_after(bytes(data[:3])):
            check(bytes(data))


def test_all_prefixes_of_four_byte_sequences() -> None:
    for one, two in itertools.product(range(0xF0, 0xF5), range(256)):
        check(bytes((one, two)))
        if state_after(bytes((one, two))):
            for three in range(0x70, 0xD0):
                check(bytes((one, two, three)))


@pytest.mark.parametrize(
    "text", ["", "a", "κόσμε", "\u07ff\u0800\ud7ff\ue000\uffff", "😀\U0010ffff" * 3]
)
def test_a_text_cut_anywhere_is_valid(text: str) -> None:
    data = text.encode()
    for cut in range(len(data) + 1):
        validator = Utf8Validator()
        assert validator.feed(data[:cut])
        assert validator.feed(data[cut:], final=True)


def test_a_long_text_fails_at_the_piece_that_is_wrong() -> None:
    validator = Utf8Validator()
    assert validator.feed("ä".encode() * 10_000)
    assert validator.feed(b"\xf0\x9f")
    assert not validator.feed(b"\x98\xe2")
