"""The player of transcripts, with servers and clients that tests have written.
docs/transcripts.md.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from sono_server.conformance import Client, Closed, Failed, Message, Server, parse, play

Heard = dict[str, list[Message | Closed]]


def event(k: int, stream: str = "#c", **more: Any) -> dict[str, Any]:
    return {"type": "event", "stream": stream, "at": ["e", k], "event": "x", "data": k, **more}


def ack(seq: int) -> dict[str, Any]:
    return {"type": "ack", "seq": seq}


class Scripted(Server):
    """Says what it was made with, whatever is said to it."""

    def __init__(self, *says: Any, protocol: str | None = "sono.v2") -> None:
        self.protocol = protocol
        self.says: Heard = {"a": [one if isinstance(one, Closed) else Message(one) for one in says]}
        self.seen: list[Any] = []

    def open(self, name: str, protocol: str | None) -> str | None:
        self.seen.append(("open", name, protocol))
        return self.protocol

    def say(self, name: str, message: Message) -> None:
        self.seen.append(("say", name, message.content))

    def say_raw(self, name: str, message: str | bytes) -> None:
        self.seen.append(("raw", name, message))

    def heard(self, name: str, *, patient: bool) -> Message | Closed | None:
        says = self.says.get(name)
        return says.pop(0) if says else None

    def close(self, name: str, code: int, reason: str) -> None:
        self.seen.append(("close", name, code, reason))

    def lose(self, name: str) -> None:
        self.seen.append(("lose", name))

    def wait(self, seconds: float) -> None:
        self.seen.append(("wait", seconds))


class Puppet(Client):
    """A client whose every word a test has written."""

    def __init__(self, *, offers: Sequence[Any] = (["sono.v2"],), told: Any = (), **says: Any):
        self.offers = list(offers)
        self.tells = list(told)
        self.says: Heard = {
            name: [one if isinstance(one, Closed) else Message(one) for one in said]
            for name, said in says.items()
        }
        self.seen: list[Any] = []

    say, say_raw, heard = Scripted.say, Scripted.say_raw, Scripted.heard  # type: ignore[assignment]
    close, lose, wait = Scripted.close, Scripted.lose, Scripted.wait  # type: ignore[assignment]

    def attempt(self, *, patient: bool) -> Sequence[str] | None:
        return self.offers.pop(0) if self.offers else None

    def accept(self, name: str, protocol: str | None) -> None:
        self.seen.append(("accept", name, protocol))

    def refuse(self, name: str, status: int, headers: Mapping[str, str]) -> None:
        self.seen.append(("refuse", name, status, dict(headers)))

    def do(self, word: str, name: str | None, arguments: Mapping[str, Any]) -> None:
        self.seen.append(("do", word, name, dict(arguments)))

    def told(self, *, patient: bool) -> tuple[str, Mapping[str, Any]] | None:
        return self.tells.pop(0) if self.tells else None


def played(subject: Any, *steps: Any, **head: Any) -> Any:
    """Play these steps behind an open connection; whoever was tested."""
    side = "client" if isinstance(subject, Client) else "server"
    first = {"title": "t", "clauses": ["5.1"], "for": [side], "level": "core", **head}
    lines = [json.dumps(line) for line in (first, {"open": "a"}, *steps)]
    play(parse("5.1-x.jsonl", "\n".join(lines)), subject)
    return subject


def server(*packets: Any) -> dict[str, Any]:
    return {"server": packets[0] if len(packets) == 1 else list(packets)}


def fails(subject: Any, *steps: Any, reason: str, **head: Any) -> None:
    with pytest.raises(Failed, match=reason):
        played(subject, *steps, **head)


# -- servers --------------------------------------------------------------------------------------


def test_entries_of_one_stream_are_in_order() -> None:
    played(Scripted(event(1), event(2)), server(event(1)), server(event(2)))
    fails(
        Scripted(event(2), event(1)),
        server(event(1)),
        server(event(2)),
        reason=r"line 3: \.at\[1\]",
    )


def test_entries_of_several_streams_may_interleave() -> None:
    says = event(1), event(1, "*"), event(2), {"type": "error", "code": "x", "message": "y"}
    played(
        Scripted(*says),
        server({"type": "error", "code": "x", "message": "$_"}),
        server(event(1)),
        server(event(2)),
        server(event(1, "*")),
    )


def test_a_volatile_event_is_outside_of_its_stream() -> None:
    volatile = {key: value for key, value in event(9).items() if key != "at"}
    played(Scripted(volatile, event(1)), server(event(1)), server(volatile))


def test_a_list_comes_in_exactly_that_order() -> None:
    one, other = event(1), event(1, "*")
    played(Scripted(one, ack(1), other), server(one, other))
    fails(Scripted(other, one), server(one, other), reason="came too early")


def test_acks_and_beats_are_ignored_unless_they_are_expected() -> None:
    beat = {"type": "beat"}
    played(Scripted(ack(1), beat, event(1), beat), server(event(1)))
    played(Scripted(ack(1), ack(3)), server({"type": "ack", "seq": {"$between": [2, None]}}))
    fails(Scripted(ack(1)), server(ack(2)), reason="missing on a: {'type': 'ack', 'seq': 2}")


def test_keys_that_the_protocol_does_not_know_are_ignored() -> None:
    played(Scripted(event(1, colour="red")), server(event(1)))
    odd = {"type": "dance", "x": 1}
    played(Scripted(odd), {"server": odd, "odd": True})
    fails(Scripted({**event(1), "from": "me"}), server(event(1)), reason=r"\.from should not be")


def test_what_is_missing_is_told_with_what_came_instead() -> None:
    reason = r"missing on a: {'type': 'beat'}; it was closed with 1008; unread: .*'#c'.* on a"
    fails(Scripted(event(1), Closed(1008)), server({"type": "beat"}), reason=reason)


def test_what_nobody_expects_is_a_failure() -> None:
    fails(Scripted(event(1)), {"nothing": True}, reason="line 3: not expected on a")
    fails(Scripted(event(1), event(2)), server(event(1)), reason="at the end: not expected on a")
    fails(Scripted("no packet"), {"nothing": True}, reason="not expected on a: 'no packet'")
    fails(Scripted(Closed(1011, "x")), {"nothing": True, "on": "a"}, reason="closed with 1011 x")


def test_names_are_bound_from_what_the_server_says() -> None:
    subject = played(
        Scripted(event(4)),
        server({**event(1), "at": "$at", "data": "$k"}),
        {"client": {"type": "read", "stream": "#c", "at": "$at"}},
        {"wait": {"$plus": ["$k", 1]}},
    )
    assert subject.seen == [
        ("open", "a", "sono.v2"),
        ("say", "a", {"type": "read", "stream": "#c", "at": ["e", 4]}),
        ("wait", 5.0),
    ]


def test_the_player_closes_loses_and_says_things_as_they_are() -> None:
    subject = played(
        Scripted(event(1)),
        {"raw": "text"},
        {"raw": {"$bytes": "AAE="}},
        {"lose": "a", "why": "what was under way is gone"},
        {"open": "b"},
        {"close": "b", "by": "client", "code": 3000, "reason": "x"},
        {"open": "c"},
        {"nothing": True},
    )
    assert subject.seen[1:] == [
        ("raw", "a", "text"),
        ("raw", "a", b"\x00\x01"),
        ("lose", "a"),
        ("open", "b", "sono.v2"),
        ("close", "b", 3000, "x"),
        ("open", "c", "sono.v2"),
    ]


def test_the_server_closes() -> None:
    close = {"close": "a", "by": "server", "code": 4010}
    played(Scripted(ack(1), Closed(4010)), close)
    played(Scripted(event(1), Closed(4010)), server(event(1)), close)
    played(Scripted(Closed(4011)), {"close": "a", "by": "server"})
    fails(Scripted(Closed(1000)), close, reason="closed with 1000 instead of 4010")
    fails(Scripted(), close, reason="connection a should have been closed$")
    fails(Scripted(event(1)), close, reason="should have been closed; unread: ")
    fails(Scripted(event(1), Closed(4010)), close, reason="not expected on a")


def test_the_subprotocol_must_be_agreed_on() -> None:
    fails(Scripted(protocol=None), {"nothing": True}, reason="agreed on None instead of 'sono.v2'")


def test_what_an_application_does_means_nothing_to_a_server() -> None:
    steps = ({"do": "connect"}, {"tell": "gap"}, {"refuse": "b", "status": 503}, {"nothing": True})
    subject = played(Scripted(), *steps, **{"for": ["server", "client"]})
    assert subject.seen == [("open", "a", "sono.v2")]


# -- clients --------------------------------------------------------------------------------------

HELLO = {"type": "hello"}


def test_a_client_is_given_values_for_names_that_have_none() -> None:
    welcome = {"type": "event", "stream": "@", "at": ["$s", "$n"], "event": "x", "data": 1}
    subject = played(
        Puppet(a=[HELLO, {"type": "read", "stream": "@", "at": ["s", 5]}]),
        {"client": HELLO},
        server(welcome),
        {"client": {"type": "read", "stream": "@", "at": ["$s", "$n"]}},
        values={"n": 5},
    )
    assert subject.seen[1] == ("say", "a", {**welcome, "at": ["s", 5]})


def test_packets_of_a_client_are_in_order() -> None:
    join = {"type": "join", "seq": 1, "channel": "c"}
    read = {"type": "read", "stream": "@", "at": ["s", 5]}
    beat = {"type": "beat"}
    played(Puppet(a=[HELLO, beat, read, join]), *({"client": one} for one in (HELLO, read, join)))
    fails(Puppet(a=[HELLO, join, read]), *({"client": one} for one in (HELLO, read)), reason="type")


def test_a_client_connects_when_it_should() -> None:
    again = ({"lose": "a"}, {"open": "b"})
    subject = played(Puppet(offers=[["sono.v2"], ["sono.v2"]]), *again)
    assert subject.seen == [("accept", "a", "sono.v2"), ("lose", "a"), ("accept", "b", "sono.v2")]
    fails(Puppet(), *again, reason="line 4: the client does not connect")
    early = Puppet(offers=[["sono.v2"], ["x"]])
    fails(early, {"nothing": True}, reason=r"line 3: the client connects, and offers \['x'\]")


def test_a_client_offers_what_it_should() -> None:
    fails(Puppet(offers=[["x"]]), {"nothing": True}, reason=r"offers \['x'\], and should offer")
    none = {"open": "b", "protocol": None, "offers": []}
    subject = played(Puppet(offers=[["sono.v2"], []]), {"lose": "a"}, none)
    assert subject.seen[-1] == ("accept", "b", None)
    any_ = {"open": "b", "protocol": None}
    played(Puppet(offers=[["sono.v2"], ["y"]]), {"lose": "a"}, any_)


def test_a_client_is_refused() -> None:
    refuse = {"refuse": "b", "status": 503, "headers": {"Retry-After": "7"}}
    subject = played(Puppet(offers=[["sono.v2"], ["sono.v2"]]), {"lose": "a"}, refuse)
    assert subject.seen[-1] == ("refuse", "b", 503, {"Retry-After": "7"})


def test_a_client_closes() -> None:
    played(Puppet(a=[Closed(1006)]), {"close": "a", "by": "client"})
    subject = played(Puppet(), {"close": "a", "by": "server", "code": 4012}, {"nothing": True})
    assert subject.seen[-1] == ("close", "a", 4012, "")


def test_an_application_does_and_is_told() -> None:
    told = [
        ("status", {"state": "open"}),
        ("request", {"name": "sure", "data": 1, "ref": 77}),
        ("outcome", {"of": "j"}),
        ("event", {"stream": "#c", "data": 1}),
        ("gap", {"stream": "#c", "from": 2, "to": 3}),
    ]
    subject = played(
        Puppet(told=told),
        {"do": "join", "as": "j", "with": {"channel": "c"}},
        {"tell": "event", "with": {"stream": "#c", "data": "$_"}},
        {"tell": "gap", "with": {"stream": "#c", "from": 2, "to": 3}},
        {"tell": "outcome", "with": {"of": "j"}},
        {"tell": "request", "with": {"name": "sure", "data": 1, "ref": "$ref"}},
        {"do": "reply", "with": {"to": "$ref", "data": 2}},
    )
    assert subject.seen[1:] == [
        ("do", "join", "j", {"channel": "c"}),
        ("do", "reply", None, {"to": 77, "data": 2}),
    ]


def test_an_application_is_told_the_right_thing_in_its_order() -> None:
    gap = {"tell": "gap", "with": {"stream": "#c", "from": 2, "to": 3}}
    told = [("event", {"stream": "#c", "data": 1}), ("gap", {"stream": "#c", "from": 2, "to": 3})]
    fails(Puppet(told=told), gap, reason=r"it was told \('event'")
    fails(Puppet(told=told[:1]), {"nothing": True}, reason=r"was told \('event'")
    other = [("gap", {"stream": "#d", "from": 2, "to": 3})]
    fails(Puppet(told=other), gap, reason="was not told gap .*; it was told .*#d")
    fails(Puppet(), gap, reason="the application was not told gap")


def test_a_status_is_ignored_unless_it_is_expected() -> None:
    told = [("status", {"state": state}) for state in ("connecting", "open", "closed")]
    played(Puppet(told=told), {"nothing": True})
    played(Puppet(told=told), {"tell": "status", "with": {"state": "open"}})
    fails(Puppet(told=told), {"tell": "status", "with": {"state": "lost"}}, reason="was not told")
