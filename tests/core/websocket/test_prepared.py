"""prepared.py: a message for many peers."""

from array import array
from typing import Any

import pytest

from sono_core import BinaryMessage, LocalProtocolError, Prepared, TextMessage
from sono_core.websocket.deflate import Deflater
from sono_core.websocket.payloads import exact_bytes, payload_of


def test_a_servers_frame_of_a_message() -> None:
    assert Prepared(TextMessage("é")).frame() == b"\x81\x02\xc3\xa9"
    assert Prepared(BinaryMessage(b"ab")).frame() == b"\x82\x02ab"


def test_each_form_of_the_frame_is_made_once() -> None:
    prepared = Prepared(TextMessage("hello " * 100))
    narrow, wide = Deflater(9, False, 6), Deflater(15, False, 6)
    forms = [prepared.frame(deflater) for deflater in (None, narrow, wide)]
    for form, deflater in zip(forms, (None, narrow, wide), strict=True):
        assert prepared.frame(deflater) is form
    assert forms[0][0] == 0x81
    assert forms[1][0] == forms[2][0] == 0xC1


def test_bytes_like_objects_are_taken_byte_for_byte() -> None:
    view = memoryview(array("d", [1.5]))
    for value, exact in (
        (b"ab", b"ab"),
        (bytearray(b"ab"), b"ab"),
        (memoryview(b"abcd")[::2], b"ac"),
        (view, view.tobytes()),
    ):
        assert exact_bytes(value, "data") == exact
        assert payload_of(BinaryMessage(value)) == (2, exact)  # type: ignore[arg-type]
    data = b"kept"
    assert exact_bytes(data, "data") is data


def test_what_was_given_may_be_changed_afterwards() -> None:
    data = bytearray(b"ab")
    prepared = Prepared(BinaryMessage(data))  # type: ignore[arg-type]
    data[0] = 0
    assert prepared.payload == b"ab"


@pytest.mark.parametrize("value", [5, 0, "text", None, [1, 2], array("d", [1.5]), 1.5, (1,)])
def test_anything_else_is_a_type_error_that_names_it(value: Any) -> None:
    with pytest.raises(TypeError, match=f"data must be bytes-like, not {type(value).__name__}"):
        Prepared(BinaryMessage(value))


@pytest.mark.parametrize("value", [5, b"bytes", bytearray(b"x"), None, ["a"]])
def test_a_text_that_is_no_str_is_a_type_error(value: Any) -> None:
    with pytest.raises(TypeError, match=f"text must be a str, not {type(value).__name__}"):
        Prepared(TextMessage(value))


@pytest.mark.parametrize("text", ["\ud800", "a\udfffb", "\ude00\ud83d"])
def test_a_lone_surrogate_is_the_callers_mistake(text: str) -> None:
    with pytest.raises(LocalProtocolError, match="surrogate"):
        payload_of(TextMessage(text))


def test_a_prepared_message_has_one_compressed_frame_for_each_form() -> None:
    """A long-lived message keeps none of the deflaters that compressed it."""
    prepared = Prepared(TextMessage("x" * 2000))
    frames = {id(prepared.frame(Deflater(15, False, 6))) for _ in range(100)}
    assert len(frames) == 1
    assert prepared.frame(Deflater(9, False, 6)) is not prepared.frame(Deflater(15, False, 6))
