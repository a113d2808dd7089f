"""Files of transcripts: what is refused, and with which text. docs/transcripts.md."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from sono_server.conformance import TranscriptError, load, parse
from sono_server.conformance.codec import read, with_bytes, without_bytes, written
from sono_server.conformance.transcripts import normal

HEAD = {"title": "A title", "clauses": ["5.1"], "for": ["server"], "level": "core"}
OPEN = {"open": "a"}
HELLO = {"client": {"type": "hello"}}
ANSWER = {"server": {"type": "error", "code": "hello-first", "message": "$_"}}
NAME = "5.1-words.jsonl"


def text(*lines: Any, head: Any = HEAD) -> str:
    return "\n".join(json.dumps(line) for line in (head, *lines))


def test_a_transcript() -> None:
    transcript = parse(NAME, text(OPEN, HELLO, {**ANSWER, "why": "for readers"}))
    assert (transcript.title, transcript.clauses) == ("A title", ("5.1",))
    assert (transcript.subjects, transcript.level) == (("server",), "core")
    assert [(step.line, step.kind, step.on) for step in transcript.steps()] == [
        (2, "open", "a"),
        (3, "client", "a"),
        (4, "server", "a"),
    ]


def test_each_play_has_names_of_its_own() -> None:
    join = {"client": {"type": "join", "seq": 1, "channel": "room:{run}"}}
    transcript = parse(NAME, text(OPEN, join, ANSWER))
    assert transcript.steps("x1")[1].fields["client"]["channel"] == "room:x1"


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"title": ""}, "title is missing"),
        ({"level": "easy"}, "level is neither core nor usual nor full"),
        ({"for": []}, "for is no list"),
        ({"for": ["proxy"]}, "for is no list"),
        ({"for": 5}, "not iterable"),
        ({"clauses": ["5.2", "5.1"]}, "clauses does not begin with it"),
        ({"clauses": ["5.1", "six"]}, "clauses is no list of numbers"),
        ({"clauses": []}, "clauses does not begin with it"),
        ({"colour": "red"}, "colour is not known"),
    ],
)
def test_a_first_line_that_is_wrong(change: dict[str, Any], reason: str) -> None:
    with pytest.raises(TranscriptError, match=rf"^5.1-words.jsonl, line 1: .*{reason}"):
        parse(NAME, text(OPEN, HELLO, ANSWER, head={**HEAD, **change}))


@pytest.mark.parametrize("name", ["words.jsonl", "5.1.jsonl", "5.1-Words.jsonl", "5.1-words.json"])
def test_a_name_that_is_wrong(name: str) -> None:
    with pytest.raises(TranscriptError, match="its name is not CLAUSE-words"):
        parse(name, text(OPEN, HELLO, ANSWER))


@pytest.mark.parametrize(
    ("steps", "reason"),
    [
        ([[]], "line 2: not an object"),
        ([{"fly": 1}], "line 2: not one of open, "),
        ([{"open": "a", "lose": "a"}], "not one of"),
        ([{"open": "a", "colour": 1}], "colour is not known"),
        ([OPEN, OPEN], "line 3: connection a was there before"),
        ([HELLO], "connection a is not open"),
        ([OPEN, {"lose": "a"}, HELLO], "line 4: connection a is not open"),
        ([OPEN, {"lose": "b"}], "connection b is not open"),
        ([OPEN, {"close": "b"}], "connection b is not open"),
        ([OPEN, {"close": "a", "by": "me"}], "by is neither server nor client"),
        ([OPEN, {"nothing": True, "on": "b"}], "connection b is not open"),
        ([OPEN, {"nothing": False}], "nothing is not true"),
        ([OPEN, {"client": 5}], "a packet is no object"),
        ([OPEN, {"client": {"type": "dance"}}], "a client sends no packet of type 'dance'"),
        ([OPEN, {"client": {"type": "welcome"}}], "a client sends no packet of type 'welcome'"),
        ([OPEN, {"client": {"type": "hello", "tokens": 1}}], "hello has no key 'tokens'"),
        ([OPEN, {"client": {"type": "join", "seq": 1}}], "join needs the key 'channel'"),
        ([OPEN, {"server": [{"type": "ack"}]}], "ack needs the key 'seq'"),
        ([OPEN, {"client": {"type": "hello", "key": "$key"}}], r"\$key is not bound yet"),
        ([OPEN, {"client": {"type": "hello", "key": "$"}}], "is no placeholder"),
        ([OPEN, {"server": {"type": "ack", "seq": {"$is": "x"}}}], r"\$is is misused"),
        ([OPEN, {"raw": 5}], "raw is neither a text nor"),
        ([OPEN, {"raw": {"$bytes": "", "x": 1}}], "raw is neither a text nor"),
        ([OPEN, {"raw": "x", "by": "server"}], "what is tested says no raw messages"),
        ([OPEN, {"wait": "$beat"}], r"\$beat is not bound yet"),
        ([{"do": "connect"}], "do is for clients"),
        ([{"tell": "gap"}], "tell is for clients"),
        ([{"refuse": "a", "status": 503}], "refuse is for clients"),
        ([OPEN, HELLO], "nothing is expected of the server"),
    ],
)
def test_a_step_that_is_wrong(steps: list[Any], reason: str) -> None:
    with pytest.raises(TranscriptError, match=reason):
        parse(NAME, text(*steps))


@pytest.mark.parametrize(
    ("steps", "reason"),
    [
        ([{"do": "dance"}], "'dance' is no word of an application"),
        ([{"tell": "lies"}], "'lies' is nothing that a client tells"),
        ([{"refuse": "a"}], "status is missing"),
        ([{"do": "connect"}], "nothing is expected of the client"),
    ],
)
def test_a_step_for_clients_that_is_wrong(steps: list[Any], reason: str) -> None:
    with pytest.raises(TranscriptError, match=reason):
        parse(NAME, text(*steps, head={**HEAD, "for": ["client"]}))


@pytest.mark.parametrize("line", ["", "{", '{"open":"a","open":"b"}', "5"])
def test_a_line_that_is_no_object(line: str) -> None:
    with pytest.raises(TranscriptError, match="line 2: "):
        parse(NAME, text() + "\n" + line + "\n" + json.dumps(OPEN))
    with pytest.raises(TranscriptError, match="line 1: "):
        parse(NAME, line)


def test_an_odd_packet_may_be_anything() -> None:
    odd = {"client": {"type": "dance", "steps": 5}, "odd": True}
    assert parse(NAME, text(OPEN, odd, ANSWER)).steps()[1].fields["odd"]


def test_a_folder_is_in_the_order_of_its_clauses(tmp_path: Path) -> None:
    for clause in ("5.10", "5.2", "10.1"):
        head = {**HEAD, "clauses": [clause]}
        (tmp_path / f"{clause}-x.jsonl").write_text(text(OPEN, HELLO, ANSWER, head=head))
    (tmp_path / "README").write_text("no transcript")
    assert [transcript.clauses[0] for transcript in load(tmp_path)] == ["5.2", "5.10", "10.1"]


def test_a_packet_has_the_keys_that_it_leaves_out_and_none_that_receivers_ignore() -> None:
    assert normal({"type": "join", "seq": 1, "channel": "c", "colour": 1}, "client") == {
        "type": "join",
        "seq": 1,
        "channel": "c",
        "presence": False,
    }
    error = {"code": "c", "message": "m"}
    denied = [{"channel": "c", "error": error}]
    welcome = normal({"type": "welcome", "denied": denied}, "server")
    assert welcome["denied"][0]["error"] == {**error, "temporary": False}
    assert (welcome["beat"], welcome["limits"]) == (25.0, {})
    assert normal({"type": "welcome", "$more": True}, "server") == {
        "type": "welcome",
        "$more": True,
    }
    assert normal({"type": "result", "error": error}, "server")["error"]["temporary"] is False
    for odd in ({"type": "dance", "x": 1}, ["no packet"], "text"):
        assert normal(odd, "server") == odd


def test_packets_as_json_and_as_messagepack() -> None:
    packet = {"data": [{"$bytes": "AAH/"}, 1, None, {"$bytes": "AAH/", "x": 1}]}
    message = written(packet, "sono.v2")
    assert isinstance(message, str)
    assert read(message, "sono.v2") == packet
    packet = {"data": [{"$bytes": "AAH/"}, 1, None]}
    message = written(packet, "sono.v2.msgpack")
    assert isinstance(message, bytes)
    assert with_bytes(packet) == {"data": [b"\x00\x01\xff", 1, None]}
    assert without_bytes(with_bytes(packet)) == packet
    assert read(message, "sono.v2.msgpack") == packet


@pytest.mark.parametrize(
    ("message", "protocol", "content"),
    [
        ("no JSON", "sono.v2", "no JSON"),
        (b"\x00", "sono.v2", {"$bytes": "AA=="}),
        ("{}", "sono.v2.msgpack", "{}"),
        (b"\xc1", "sono.v2.msgpack", {"$bytes": "wQ=="}),
        ('{"protocol":"message"}', None, {"protocol": "message"}),
    ],
)
def test_a_message_that_is_no_packet(
    message: str | bytes, protocol: str | None, content: Any
) -> None:
    assert read(message, protocol) == content
