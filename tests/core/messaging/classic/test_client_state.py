"""The client's state machine: what it sends, and what an answer means."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from sono_core import LocalProtocolError
from sono_core.limits import DEFAULT_LIMITS
from sono_core.messaging.classic.client import (
    ClientState,
    Incoming,
    broadcast,
    change_channel,
    direct_message,
    message,
)
from sono_core.messaging.classic.packets import parse

# -- packets ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("packet", "expected"),
    [
        (
            message({"a": [1, None]}),
            {"protocol": "message", "event": "message", "payload": {"message": {"a": [1, None]}}},
        ),
        (
            message("ü", "chat"),
            {"protocol": "message", "event": "chat", "payload": {"message": "ü"}},
        ),
        (
            broadcast("x", "chat"),
            {"protocol": "broadcast", "event": "chat", "payload": {"message": "x"}},
        ),
        (
            direct_message("x", "id7"),
            {
                "protocol": "directmessage",
                "event": "message",
                "payload": {"message": "x", "to": "id7"},
            },
        ),
        (change_channel("news"), {"protocol": "changeChannel", "payload": {"to": "news"}}),
        (
            ClientState().grab("myid")[1],
            {"protocol": "grab", "event": "grab", "payload": {"message": "myid"}},
        ),
    ],
)
def test_a_packet_is_what_the_protocol_says_and_the_server_takes_it(
    packet: str, expected: dict[str, Any]
) -> None:
    assert json.loads(packet) == expected
    parse(packet, DEFAULT_LIMITS)


@pytest.mark.parametrize("send", [message, broadcast, lambda m, e: direct_message(m, "id", e)])
@pytest.mark.parametrize(
    ("event", "error"),
    [
        ("grab", ValueError),
        ("error", ValueError),
        ("", ValueError),
        ("x" * 129, ValueError),
        ("a\nb", ValueError),
        (None, TypeError),
        (b"chat", TypeError),
    ],
)
def test_an_event_that_the_server_would_refuse_is_refused_here(
    send: Callable[[object, Any], str], event: Any, error: type[Exception]
) -> None:
    with pytest.raises(error, match="event"):
        send("x", event)


def looped() -> list[object]:
    items: list[object] = []
    items.append(items)
    return items


@pytest.mark.parametrize(
    ("content", "error"),
    [
        (object(), TypeError),
        (looped(), TypeError),
        ({"a": "\ud800"}, LocalProtocolError),
    ],
)
def test_what_json_cannot_carry_is_refused(content: object, error: type[Exception]) -> None:
    with pytest.raises(error):
        message(content)


def test_names_and_ids_are_text() -> None:
    wrong: Any = 7
    with pytest.raises(TypeError, match="to must be of type str"):
        direct_message("x", wrong)
    with pytest.raises(TypeError, match="channel must be of type str"):
        change_channel(wrong)
    with pytest.raises(TypeError, match="kind must be of type str"):
        ClientState().grab(wrong)


# -- events -------------------------------------------------------------------------------------


def test_callbacks_of_an_event_are_kept_in_order_and_can_be_taken_back() -> None:
    state = ClientState()
    seen: list[object] = []
    first, second = seen.append, seen.extend
    state.on("x", first)
    state.on("x", second)
    state.on("y", first)
    assert state.callbacks("x") == [first, second]
    state.off("x", first)
    assert state.callbacks("x") == [second]
    state.off("x", first)  # a second time
    state.off("nobody listens to this")
    state.off("nobody listens to this", first)
    state.off("y")
    assert state.callbacks("y") == []
    assert state.callbacks("x") == [second]


def test_the_list_of_callbacks_is_the_callers_own() -> None:
    state = ClientState()
    state.on("x", print)
    state.callbacks("x").clear()
    assert state.callbacks("x") == [print]


def test_what_cannot_be_called_is_no_callback() -> None:
    state = ClientState()
    nothing: Any = None
    with pytest.raises(TypeError, match="callable"):
        state.on("x", nothing)
    assert state.callbacks("x") == []


def test_an_event_comes_with_its_payload() -> None:
    text = '{"protocol":"chat","payload":{"message":[1],"from":"id7"},"message":"ignored"}'
    assert ClientState().receive(text) == Incoming("chat", {"message": [1], "from": "id7"})


@pytest.mark.parametrize(
    "text",
    [
        "",
        "x",
        "null",
        "[]",
        "7",
        "{}",
        '{"protocol":"x"}',
        '{"payload":{}}',
        '{"protocol":7,"payload":{}}',
        '{"protocol":"x","payload":null}',
        '{"protocol":"x","payload":[]}',
        '{"protocol":"x","payload":{"message":NaN}}',
        '{"protocol":"x","payload":{"message":"\\ud800"}}',
        '{"protocol":"x","payload":{"message":' + "1" * 5000 + "}}",
        '{"protocol":"x","payload":{"message":' + "[" * 100_000,
        b'{"protocol":"x","payload":{}}',
        b"\xff",
    ],
)
def test_what_is_no_packet_is_ignored(text: str | bytes) -> None:
    assert ClientState().receive(text) is None


# -- listings -----------------------------------------------------------------------------------


def listing(kind: object, *items: str) -> str:
    return json.dumps({"protocol": "grab", "payload": {"message": items, "type": kind}})


def test_listings_go_to_the_questions_of_their_kind_first_in_first_out() -> None:
    state = ClientState()
    first, second = state.grab("clients")[0], state.grab("clients")[0]
    other = state.grab("myid")[0]
    assert state.receive(listing("myid", "me")) == Incoming(
        "grab", {"message": ["me"], "type": "myid"}
    )
    assert (first.items, second.items, other.items) == (None, None, ["me"])
    state.receive(listing("clients", "a"))
    assert (first.items, second.items) == (["a"], None)
    state.receive(listing("clients"))
    assert (first.items, second.items) == (["a"], [])
    assert (first.kind, other.kind) == ("clients", "myid")


def test_a_listing_that_nobody_asked_for_is_an_event_and_nothing_else() -> None:
    state = ClientState()
    state.grab("clients")
    state.receive(listing("clients", "a"))
    for kind in ("clients", "channels"):
        assert state.receive(listing(kind)) == Incoming("grab", {"message": [], "type": kind})
    assert state.grab("clients")[0].items is None


@pytest.mark.parametrize(
    "text",
    [
        '{"protocol":"message","payload":{"message":["forged"],"type":"myid"}}',
        '{"protocol":"grab","payload":{"message":["forged"]}}',
        '{"protocol":"grab","payload":{"message":["forged"],"type":["myid"]}}',
        '{"protocol":"grab","payload":{"message":"forged","type":"myid"}}',
        '{"protocol":"grab","payload":{"type":"myid"}}',
    ],
)
def test_what_has_no_kind_or_no_list_answers_no_question(text: str) -> None:
    state = ClientState()
    pending, _ = state.grab("myid")
    state.receive(text)
    assert pending.items is None


@pytest.mark.parametrize(("flag", "truncated"), [(True, True), (False, False), (1, False)])
def test_a_listing_that_was_cut_says_so(flag: object, truncated: bool) -> None:
    state = ClientState()
    pending, _ = state.grab("clients")
    payload = {"message": ["a"], "type": "clients", "truncated": flag}
    state.receive(json.dumps({"protocol": "grab", "payload": payload}))
    assert pending.items == ["a"]
    assert pending.items.truncated is truncated
    other, _ = state.grab("clients")
    state.receive(listing("clients", "a"))
    assert other.items is not None
    assert not other.items.truncated


def test_the_kind_of_a_question_may_be_any_text() -> None:
    state = ClientState()
    pending, packet = state.grab("__proto__")
    assert json.loads(packet)["payload"] == {"message": "__proto__"}
    state.receive(listing("__proto__", "invalid grab request"))
    assert pending.items == ["invalid grab request"]
    with pytest.raises(LocalProtocolError, match="surrogate"):
        state.grab("\ud800")


# -- a connection that replaces a lost one --------------------------------------------------------


def test_a_client_returns_to_where_it_last_asked_to_be() -> None:
    state = ClientState()
    assert state.returned() == []
    for name in ("news", "sports"):
        assert state.change_channel(name) == change_channel(name)
    assert state.returned() == [change_channel("sports")]
    assert state.returned() == [change_channel("sports")]


def test_a_name_that_is_refused_is_not_returned_to() -> None:
    state = ClientState()
    wrong: Any = 7
    with pytest.raises(TypeError, match="channel must be of type str"):
        state.change_channel(wrong)
    for name in ("", "x" * 129, "a\n", "\ud800"):
        with pytest.raises(ValueError):
            state.change_channel(name)
    assert state.returned() == []


def test_a_question_is_asked_until_it_is_answered() -> None:
    state = ClientState()
    asking = [state.asking]
    state.grab("myid")
    state.grab("clients")
    asking.append(state.asking)
    for kind in ("myid", "clients"):
        state.receive(listing(kind, "me"))
        asking.append(state.asking)
    assert asking == [False, True, True, False]


def test_a_question_asked_on_the_lost_connection_is_forgotten() -> None:
    state = ClientState()
    old, _ = state.grab("myid")
    state.returned()
    assert not state.asking
    new, _ = state.grab("myid")
    state.receive(listing("myid", "me"))
    assert (old.items, new.items) == (None, ["me"])


def test_an_event_shows_its_name_and_not_what_it_holds() -> None:
    assert "secret" not in repr(Incoming("chat", {"message": "secret"}))
    assert "chat" in repr(Incoming("chat", {"message": "secret"}))
