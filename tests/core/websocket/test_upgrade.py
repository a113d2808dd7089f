"""upgrade.py: what an upgrade needs, and the 101. rules/ holds what is refused and when."""

import base64
import string

import pytest

from sono_core import Accept, Deflate, Headers, LocalProtocolError, Reject, Request
from sono_core.errors import HandshakeFailure
from sono_core.http.encode import reject_response
from sono_core.websocket.upgrade import Upgrade, accept_key, accept_response, check_upgrade

KEY = "dGhlIHNhbXBsZSBub25jZQ=="


def test_the_example_of_section_1_3() -> None:
    assert accept_key(KEY) == "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="


def test_a_101_with_everything() -> None:
    response = accept_response(
        Upgrade(KEY, ["a", "b"], None), Accept("b", Headers({"Set-Cookie": "a=b"}))
    )
    assert response == (
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\nSec-WebSocket-Protocol: b\r\n"
        b"Set-Cookie: a=b\r\n\r\n"
    )


def upgrade_request(*more: tuple[str, str], key: str = KEY) -> Request:
    fields = [
        ("Upgrade", "websocket"),
        ("Connection", "Upgrade"),
        ("Sec-WebSocket-Version", "13"),
        ("Sec-WebSocket-Key", key),
    ]
    return Request("/", Headers([*fields, *more]), host="a")


def is_canonical(key: str) -> bool:
    try:
        nonce = base64.b64decode(key, validate=True)
    except ValueError:
        return False
    return len(nonce) == 16 and base64.b64encode(nonce).decode() == key


def test_a_key_is_what_an_encoder_writes_for_16_bytes() -> None:
    endings = [f"{last}==" for last in string.printable]
    for ending in (*endings, "A=", "AA=", "AAA", "==="):
        key = KEY[:21] + ending
        request = upgrade_request(key=key)
        if is_canonical(key):
            assert check_upgrade(request, (), None).key == key
        else:
            with pytest.raises(HandshakeFailure, match="exactly one Sec-WebSocket-Key"):
                check_upgrade(request, (), None)


def test_the_same_offer_gets_each_time_what_these_options_allow() -> None:
    request = upgrade_request(("Sec-WebSocket-Extensions", "permessage-deflate"))
    for _ in range(2):
        assert check_upgrade(request, (), None).agreement is None
        for takeover in (False, True):
            agreement = check_upgrade(request, (), Deflate(context_takeover=takeover)).agreement
            assert agreement is not None
            assert agreement.server_no_context_takeover is not takeover


def test_a_refusal_may_name_the_version_and_a_101_may_not() -> None:
    headers = Headers({"Sec-WebSocket-Version": "13"})
    assert b"\r\nSec-WebSocket-Version: 13\r\n" in reject_response(Reject(426, headers))
    with pytest.raises(LocalProtocolError):
        accept_response(Upgrade(KEY, [], None), Accept(None, headers))
