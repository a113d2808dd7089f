"""close.py: RFC 6455, sections 5.5.1 and 7.4."""

import pytest

from sono_core import CloseCode
from sono_core.errors import ProtocolFailure
from sono_core.websocket.close import decode_close, encode_close, is_close_code


def test_close_codes_that_may_stand_in_a_frame() -> None:
    legal = {*range(1000, 1004), *range(1007, 1015), *range(3000, 5000)}
    assert {code for code in range(-10, 70_000) if is_close_code(code)} == legal
    assert {code for code in CloseCode if not is_close_code(code)} == {1005, 1006}


@pytest.mark.parametrize(
    ("code", "reason", "payload"),
    [
        (1005, "", b""),
        (1000, "", b"\x03\xe8"),
        (CloseCode.GOING_AWAY, "bye", b"\x03\xe9bye"),
        (4999, "é" * 61, b"\x13\x87" + "é".encode() * 61),
        (1000, "é" * 62, b"\x03\xe8" + "é".encode() * 61),
    ],
)
def test_close_payloads(code: int, reason: str, payload: bytes) -> None:
    assert encode_close(code, reason) == payload
    assert decode_close(payload) == (code, reason[:61])


@pytest.mark.parametrize(
    ("payload", "code"),
    [(b"x", 1002), (b"\x00\x00", 1002), (b"\x03\xed", 1002), (b"\x03\xe8\xff", 1007)],
)
def test_illegal_close_payloads(payload: bytes, code: int) -> None:
    with pytest.raises(ProtocolFailure) as failure:
        decode_close(payload)
    assert failure.value.code == code
