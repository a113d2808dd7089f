"""events.py: one vocabulary, immutable and compared by value."""

import typing

import pytest

from sono_core import (
    Accept,
    BinaryMessage,
    Close,
    Event,
    Headers,
    Ping,
    Pong,
    Reject,
    Request,
    TextMessage,
)

EVENTS: list[Event] = [
    Request("/"),
    Accept(),
    Reject(404),
    TextMessage("a"),
    BinaryMessage(b"a"),
    Ping(),
    Pong(),
    Close(),
]


def test_event_is_the_union_of_them_all() -> None:
    assert set(typing.get_args(Event)) == {type(event) for event in EVENTS}


@pytest.mark.parametrize("event", EVENTS, ids=lambda event: type(event).__name__)
def test_events_are_immutable_and_hashable(event: Event) -> None:
    with pytest.raises(AttributeError):
        setattr(event, event.__struct_fields__[0], None)
    assert event in {event}


def test_events_are_compared_by_value_and_kind() -> None:
    assert TextMessage("a") == TextMessage("a")
    assert TextMessage("a") != TextMessage("b")
    assert Ping(b"a") != Pong(b"a")
    assert Accept(None, Headers({"A": "b"})) == Accept(None, Headers({"a": "b"}))


def test_the_defaults_are_the_plainest_event_of_each_kind() -> None:
    assert Ping().payload == Pong().payload == b""
    assert Close() == Close(1000, "", True)
    assert Reject(404) == Reject(404, Headers(), b"")
    assert Accept() == Accept(None, Headers())
    assert Request("/") == Request("/", Headers(), "GET", "", ())


@pytest.mark.parametrize(
    ("target", "path", "query"),
    [("/", "/", ""), ("/a?b=c", "/a", "b=c"), ("/?", "/", ""), ("/a?b?c", "/a", "b?c")],
)
def test_a_target_is_a_path_and_a_query(target: str, path: str, query: str) -> None:
    request = Request(target)
    assert (request.path, request.query) == (path, query)


def test_events_match_by_position() -> None:
    match Close(1001, "bye"):
        case Close(code, reason, clean):
            assert (code, reason, clean) == (1001, "bye", True)
    match TextMessage("hello"):
        case TextMessage(text):
            assert text == "hello"
