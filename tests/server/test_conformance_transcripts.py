"""The transcripts themselves: valid, complete, and passed by a server; and none passes by doing
nothing."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from sono_server.conformance import (
    Client,
    Closed,
    Failed,
    Message,
    Server,
    Transcript,
    load,
    play,
)
from sono_server.conformance.matching import KINDS
from sono_server.conformance.transcripts import FIELDS, TELLS, WORDS
from tests.server.lossless_application import Model
from tests.server.lossless_model import Session

ROOT = Path(__file__).resolve().parents[2]
TRANSCRIPTS = load(ROOT / "tests" / "transcripts")
UNTESTED = {
    "4.2": "the bytes of a packet are not in a transcript",
}
"""Clauses that no transcript can show, and why."""


def for_(subject: str) -> list[Any]:
    return [
        pytest.param(transcript, id=transcript.name)
        for transcript in TRANSCRIPTS
        if subject in transcript.subjects
    ]


def test_every_clause_has_a_transcript() -> None:
    protocol = (ROOT / "docs" / "protocol.md").read_text("utf-8")
    clauses = re.findall(r"^- \*\*(\d+\.\d+)\*\* ", protocol, re.MULTILINE)
    assert len(clauses) == len(set(clauses)) > 50
    shown = {transcript.clauses[0] for transcript in TRANSCRIPTS}
    assert shown | set(UNTESTED) == set(clauses)
    assert not shown & set(UNTESTED)
    assert {clause for transcript in TRANSCRIPTS for clause in transcript.clauses} <= set(clauses)


def test_there_are_some_for_each_side() -> None:
    assert len(for_("server")) >= 60
    assert len(for_("client")) >= 30


def test_the_document_names_every_step_pattern_word_and_control() -> None:
    text = (ROOT / "docs" / "transcripts.md").read_text("utf-8")
    steps = re.findall(r"^\| `\{\"(\w+)\":[^`]*`", text, re.MULTILINE)
    assert [step for step in steps if step in FIELDS] == list(FIELDS)
    for kind, fields in FIELDS.items():
        (row,) = re.findall(rf"^\| `(\{{\"{kind}\":[^`]*)` \|", text, re.MULTILINE)
        assert set(re.findall(r"\"(\w+)\"\??:", row)) >= {kind, *fields} - {"odd"}
    do = text.partition("| `do` |")[2].partition("\n\n")[0]
    assert set(re.findall(r"`(\w+)`(?=[^|]*\| )", do)) >= WORDS
    tell = text.partition("| `tell` |")[2].partition("\n\n")[0]
    assert set(re.findall(r"^\| `(\w+)`", tell, re.MULTILINE)) == TELLS
    assert all(f"`{kind}`" in text for kind in KINDS)
    requests = text.partition("It answers these requests.")[2]
    named = set(re.findall(r"^\| `([\w.]+)` \|", requests, re.MULTILINE))
    assert named == {name for name in Model.requests if not name.startswith("sono.")}


def test_titles_say_something_of_their_own() -> None:
    titles = [transcript.title for transcript in TRANSCRIPTS]
    assert len(titles) == len(set(titles))


@pytest.mark.parametrize("transcript", for_("server"))
def test_a_server_can_pass(transcript: Transcript) -> None:
    play(transcript, Model())


class Silent(Server):
    """Says nothing, whatever is said to it."""

    def open(self, name: str, protocol: str | None) -> str | None:
        return protocol

    def say(self, name: str, message: Message) -> None:
        pass

    def say_raw(self, name: str, message: str | bytes) -> None:
        pass

    def heard(self, name: str, *, patient: bool) -> Message | Closed | None:
        return None

    def close(self, name: str, code: int, reason: str) -> None:
        pass

    def lose(self, name: str) -> None:
        pass

    def wait(self, seconds: float) -> None:
        pass


class Idle(Client):
    """Connects whenever it may, and does nothing else."""

    say, say_raw, heard = Silent.say, Silent.say_raw, Silent.heard  # type: ignore[assignment]
    close, lose, wait = Silent.close, Silent.lose, Silent.wait  # type: ignore[assignment]

    def attempt(self, *, patient: bool) -> Sequence[str] | None:
        return ["sono.v2"] if patient else None

    def accept(self, name: str, protocol: str | None) -> None:
        pass

    def refuse(self, name: str, status: int, headers: Mapping[str, str]) -> None:
        pass

    def do(self, word: str, name: str | None, arguments: Mapping[str, Any]) -> None:
        pass

    def told(self, *, patient: bool) -> tuple[str, Mapping[str, Any]] | None:
        return None


@pytest.mark.parametrize("transcript", for_("server"))
def test_a_server_that_says_nothing_fails(transcript: Transcript) -> None:
    with pytest.raises(Failed):
        play(transcript, Silent())


@pytest.mark.parametrize("transcript", for_("client"))
def test_a_client_that_says_nothing_fails(transcript: Transcript) -> None:
    with pytest.raises(Failed):
        play(transcript, Idle())


# -- servers with one defect each -----------------------------------------------------------------


class RepeatsItself(Model):
    """Handles a number that comes again."""

    def numbered(self, conn: Any, session: Session, packet: Any) -> None:
        session.accepted = min(session.accepted, packet.seq - 1)
        session.results.pop(packet.seq, None)
        super().numbered(conn, session, packet)


class TakesLeaps(Model):
    """Accepts a number above the next one."""

    def numbered(self, conn: Any, session: Session, packet: Any) -> None:
        session.accepted = max(session.accepted, packet.seq - 1)
        super().numbered(conn, session, packet)


class ClaimsTooMuch(Model):
    """Says recovered for every position."""

    def begin(self, session: Session, stream: str, position: Any) -> Any:
        begun, entries = super().begin(session, stream, position)
        return {**begun, "recovered": position is not None}, entries


class ForgetsTheSkips(Model):
    """Sends its own entry to who left itself out."""

    def seen(self, entry: dict[str, Any], session: Session) -> dict[str, Any]:
        return {key: value for key, value in entry.items() if key != "not"}


class LetsTheFormerKeyLive(Model):
    """Never retires a key."""

    def take(self, conn: Any, session: Session, packet: Any) -> None:
        former = session.kept = getattr(session, "kept", session.key)  # type: ignore[attr-defined]
        super().take(conn, session, packet)
        session.former = former


class LeavesTheOlderOpen(Model):
    """Does not close the older connection of a session."""

    def end(self, conn: Any, code: int) -> None:
        if code != 4012:
            super().end(conn, code)


class ForgetsAtOnce(Model):
    """Ends a session with its connection."""

    def lose(self, name: str) -> None:
        super().lose(name)
        if session := self.conns[name].session:
            self.forget(session)


class AnswersOutOfTurn(Model):
    """Handles packets behind a handler that is at work."""

    def next(self, session: Session) -> None:
        while session.queue:
            self.handle(session, session.queue.pop(0))


class TrustsTheKeyAlone(Model):
    """Resumes a session for whoever has its key."""

    def hello(self, conn: Any, hello: Any) -> None:
        for session in self.sessions.values():
            if hello.key and hello.key == session.key:
                session.identity = {"good": "good", "other": "other"}.get(hello.token or "")
        super().hello(conn, hello)


class NeverBeats(Model):
    """Is silent when there is nothing to say."""

    def beat(self, conn: Any) -> None:
        pass


DEFECTS: dict[type[Model], str] = {
    RepeatsItself: "3.2-a-number-that-comes-again.jsonl",
    TakesLeaps: "3.3-a-number-that-leaps.jsonl",
    ClaimsTooMuch: "5.6-one-channel-is-evicted.jsonl",
    ForgetsTheSkips: "2.9-who-leaves-itself-out-gets-a-skip.jsonl",
    LetsTheFormerKeyLive: "5.11-a-welcome-that-was-lost.jsonl",
    LeavesTheOlderOpen: "5.12-the-newer-connection-wins.jsonl",
    ForgetsAtOnce: "5.6-nothing-was-ever-published.jsonl",
    AnswersOutOfTurn: "3.7-one-after-the-other.jsonl",
    TrustsTheKeyAlone: "5.10-a-key-of-another-identity.jsonl",
    NeverBeats: "4.9-a-beat-in-silence.jsonl",
}


@pytest.mark.parametrize("defect", DEFECTS, ids=lambda defect: defect.__name__)
def test_a_defect_is_found(defect: type[Model]) -> None:
    found = []
    for transcript in TRANSCRIPTS:
        if "server" in transcript.subjects:
            try:
                play(transcript, defect())
            except Failed:
                found.append(transcript.name)
    assert DEFECTS[defect] in found
