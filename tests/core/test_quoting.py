"""quoting.py: what a text may quote, and that nothing else is in any repr of the core."""

from __future__ import annotations

import pytest

from sono_core import Accept, Headers, Reject, Request
from sono_core.connect.proxy import parse_proxy
from sono_core.connect.uri import parse_uri
from sono_core.messaging import Deliver, Publish, Reply
from sono_core.messaging.classic import Incoming, packets
from sono_core.quoting import shown_name, shown_path, shown_text, shown_url

SECRET = "s3cret"


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("wss://chat.example:81/a/b", "wss://chat.example:81/a/b"),
        ("ws://h/ws?token=s3cret", "ws://h/ws"),
        ("ws://h/ws#s3cret", "ws://h/ws"),
        ("ws://h?s3cret", "ws://h"),
        ("ws://alice:s3cret@h:81/ws", "ws://h:81/ws"),
        ("ws://s3cret@h", "ws://h"),
        ("ws://[::1]:81/", "ws://[::1]:81/"),
        ("ws://h:80x/ws?s3cret", "ws://h:80x/ws"),
        ("ws://h/@alice?mail=s3cret@h", "ws://h/@alice"),
        ("alice:s3cret@h/ws", "h/ws"),
        ("/ws?token=s3cret", "/ws"),
        ("h", "h"),
        ("", ""),
        ("ws://h/\x1b[2J\u202eé\udc80", "ws://h/\\x1b[2J\\u202e\\xe9\\udc80"),
        ("ws://h/" + "a" * 300, "ws://h/" + "a" * 193 + "..."),
    ],
)
def test_of_a_url_scheme_host_port_and_path_are_shown(url: str, shown: str) -> None:
    assert shown_url(url) == shown


@pytest.mark.parametrize(
    "url",
    [
        "ws://alice:s3/cret@h/ws",
        "ws://alice:s3?cret@h/ws",
        "ws://alice:s3#cret@h/ws",
        "ws://alice:s3\\cret@h/ws",
        "ws://alice:s@3/cret@h/ws",
        "ws:///alice:s3cret@h/ws",
        "ws://[s3cret/x@h",
    ],
)
def test_where_it_is_not_clear_what_the_password_is_only_the_scheme_is(url: str) -> None:
    assert shown_url(url) == "ws://..."


def test_of_a_target_the_path_is_shown_and_of_a_field_its_name() -> None:
    assert shown_path("/a%20b?token=s3cret") == "/a%20b"
    assert shown_path("/\n\xe9") == "/\\n\\xe9"
    assert shown_name("authorization: Bearer s3cret") == "authorization"
    assert len(shown_name("a" * 1000)) == 200


def test_of_a_peers_words_the_first_line_is_shown() -> None:
    assert shown_text(" no \x1b[2Jentry\nhere") == "no [2Jentry"
    assert shown_text(" \n") == ""
    assert len(shown_text("a" * 1000)) == 200


HEADERS = Headers({"Cookie": SECRET, "Origin": SECRET})


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (HEADERS, "<Headers cookie origin>"),
        (
            Request(f"/ws?{SECRET}", HEADERS, host="h", subprotocols=(SECRET,)),
            "Request(method='GET', path='/ws', host='h', headers=<Headers cookie origin>)",
        ),
        (Accept(SECRET, HEADERS), "Accept(headers=<Headers cookie origin>)"),
        (
            Reject(403, Headers({"Location": SECRET}), SECRET.encode()),
            "Reject(status=403, headers=<Headers location>, body='6 bytes')",
        ),
        (
            parse_uri(f"wss://h:81/ws?{SECRET}"),
            "WebSocketURI(secure=True, authority='h:81', path='/ws')",
        ),
        (
            parse_proxy(f"http://alice:{SECRET}@h:81"),
            "Proxy(secure=False, address='h:81')",
        ),
        (Incoming("score", {"message": SECRET}), "Incoming(event='score')"),
        (
            packets.Message(packets.MessagePayload(SECRET), "score"),
            "Message(payload=MessagePayload(), event='score')",
        ),
        (packets.DirectPayload(SECRET, "to"), "DirectPayload()"),
        (Reply(SECRET), "Reply()"),
        (
            Publish("news", "score", SECRET, "me"),
            "Publish(channel='news', event='score', sender='me')",
        ),
        (
            Deliver("you", "score", SECRET, "me"),
            "Deliver(client='you', event='score', sender='me')",
        ),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_repr_shows_no_more(value: object, shown: str) -> None:
    assert repr(value) == shown
    rich = getattr(value, "__rich_repr__", tuple)  # what the library rich would print
    assert SECRET not in repr(list(rich()))
