"""examples/v2_client.py passes the transcripts of the level `core`, on a clock that jumps.

The library `websockets` is real; the network is not: what it writes is read by the core's own
`Connection`, in the same turn.
"""

from __future__ import annotations

import asyncio
import importlib.util
import re
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from sono_core import Accept, BinaryMessage, Close, Connection, Reject, Request, Role, TextMessage
from sono_core.headers import Headers
from sono_server import Sono
from sono_server.conformance import Client, Closed, Message, Transcript, load, play
from sono_server.conformance.codec import read, written
from tests.processes import program
from tests.servers import running

pytest.importorskip("websockets", reason="install it with: pip install websockets")

ROOT = Path(__file__).resolve().parents[1]
EXAMPLE = ROOT / "examples" / "v2_client.py"
TRANSCRIPTS = [
    transcript
    for transcript in load(ROOT / "tests" / "transcripts")
    if transcript.level == "core" and "client" in transcript.subjects
]


TOLD = {
    "event": ("stream", "event", "data", "at", "from"),
    "gap": ("stream", "from", "to"),
    "status": ("state", "resumed"),
}
"""What it tells, as docs/transcripts.md has it; it gives whole packets."""


class Wire(asyncio.Transport):
    """A connection of the client, with the server's side of it."""

    def __init__(self, loop: Loop, protocol: asyncio.Protocol) -> None:
        super().__init__()
        self.heard: deque[Message | Closed] = deque()
        self.request: Request | None = None
        self.over = False
        self._conn = Connection(Role.SERVER)
        self._loop = loop
        self._protocol = protocol

    def say(self, event: Any) -> None:
        """Say that to the client."""
        self._conn.send(event)
        self._flush()

    def lose(self, error: Exception | None = None) -> None:
        """The connection is lost."""
        if not self.over:
            self.over = True
            self._loop.call_soon(self._protocol.connection_lost, error)

    def _flush(self) -> None:
        data = self._conn.data_to_send()
        if data and not self.over:
            self._loop.call_soon(self._protocol.data_received, data)

    # -- what the client's side of a transport does ----------------------------------------------

    def write(self, data: Any) -> None:
        for event in self._conn.receive_data(bytes(data)):
            if isinstance(event, Request):
                self.request = event
            elif isinstance(event, TextMessage):
                self.heard.append(Message(read(event.text, "sono.v2")))
            elif isinstance(event, Close):
                self.heard.append(Closed(event.code, event.reason))
                self._loop.call_soon(self.lose)
        self._flush()

    def close(self) -> None:
        self.abort()

    def abort(self) -> None:
        if not self.over:
            self.heard.append(Closed(1006))
            self.lose()

    def is_closing(self) -> bool:
        return self.over

    def can_write_eof(self) -> bool:
        return False

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return default

    def get_write_buffer_size(self) -> int:
        return 0

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        pass

    def pause_reading(self) -> None:
        pass

    def resume_reading(self) -> None:
        pass


class Loop(asyncio.SelectorEventLoop):
    """An event loop whose clock is set, and whose connections lead to `wires`."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 1000.0
        self.wires: list[Wire] = []

    def time(self) -> float:
        return self.now

    def settle(self) -> None:
        """Do all that can be done now."""
        ready: deque[object] = self._ready  # type: ignore[attr-defined]
        while True:
            self.call_soon(self.stop)
            self.run_forever()
            if not ready:
                return

    def due(self) -> float:
        """When there is something to do again."""
        timers: list[asyncio.TimerHandle] = self._scheduled  # type: ignore[attr-defined]
        return min((timer.when() for timer in timers if not timer.cancelled()), default=1e9)

    async def create_connection(  # type: ignore[override]
        self, factory: Callable[[], asyncio.Protocol], **_: object
    ) -> tuple[Wire, asyncio.Protocol]:
        protocol = factory()
        wire = Wire(self, protocol)
        self.wires.append(wire)
        protocol.connection_made(wire)
        return wire, protocol


class Subject(Client):
    """The example, with an application that does what it is told."""

    def __init__(self, example: ModuleType, loop: Loop) -> None:
        self._loop = loop
        self._tells: deque[tuple[str, dict[str, Any]]] = deque()
        self._client = example.Client("ws://localhost:1/ws", self.tell)
        self._tasks: list[asyncio.Task[Any]] = []
        self._wires: dict[str, Wire] = {}

    def _settle(self) -> None:
        self._loop.settle()
        for task in self._tasks:
            if task.done():
                task.result()

    def attempt(self, *, patient: bool) -> Sequence[str] | None:
        self._settle()
        wire = self._attempt()
        return wire.request.subprotocols if wire and wire.request else None

    def _attempt(self) -> Wire | None:
        taken = self._wires.values()
        waiting = [wire for wire in self._loop.wires if wire not in taken and not wire.over]
        assert len(waiting) <= 1
        return waiting[0] if waiting else None

    def _take(self, name: str, answer: Accept | Reject) -> None:
        wire = self._attempt()
        assert wire
        self._wires[name] = wire
        wire.say(answer)
        self._settle()

    def accept(self, name: str, protocol: str | None) -> None:
        self._take(name, Accept(protocol))

    def refuse(self, name: str, status: int, headers: Mapping[str, str]) -> None:
        self._take(name, Reject(status, Headers(headers.items())))

    def say(self, name: str, message: Message) -> None:
        self.say_raw(name, written(message.content, "sono.v2"))

    def say_raw(self, name: str, message: str | bytes) -> None:
        is_text = isinstance(message, str)
        self._wires[name].say(TextMessage(message) if is_text else BinaryMessage(message))
        self._settle()

    def heard(self, name: str, *, patient: bool) -> Message | Closed | None:
        self._settle()
        heard = self._wires[name].heard
        return heard.popleft() if heard else None

    def close(self, name: str, code: int, reason: str) -> None:
        self._wires[name].say(Close(code, reason))
        self._settle()

    def lose(self, name: str) -> None:
        self._wires[name].lose(ConnectionResetError())
        self._settle()

    def wait(self, seconds: float) -> None:
        end = self._loop.now + seconds
        self._settle()
        while (due := self._loop.due()) <= end:
            self._loop.now = max(due, self._loop.now)
            self._settle()
        self._loop.now = end
        self._settle()

    def do(self, word: str, name: str | None, arguments: Mapping[str, Any]) -> None:
        said = self._run() if word == "connect" else self._call(word, name, arguments)
        self._tasks.append(self._loop.create_task(said))
        self._settle()

    async def _run(self) -> None:
        await self._client.run()
        self.tell("status", {"state": "closed"})

    async def _call(self, word: str, name: str | None, arguments: Mapping[str, Any]) -> None:
        result = await self._client.call(word, **arguments)
        outcome = {key: result[key] for key in ("data", "published") if key in result}
        if "error" in result:
            outcome["error"] = {"temporary": False, **result["error"]}
        if name:
            self._tells.append(("outcome", {"of": name, **outcome}))

    def tell(self, what: str, about: dict[str, Any]) -> None:
        """The client tells its application."""
        self._tells.append((what, {key: about[key] for key in TOLD[what] if key in about}))
        for each in about.get("denied", ()):
            left = {"channel": each["channel"], "code": each["error"]["code"]}
            self._tells.append(("left", left))

    def told(self, *, patient: bool) -> tuple[str, Mapping[str, Any]] | None:
        self._settle()
        return self._tells.popleft() if self._tells else None

    def end(self) -> None:
        """Leave nothing behind."""
        for task in self._tasks:
            task.cancel()
        self._loop.settle()
        for wire in self._loop.wires:
            wire.lose()
        self._loop.settle()


@pytest.fixture
def loop() -> Iterator[Loop]:
    loop = Loop()
    yield loop
    loop.close()


@pytest.fixture
def example(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    spec = importlib.util.spec_from_file_location("v2_client", EXAMPLE)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    # A transcript says when an attempt succeeds, and not how long it takes.
    unhurried = partial(module.connect, open_timeout=None, proxy=None)
    monkeypatch.setattr(module, "connect", unhurried)
    return module


@pytest.mark.parametrize("random", [0.0, 0.5, 0.999])
@pytest.mark.parametrize("transcript", TRANSCRIPTS, ids=lambda transcript: transcript.name)
def test_a_transcript(
    transcript: Transcript,
    random: float,
    example: ModuleType,
    loop: Loop,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(example.random, "random", lambda: random)
    subject = Subject(example, loop)
    try:
        play(transcript, subject)
    finally:
        subject.end()


@pytest.mark.usefixtures("each_server")
def test_as_a_program_it_joins_and_publishes() -> None:
    sono = Sono(open_channels=True)
    with running(sono.connect) as server:
        url = f"ws://127.0.0.1:{server.address[1]}/ws"
        with program("examples/v2_client.py", url, "room:7", "hello") as started:
            assert re.match("status .*'resumed': False", started.line())
            assert re.match("event .*'#room:7'.*'hello'", started.line())
            (client,) = server.call(lambda: list(sono.clients.values()))
            server.call(lambda: client.send("direct", "to you"))
            assert re.match("event .*'@'.*'to you'", started.line())


@pytest.mark.parametrize("side", ["client", "server"])
def test_the_level_core_shows_what_it_names(side: str) -> None:
    steps = [
        step.fields
        for transcript in load(ROOT / "tests" / "transcripts")
        if transcript.level == "core" and side in transcript.subjects
        for step in transcript.steps()
    ]
    said = [step[kind] for step in steps for kind in ("client", "server") if kind in step]
    packets = [packet for each in said for packet in (each if type(each) is list else [each])]
    welcomes = [packet for packet in packets if packet.get("type") == "welcome"]
    types = {packet.get("type") for packet in packets}
    assert types >= {"join", "leave", "publish", "ack", "result", "read", "gap", "welcome"}
    assert {each.get("resumed") for each in welcomes} >= {True, False}


def test_it_has_at_most_150_lines() -> None:
    assert len(EXAMPLE.read_text("utf-8").splitlines()) <= 150
