"""Compares what was sent to whom with what came: gaps, duplicates, order, recipients.

Publishers number their messages from 1. A message may be missing if its receiver can know why:
its own connection ended meanwhile, or the publisher's connection over which it was sent. So a
missing message is a gap if a later one came over the same two connections.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from typing import NamedTuple

_SHOWN = 20  # findings that are kept in full; all are counted

KINDS = ("gap", "duplicate", "reordered", "wrong recipient")


class Finding(NamedTuple):
    """An error."""

    kind: str
    publisher: str
    receiver: str
    number: int


class _Sent(NamedTuple):
    """What many messages have in common; they share it."""

    connection: int
    recipients: Collection[str]


class _Line:
    """What one receiver got from one publisher."""

    __slots__ = ("connection", "last", "missing")

    def __init__(self) -> None:
        self.last = 0
        self.connection = 0  # of the receiver, over which the last message came
        self.missing: dict[int, bool] = {}  # numbers below the last, and whether each is a gap


class Oracle:
    """Knows what everybody should receive, and records what everybody received."""

    def __init__(self) -> None:
        self._sent: dict[str, list[_Sent]] = {}
        self._lines: dict[tuple[str, str], _Line] = {}
        self._sending: Counter[str] = Counter()  # earlier connections of each publisher
        self._receiving: Counter[str] = Counter()  # earlier connections of each receiver
        self._finished = False
        self.sent = 0
        """Messages in all."""
        self.delivered = 0
        """Copies of them that came."""
        self.excused = 0
        """Copies that did not come because a connection ended; known after `finish`."""
        self.found: Counter[str] = Counter()
        """The number of findings of each kind."""
        self.findings: list[Finding] = []
        """The first findings."""

    # -- recording ------------------------------------------------------------------------------

    def sends(self, publisher: str, recipients: Collection[str]) -> int:
        """Record a message that is about to be sent to these recipients; returns its number."""
        numbered = self._sent.setdefault(publisher, [])
        facts = _Sent(self._sending[publisher], recipients)
        numbered.append(numbered[-1] if numbered and numbered[-1] == facts else facts)
        self.sent += 1
        return len(numbered)

    def sends_anew(self, publisher: str) -> None:
        """The publisher has a new connection: the last messages over the old one may be lost."""
        self._sending[publisher] += 1

    def receives_anew(self, receiver: str) -> None:
        """The receiver has a new connection."""
        self._receiving[receiver] += 1

    def received(self, receiver: str, publisher: str, number: int) -> None:
        """Record a message that came."""
        numbered = self._sent.get(publisher, ())
        self.delivered += 1
        if not 0 < number <= len(numbered) or receiver not in numbered[number - 1].recipients:
            self._note("wrong recipient", publisher, receiver, number)
            return
        line = self._lines.setdefault((publisher, receiver), _Line())
        if number > line.last:
            self._note_missing(line, publisher, receiver, number)
            line.last = number
            line.connection = self._receiving[receiver]
        elif number in line.missing:
            del line.missing[number]
            self._note("reordered", publisher, receiver, number)
        else:
            self._note("duplicate", publisher, receiver, number)

    # -- judging --------------------------------------------------------------------------------

    def complete(self) -> bool:
        """Whether the last message of each publisher has come to all its recipients."""
        return all(
            self._lines.get((publisher, receiver), _NOTHING).last == len(numbered)
            for publisher, numbered in self._sent.items()
            for receiver in numbered[-1].recipients
        )

    def finish(self) -> list[Finding]:
        """Judge the whole exchange; nothing more will come."""
        if not self._finished:
            self._finished = True
            self._look_at_the_ends()
            for (publisher, receiver), line in self._lines.items():
                for number, gap in line.missing.items():
                    if gap:
                        self._note("gap", publisher, receiver, number)
                    else:
                        self.excused += 1
        return self.findings

    def _look_at_the_ends(self) -> None:
        """Judge the messages after the last one that came."""
        everybody = {name for sent in self._sent.values() for facts in sent for name in facts[1]}
        for publisher, numbered in self._sent.items():
            for receiver in everybody:
                line = self._lines.setdefault((publisher, receiver), _Line())
                same = line.connection == self._receiving[receiver]
                for number in range(line.last + 1, len(numbered) + 1):
                    facts = numbered[number - 1]
                    if receiver in facts.recipients:
                        lives = facts.connection == self._sending[publisher]
                        line.missing[number] = same and lives

    def _note_missing(self, line: _Line, publisher: str, receiver: str, number: int) -> None:
        numbered = self._sent[publisher]
        came = numbered[number - 1].connection
        same = line.connection == self._receiving[receiver]
        for skipped in range(line.last + 1, number):
            facts = numbered[skipped - 1]
            if receiver in facts.recipients:
                line.missing[skipped] = same and facts.connection == came

    def _note(self, kind: str, publisher: str, receiver: str, number: int) -> None:
        self.found[kind] += 1
        if len(self.findings) < _SHOWN:
            self.findings.append(Finding(kind, publisher, receiver, number))


_NOTHING = _Line()
