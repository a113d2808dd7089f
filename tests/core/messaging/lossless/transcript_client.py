"""The client's machine as transcripts test it: connections in memory, and a clock that jumps."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from msgspec import UNSET

from sono_core.connect import Backoff, Reconnection
from sono_core.errors import ConnectError
from sono_core.events import Close
from sono_core.messaging.lossless import client, packets
from sono_server.conformance import Client, Closed, Message, Skipped

LOST = Close(1006, "", False)


class MachineClient(Client):
    """A `ClientMachine`, and the little that a driver does.

    Args:
        random: from 0 up to 1: where in its range each wait is.
    """

    def __init__(self, random: float = 0.5) -> None:
        self._now = 1000.0
        self._random = random
        self._machine = client.ClientMachine(keep=lambda packet: (packet, 100))
        self._tokens: list[str] = []
        self._connects = False  # whether an attempt waits for its answer
        self._retry_at = math.inf
        self._connection: str | None = None
        self._said: dict[str, list[Message | Closed]] = {}
        self._told: list[tuple[str, dict[str, Any]]] = []
        self._calls: list[tuple[client.Pending, str]] = []

    # -- connections ---------------------------------------------------------------------------

    def attempt(self, *, patient: bool) -> Sequence[str] | None:
        return ["sono.v2"] if self._connects else None

    def accept(self, name: str, protocol: str | None) -> None:
        if protocol is None:
            raise Skipped("what to do without a subprotocol is decided by the driver")
        self._connects = False
        self._connection = name
        self._said[name] = []
        self._reconnection.opened(self._now)
        self._machine.connected(self._now, self._token())
        self._go_on()

    def refuse(self, name: str, status: int, headers: Mapping[str, str]) -> None:
        self._connects = False
        after = headers.get("Retry-After")
        self._end(ConnectError("refused", status, retry_after=float(after) if after else None))

    def close(self, name: str, code: int, reason: str) -> None:
        if name == self._connection:
            self._end(Close(code, reason, True))

    def lose(self, name: str) -> None:
        if name == self._connection:
            self._end(LOST)

    def _end(self, end: ConnectError | Close) -> None:
        self._connection = None
        delay = self._reconnection.after(end, self._now)
        self._retry_at = math.inf if delay is None else self._now + delay
        self._machine.lost(self._now, delay)
        self._go_on()

    def _token(self) -> str | None:
        return self._tokens.pop(0) if self._tokens else None

    # -- packets -------------------------------------------------------------------------------

    def say(self, name: str, message: Message) -> None:
        try:
            packet = msgspec.convert(message.content, packets.FromServer)
        except msgspec.ValidationError:
            return
        if name == self._connection:
            self._machine.receive(packet, self._now)
            self._go_on()

    def say_raw(self, name: str, message: str | bytes) -> None:
        if isinstance(message, str):
            try:
                content = msgspec.json.decode(message)
            except msgspec.DecodeError:
                return
            self.say(name, Message(content))

    def heard(self, name: str, *, patient: bool) -> Message | Closed | None:
        return self._said[name].pop(0) if self._said[name] else None

    def wait(self, seconds: float) -> None:
        end = self._now + seconds
        while (due := min(self._machine.next_deadline(), self._retry_at)) <= end:
            self._now = max(self._now, due)
            if self._retry_at <= self._now:
                self._retry_at = math.inf
                self._connects = True
                self._machine.connecting()
            self._machine.tick(self._now)
            self._go_on()
        self._now = end

    def _go_on(self) -> None:
        for packet in self._machine.packets_to_send():
            assert self._connection is not None
            self._said[self._connection].append(Message(msgspec.to_builtins(packet)))
        for event in self._machine.events():
            if isinstance(event, client.TokenWanted):
                self._machine.token(self._token() or "")
                self._go_on()
            elif (told := self._as_told(event)) is not None:
                self._told.append(told)
        if self._connection is not None and self._machine.dead:
            self._said[self._connection].append(Closed(1006))
            self._end(LOST)

    # -- the application -----------------------------------------------------------------------

    def do(self, word: str, name: str | None, arguments: Mapping[str, Any]) -> None:
        given = dict(arguments)
        if word == "connect":
            self._tokens = given.get("tokens", [])
            backoff = Backoff(random=lambda: self._random)
            self._reconnection = Reconnection(backoff, renews=bool(self._tokens))
            self._connects = True
            return
        if word == "close":
            self._machine.bye()
        else:
            if "self" in given:
                given["to_self"] = given.pop("self")
            if word == "reply":
                given["request"] = given.pop("to")
                if "error" in given:
                    given["error"] = packets.Failure(**given["error"])
            called = getattr(self._machine, word)(now=self._now, **given)
            if name is not None:
                self._calls.append((called, name))
        self._go_on()

    def told(self, *, patient: bool) -> tuple[str, Mapping[str, Any]] | None:
        return self._told.pop(0) if self._told else None

    def _as_told(self, event: client.Told) -> tuple[str, dict[str, Any]] | None:
        plain = msgspec.to_builtins
        match event:
            case packets.Event():
                told = {key: value for key, value in plain(event).items() if key != "type"}
                return "event", told
            case packets.Asked():
                return "request", {"name": event.name, "data": event.data, "ref": event.id}
            case client.Opened():
                return "status", {"state": "open", "resumed": event.resumed}
            case client.Missed():
                return "gap", {"stream": event.stream, "from": event.first, "to": event.at.offset}
            case client.Entered():
                return "joined", {"channel": event.channel, "current": event.current}
            case client.Departed():
                return "left", {"channel": event.channel, "code": event.code}
            case client.PresenceChanged():
                there = [list(pair) for pair in self._machine.members(event.channel).items()]
                told = {"channel": event.channel, "members": there, "count": event.count}
                return "members", told
            case client.Settled():
                names = [name for pending, name in self._calls if pending is event.pending]
                return ("outcome", {"of": names[0], **outcome(event.pending)}) if names else None
            case client.Status() if event.state is not client.State.OPEN:
                return "status", {"state": event.state.value}
        return None


def outcome(pending: client.Pending) -> dict[str, Any]:
    """What a call came to."""
    result = pending.outcome
    if isinstance(result, packets.Failure):
        return {"error": {key: getattr(result, key) for key in ("code", "message", "temporary")}}
    assert isinstance(result, client.Done)
    told = {} if result.data is UNSET else {"data": msgspec.to_builtins(result.data)}
    if result.published is not None:
        told["published"] = msgspec.to_builtins(result.published)
    return told
