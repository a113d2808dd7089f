"""What is the same when transcripts are played to any client: its connections, and its clock."""

from __future__ import annotations

import threading
import time
from abc import abstractmethod
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from sono_client import ClientStatus, Gap, PresenceChanged, Received, RequestFailed
from sono_client.lossless import ClientSession
from sono_core.messaging.classic import Incoming
from sono_core.messaging.lossless import Position
from sono_server.conformance import Client, Closed, Message
from tests.client.transcript_wire import PATIENCE, Listener, Wire


class Clock:
    """A clock that jumps."""

    def __init__(self) -> None:
        self.now = 1000.0

    def time(self) -> float:
        return self.now


class SocketClient(Client):
    """A client that connects to this process.

    Args:
        random: from 0 up to 1: where in its range each wait is.
    """

    def __init__(self, random: float) -> None:
        self.clock = Clock()
        self.random = random
        self.listener = Listener()
        self.tokens: list[str] | None = None
        self.connecting = False
        """Whether an attempt of the client waits for its answer."""
        self.attempts = 0
        """How many there were."""
        self._wires: dict[str, Wire] = {}
        self._attempt: Wire | None = None
        self._tells: deque[tuple[str, dict[str, Any]]] = deque()
        self._changed = threading.Condition()

    # -- what kinds of clients differ in ----------------------------------------------------------

    @abstractmethod
    def settle(self) -> None:
        """Wait until the client has done all that it has to do now, but for what it waits for."""

    @abstractmethod
    def due(self) -> float:
        """When it has something to do."""

    @abstractmethod
    def begin(self) -> None:
        """Make the client, which connects."""

    @abstractmethod
    def call(self, word: str, name: str | None, given: dict[str, Any]) -> None:
        """Let the application say something."""

    @abstractmethod
    def jump(self, now: float) -> None:
        """Set the clock."""

    @abstractmethod
    def end(self) -> None:
        """Leave nothing behind."""

    # -- connections ------------------------------------------------------------------------------

    def _settled(self) -> None:
        for _ in range(2):
            for wire in self._wires.values():
                if not wire.over:
                    wire.catch_up()
            self.settle()
        for wire in self._wires.values():
            if not wire.over:
                wire.catch_up()

    def attempt(self, *, patient: bool) -> Sequence[str] | None:
        if self._attempt is None:
            self._settled()
            if not self.connecting and not patient:
                return None
            self._attempt = self.listener.next(PATIENCE)
        return self._attempt.offers if self._attempt else None

    def _taken(self) -> Wire:
        wire, self._attempt = self._attempt, None
        assert wire
        return wire

    def accept(self, name: str, protocol: str | None) -> None:
        wire = self._wires[name] = self._taken()
        wire.accept(protocol)
        self._after_an_attempt(wire)
        self._settled()

    def refuse(self, name: str, status: int, headers: Mapping[str, str]) -> None:
        wire = self._taken()
        wire.refuse(status, headers)
        self._after_an_attempt(wire)
        self._settled()

    def _after_an_attempt(self, wire: Wire) -> None:
        attempts = self.attempts
        until = time.monotonic() + PATIENCE
        while self.connecting and self.attempts == attempts and time.monotonic() < until:
            time.sleep(0.001)

    def close(self, name: str, code: int, reason: str) -> None:
        self._wires[name].close(code, reason)
        self._settled()

    def lose(self, name: str) -> None:
        self._wires[name].lose()
        self._settled()

    def say(self, name: str, message: Message) -> None:
        self._wires[name].say(message)
        self._settled()

    def say_raw(self, name: str, message: str | bytes) -> None:
        self._wires[name].say_raw(message)
        self._settled()

    def heard(self, name: str, *, patient: bool) -> Message | Closed | None:
        wire = self._wires[name]
        if not wire.heard:
            self._settled()
        if not wire.heard and patient:
            wire.hear()
        return wire.heard.popleft() if wire.heard else None

    def wait(self, seconds: float) -> None:
        end = self.clock.now + seconds
        while self.clock.now < (due := self.due()) <= end:
            self.jump(due)
            self._settled()
        self.jump(end)
        self._settled()

    def hang_up(self) -> None:
        """Lose all connections, and let no more come."""
        self.listener.close()
        for wire in (*self._wires.values(), *([self._attempt] if self._attempt else [])):
            wire.lose()

    # -- the application --------------------------------------------------------------------------

    def token(self) -> str:
        """What the application gives."""
        assert self.tokens
        return self.tokens.pop(0)

    def do(self, word: str, name: str | None, arguments: Mapping[str, Any]) -> None:
        given = dict(arguments)
        if word == "connect":
            self.tokens = given.get("tokens")
            self.begin()
        else:
            if "self" in given:
                given["to_self"] = given.pop("self")
            self.call(word, name, given)
        if word != "connect" and self._wires:
            self._settled()

    def told(self, *, patient: bool) -> tuple[str, Mapping[str, Any]] | None:
        self._settled()
        with self._changed:
            if patient:
                self._changed.wait_for(lambda: self._tells, PATIENCE)
            return self._tells.popleft() if self._tells else None

    def tell(self, kind: str, about: dict[str, Any]) -> None:
        """The application was told this."""
        with self._changed:
            self._tells.append((kind, about))
            self._changed.notify_all()

    def tell_event(self, incoming: Incoming) -> None:
        if isinstance(incoming, Received):
            told = {"stream": incoming.stream, "event": incoming.event}
            told["data"] = incoming.payload["message"]
            if incoming.at is not None:
                told["at"] = msgspec.to_builtins(incoming.at)
            if "from" in incoming.payload:
                told["from"] = incoming.payload["from"]
            self.tell("event", told)

    def tell_status(self, status: ClientStatus) -> None:
        if status.state != "open":
            self.tell("status", {"state": status.state})

    def tell_session(self, session: ClientSession) -> None:
        self.tell("status", {"state": "open", "resumed": session.resumed})

    def tell_gap(self, gap: Gap) -> None:
        self.tell("gap", {"stream": gap.stream, "from": gap.first, "to": gap.at.offset})

    def tell_presence(self, change: PresenceChanged, members: dict[str, Any]) -> None:
        there = [list(pair) for pair in members.items()]
        told = {"channel": change.channel, "members": there, "count": change.count}
        self.tell("members", told)

    def tell_outcome(self, name: str | None, outcome: object) -> None:
        if name is None:
            return
        told: dict[str, Any] = {"of": name}
        if isinstance(outcome, RequestFailed):
            told["error"] = {
                "code": outcome.code,
                "message": outcome.text,
                "temporary": outcome.temporary,
            }
        elif isinstance(outcome, Position):
            told["published"] = msgspec.to_builtins(outcome)
        elif outcome is not None:
            told["data"] = outcome
        self.tell("outcome", told)


def arguments_of(word: str, given: dict[str, Any]) -> tuple[list[Any], dict[str, Any]]:
    """The arguments of a client's method, by position and by name."""
    order = {"publish": ["channel", "event", "data"], "send": ["to", "event", "data"]}
    order |= {"request": ["name", "data"], "present": ["channel", "data"]}
    names = order.get(word, ["channel"])
    by_position = [given.pop(name, None) for name in names]
    return by_position, given
