"""UTF-8 in text messages and close reasons: RFC 6455, section 8.1; RFC 3629."""

import pytest

from sono_core import Close, Role, TextMessage
from tests.rules.peers import (
    CLOSE,
    DEFLATE,
    FIN,
    RSV1,
    TEXT,
    close_payload,
    deflated,
    fails,
    frames,
    opened,
    passes,
    raw,
)

ROLES = pytest.mark.parametrize("role", list(Role), ids=lambda role: role.value)
AGREED = f"{DEFLATE}; server_no_context_takeover"

# Each ends with the first invalid byte.
WRONG = {
    "a lone continuation": b"\x80",
    "the last continuation": b"\xbf",
    "an overlong form of two bytes": b"\xc0",
    "another": b"\xc1",
    "an overlong form of three bytes": b"\xe0\x9f",
    "an overlong form of four bytes": b"\xf0\x8f",
    "the first surrogate": b"\xed\xa0",
    "the last surrogate": b"\xed\xbf",
    "above U+10FFFF": b"\xf4\x90",
    "five bytes": b"\xf8",
    "FE": b"\xfe",
    "FF": b"\xff",
    "a lead byte after a lead byte": b"\xc3\xc3",
    "ASCII inside a sequence of two": b"\xc3a",
    "ASCII inside a sequence of three": b"\xe2\x82a",
    "ASCII inside a sequence of four": b"\xf0\x9f\x98a",
}
TRUNCATED = {
    "of two": b"\xc3",
    "of three": b"\xe2",
    "of three, by one": b"\xe2\x82",
    "of four": b"\xf0",
    "of four, by two": b"\xf0\x9f",
    "of four, by one": b"\xf0\x9f\x98",
}
EDGES = (
    "\x00",
    "\x7f",
    "\x80",
    "\u07ff",
    "\u0800",
    "\ud7ff",
    "\ue000",
    "\ufeff",
    "\uffff",
    "\U00010000",
    "\U0010ffff",
)


@ROLES
@pytest.mark.parametrize("wrong", WRONG.values(), ids=WRONG)
def test_text_that_is_not_utf8_is_1007(role: Role, wrong: bytes) -> None:
    text = "κόσμε".encode() + wrong
    fails(role, frames(role, (FIN | TEXT, text)), 1007)
    fails(role, frames(role, (TEXT, text), (FIN, b"")), 1007)
    fails(role, frames(role, (TEXT, b"\xce"), (0, b""), (0, b"\xba" + wrong), (FIN, b"")), 1007)
    packed = frames(role, (FIN | TEXT | RSV1, deflated(text)))
    fails(role, packed, 1007, extensions=AGREED)


@ROLES
@pytest.mark.parametrize("wrong", WRONG.values(), ids=WRONG)
def test_text_fails_as_soon_as_a_byte_is_wrong(role: Role, wrong: bytes) -> None:
    masked = role is Role.SERVER
    for before in (b"", "κόσμε".encode()):
        text = before + wrong
        # one byte at a time, in a frame that announces more than ever comes
        for first, prefix in ((FIN | TEXT, b""), (TEXT, b""), (FIN, raw(TEXT, masked=masked))):
            connection = opened(role)
            data = prefix + raw(first, text, masked=masked, form=16, length=60_000)
            for i in range(len(data) - 1):
                assert list(connection.receive_data(data[i : i + 1])) == []
            (close,) = connection.receive_data(data[-1:])
            assert isinstance(close, Close)
            assert close.code == 1007


@ROLES
@pytest.mark.parametrize("truncated", TRUNCATED.values(), ids=TRUNCATED)
def test_a_truncated_sequence_at_the_end_of_a_message_is_1007(role: Role, truncated: bytes) -> None:
    text = b"abc" + truncated
    fails(role, frames(role, (FIN | TEXT, text)), 1007)
    fails(role, frames(role, (TEXT, text), (FIN, b"")), 1007)
    fails(role, frames(role, (TEXT, b""), (FIN, text)), 1007)
    fails(role, frames(role, (FIN | TEXT | RSV1, deflated(text))), 1007, extensions=AGREED)


@ROLES
def test_a_sequence_may_be_cut_by_the_end_of_a_fragment_anywhere(role: Role) -> None:
    text = "aé€😀".encode()
    for cut in range(len(text) + 1):
        data = frames(role, (TEXT, text[:cut]), (FIN, text[cut:]))
        passes(role, data, TextMessage("aé€😀"))
    each = [(0, text[i : i + 1]) for i in range(len(text))]
    passes(role, frames(role, (TEXT, b""), *each, (FIN, b"")), TextMessage("aé€😀"))


@ROLES
@pytest.mark.parametrize("text", EDGES, ids=ascii)
def test_the_first_and_the_last_code_points_of_each_length_pass(role: Role, text: str) -> None:
    data = text.encode()
    passes(role, frames(role, (FIN | TEXT, data)), TextMessage(text))
    passes(role, frames(role, (TEXT, data[:1]), (FIN, data[1:])), TextMessage(text))
    packed = deflated(data)
    message = frames(role, (TEXT | RSV1, packed[:2]), (FIN, packed[2:]))
    passes(role, message, TextMessage(text), extensions=AGREED)


@ROLES
def test_a_compressed_text_fails_with_the_fragment_that_is_wrong(role: Role) -> None:
    stream = deflated(b"abc\xff" + bytes(range(128)), level=0)
    connection = opened(role, AGREED)
    (close,) = connection.receive_data(frames(role, (TEXT | RSV1, stream[:20])))
    assert isinstance(close, Close)
    assert close.code == 1007


@ROLES
@pytest.mark.parametrize("reason", [*WRONG.values(), *TRUNCATED.values()], ids=[*WRONG, *TRUNCATED])
def test_a_close_reason_that_is_not_utf8_is_1007(role: Role, reason: bytes) -> None:
    fails(role, frames(role, (FIN | CLOSE, close_payload(1000, b"why: " + reason))), 1007)
