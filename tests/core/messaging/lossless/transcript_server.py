"""The node as transcripts test it: connections in memory, a clock that jumps, and the conformance
application of docs/transcripts.md."""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable, Collection
from itertools import count
from typing import Any

from sono_core.limits import Limits
from sono_core.messaging import Deliver, Publish
from sono_core.messaging.lossless import Position, packets
from sono_core.messaging.lossless.data import Data
from sono_core.messaging.lossless.history import Histories, History
from sono_core.messaging.lossless.packets import Failure
from sono_core.messaging.lossless.server.conversation import (
    Answer,
    Authorise,
    Hear,
    Identify,
    Work,
)
from sono_core.messaging.v2 import JSON, MSGPACK, Codec, PacketError
from sono_server.conformance import Closed, Message, Server, Skipped
from sono_server.conformance.codec import read, written
from tests.core.messaging.lossless.house import SETTINGS, House, Line

HISTORIES = Histories({"small:*": History(count=3), "none:*": History(count=0)})
IDENTITIES = {None: None, "good": "good", "other": "other", "short": "good"}
REFUSED = Failure("failed", "the handler raised an exception", True)
UNFIT = Failure("invalid-packet", "text is not a string of at most 500 characters")
LIMITS = Limits()
PENDING = 4
LATER: Any = object()


def fits(data: Any) -> bool:
    text = data.get("text") if isinstance(data, dict) else None
    return isinstance(text, str) and len(text) <= 500


class Application(House):
    """Carries out the work of each session in order, one after the other."""

    def __init__(self) -> None:
        super().__init__(histories=HISTORIES, open_channels=True)
        self.forbidden: set[str] = set()
        self.handle = self.answer
        self._timers: list[tuple[float, int, Callable[[], object]]] = []
        self._numbers = count()
        self._queues: dict[str, deque[tuple[Line, Work]]] = {}
        self._busy: set[str] = set()
        self._spoke: dict[Line, float] = {}

    def later(self, seconds: float, call: Callable[[], object]) -> None:
        heapq.heappush(self._timers, (self.now + seconds, next(self._numbers), call))

    def wait(self, seconds: float) -> None:
        until = self.now + seconds
        while self._timers and self._timers[0][0] <= until:
            due, _, call = heapq.heappop(self._timers)
            super().wait(due - self.now)
            call()
        super().wait(until - self.now)

    def opened(self, line: Line) -> None:
        self._spoke[line] = self.now
        self.later(5.0, line.conversation.late)
        self.later(SETTINGS.beat, lambda: self._beat(line))

    def _beat(self, line: Line) -> None:
        if line.closed is None:
            silent = self.now - self._spoke[line]
            if line.client and silent >= SETTINGS.beat:
                self.send(line, packets.Beat())
                silent = 0.0
            self.later(SETTINGS.beat - silent, lambda: self._beat(line))

    def send(self, connection: Line, packet: packets.FromServer) -> None:
        self._spoke[connection] = self.now
        super().send(connection, packet)

    # -- who is it -----------------------------------------------------------------------------

    def failure(self, channel: str) -> Failure | None:
        """Why nobody may join it."""
        kind = channel.partition(":")[0]
        if kind == "forbidden" or channel in self.forbidden:
            return Failure("forbidden", "no")
        if channel != "Home" and kind not in ("room", "small", "none", "guarded"):
            return Failure("unknown-channel", "there is no such channel")
        return None

    def _identify(self, line: Line, work: Identify) -> None:
        packet, conversation = work.packet, line.conversation
        assert isinstance(packet, (packets.Hello, packets.Token))
        if packet.token not in IDENTITIES:
            conversation.refused(work)
            return
        lasts = 8.0 if packet.token == "short" else None
        wanted = conversation.identified(work, IDENTITIES[packet.token], lasts)
        if wanted is not None:
            found = {channel: self.failure(channel) for channel in wanted}
            conversation.welcome({channel: why for channel, why in found.items() if why})

    # -- work ----------------------------------------------------------------------------------

    def carry_out(self, line: Line, work: Work) -> None:
        if isinstance(work, Identify):
            self._identify(line, work)
            return
        session = line.conversation.session
        assert session is not None
        if isinstance(work, Hear) and work.packet.seq is None:  # type: ignore[union-attr]
            self._carry_out(line, work)
            return
        queue = self._queues.setdefault(session.id, deque())
        waiting = sum(isinstance(one, Answer) for _, one in queue)
        if isinstance(work, Answer) and waiting >= PENDING:
            failure = Failure("too-many-requests", "too many requests wait", True)
            line.conversation.answered(work, None, failure)
            return
        queue.append((line, work))
        self._go_on(session.id)

    def _go_on(self, client: str) -> None:
        queue = self._queues[client]
        while queue and client not in self._busy:
            self._carry_out(*queue.popleft())

    def _carry_out(self, line: Line, work: Work) -> None:
        conversation = line.conversation
        if isinstance(work, Hear):
            failure = None
            if work.event == "declined":
                failure = Failure("declined", "no")
            elif work.event == "fail":
                failure = REFUSED
            elif work.event == "typed" and not fits(work.payload):
                failure = UNFIT
            if effect := conversation.heard(work, failure):
                conversation.publish(work, effect)
        elif isinstance(work, Answer):
            self._answer(line, work)
        elif isinstance(work, Authorise):
            conversation.authorised(work, self.failure(work.channel))
        else:
            super().carry_out(line, work)

    # -- requests ------------------------------------------------------------------------------

    def _answer(self, line: Line, work: Answer) -> None:
        session = line.conversation.session
        assert session is not None
        client, data = session.id, work.payload

        def done(data: Any = None, failure: Failure | None = None) -> None:
            line.conversation.answered(work, None if failure else Data.of(data), failure)
            if client in self._busy:
                self._busy.remove(client)
                self._go_on(client)

        if work.name == "slow":
            self._busy.add(client)
            timeout = work.packet.timeout or 30.0  # type: ignore[union-attr]
            late = Failure("timeout", "it took too long", True)
            failure = None if data["seconds"] <= timeout else late
            self.later(min(timeout, data["seconds"]), lambda: done("slow", failure))
        elif work.name == "conformance.ask":
            self._busy.add(client)
            session = self.node.sessions[data.get("to", client)]
            question = Data.of(data["data"])

            def answered(reply: Any, error: Failure | None) -> None:
                done({"error": error.code} if error else {"data": reply})

            self.node.ask(session, data["name"], question, data.get("timeout", 30.0), answered)
        elif work.name == "fail":
            done(failure=REFUSED)
        elif work.name == "typed" and not fits(data):
            done(failure=UNFIT)
        elif work.name in ("echo", "typed"):
            done(data)
        elif work.name == "conformance.identity":
            done(session.identity)
        elif work.name.startswith("conformance."):
            self.control(client, work.name.removeprefix("conformance."), data)
            done(True)
        else:
            done(failure=Failure("unknown-request", "nobody answers that"))

    def control(self, client: str, word: str, data: Any) -> None:
        client = data.get("to", client)
        if word == "emit":
            self.emit(None, data["event"], data["data"])
        elif word == "send":
            self.node.direct(Deliver(client, data["event"], Data.of(data["data"]), None))
        elif word == "allow":
            change = self.forbidden.discard if data["allowed"] else self.forbidden.add
            change(data["channel"])
        elif word == "end":
            self.node.end(self.node.sessions[client], 4013)
        else:
            raise Skipped(f"the node has no word for {word}")

    def answer(self, name: str, payload: Any) -> Any:
        raise ValueError(name)

    def deliver(
        self, publication: Publish, stream: str, at: Position | None, behind: Collection[str]
    ) -> None:
        super().deliver(publication, stream, at, behind)
        for line in self.lines.values():
            self._spoke[line] = self.now


class NodeServer(Server):
    """Connections to an `Application`."""

    def __init__(self) -> None:
        self._application = Application()
        self._lines: dict[str, Line] = {}
        self._codecs: dict[str, Codec] = {}
        self._ended: set[str] = set()

    def open(self, name: str, protocol: str | None) -> str | None:
        if protocol is None:
            raise Skipped("the node's host has the clients of other dialects")
        self._codecs[name] = {codec.name: codec for codec in (JSON, MSGPACK)}[protocol]
        self._lines[name] = line = self._application.line()
        self._application.opened(line)
        return protocol

    def say(self, name: str, message: Message) -> None:
        self.say_raw(name, written(message.content, self._codecs[name].name))

    def say_raw(self, name: str, message: str | bytes) -> None:
        line, codec = self._lines[name], self._codecs[name]
        if line.closed:
            return
        try:
            codec.weigh(message, LIMITS)
            packet = codec.from_client(message, LIMITS)
        except PacketError as error:
            self._refuse(line, error)
        else:
            line.send(packet)

    def _refuse(self, line: Line, error: PacketError) -> None:
        conversation, node = line.conversation, self._application.node
        if conversation.session is None or error.seq is None:
            refusal = packets.Error(code=error.code, message=error.text)
            self._application.send(line, refusal)
        elif node.accept(conversation.session, error.seq):
            node.refuse(conversation.session, error.seq, Failure(error.code, error.text))
            conversation.ack()

    def heard(self, name: str, *, patient: bool) -> Message | Closed | None:
        line, codec = self._lines[name], self._codecs[name]
        if line.got:
            return Message(read(codec.write(line.got.pop(0)), codec.name))
        if line.closed and name not in self._ended:
            self._ended.add(name)
            line.lose()
            return Closed(*line.closed)
        return None

    def close(self, name: str, code: int, reason: str) -> None:
        self._lines[name].lose(code)

    def lose(self, name: str) -> None:
        self._lines[name].lose()

    def wait(self, seconds: float) -> None:
        self._application.wait(seconds)
