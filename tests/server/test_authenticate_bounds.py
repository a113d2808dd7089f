"""Coroutines that find out who is there are bounded, and end when nobody is there any more."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator
from typing import Any

import pytest

from sono_core import Accept, Limits, Timeouts
from sono_server import HTTPRequest, Sono
from tests.certificates import client_side, server_side
from tests.server.selector_helpers import until
from tests.server.stream_server import streaming
from tests.servers import Address, Wire, dial, read_all, running, status

KINDS = ["asyncio", "uvloop", "stream", "stream on uvloop"]
LONG = Timeouts(handshake=3600.0)
"""Nothing but the end of its peer ends a coroutine in these tests."""


class Door:
    """A `Sono` whose `authenticate` waits until it is opened."""

    def __init__(self, stubborn: bool = False) -> None:
        self.sono = Sono()
        self.sono.authenticate(self._ask)
        self.begun = self.running = self.cancelled = 0
        self._stubborn = stubborn
        self._open: asyncio.Event | None = None
        self._loop: Any = None

    async def _ask(self, request: HTTPRequest) -> object:
        self._open = self._open or asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self.begun += 1
        self.running += 1
        try:
            await self._open.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            if not self._stubborn:
                raise
            await self._open.wait()
        finally:
            self.running -= 1
        return "somebody"

    async def asked(self, count: int) -> None:
        """Wait until so many are asked for; in the loop."""
        while self.running != count:  # noqa: ASYNC110 - it has no event
            await asyncio.sleep(0)

    def open(self) -> None:
        """Let everybody in. From any thread."""
        assert self._open
        self._loop.call_soon_threadsafe(self._open.set)


class Place:
    """A running server of such a `Sono`."""

    def __init__(self, door: Door, kind: str, most: int, patch: Any) -> None:
        self.door = door
        self.kind = kind
        self.most = most
        self._patch = patch

    def serve(self) -> Any:
        if "uvloop" in self.kind:
            pytest.importorskip("uvloop")
        sono = self.door.sono
        if self.kind.startswith("stream"):
            handler = sono.stream_handler(max_connections=self.most, timeouts=LONG)
            return streaming(handler, kind=self.kind.rpartition(" ")[2])
        self._patch.setattr("tests.servers.kind", self.kind)
        return served(sono, max_connections=self.most, timeouts=LONG, drain=0.0)


@contextlib.contextmanager
def served(sono: Sono, **options: Any) -> Iterator[Address]:
    with running(sono._answer, **options) as server:
        yield server.address


@pytest.mark.parametrize("end", ["reset", "close"])
@pytest.mark.parametrize("kind", KINDS)
def test_it_is_cancelled_when_the_peer_is_gone(
    kind: str, end: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    door = Door()
    with Place(door, kind, 3, monkeypatch).serve() as address:
        for count in range(1, 10):
            wire = Wire(address, "/ws", upgrade=False)
            wire.flush()
            until(lambda: door.begun == count)  # noqa: B023
            getattr(wire, end)()
            until(lambda: door.cancelled == count)  # noqa: B023
        until(lambda: door.running == 0)


@pytest.mark.parametrize("kind", KINDS)
def test_one_that_goes_on_counts_as_a_connection(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    door = Door(stubborn=True)
    with Place(door, kind, 3, monkeypatch).serve() as address:
        for count in range(1, 4):
            wire = Wire(address, "/ws", upgrade=False)
            wire.flush()
            until(lambda: door.begun == count)  # noqa: B023
            wire.reset()
            until(lambda: door.cancelled == count)  # noqa: B023
        for _ in range(10):
            with dial(address) as sock:
                assert status(read_all(sock)) == 503  # nobody is connected, and three are asked for
        assert door.begun == door.running == 3
        door.open()
        until(lambda: door.running == 0)
        until(lambda: is_let_in(address))  # once the loop has seen that they have ended


def is_let_in(address: Address) -> bool:
    with Wire(address, "/ws") as wire:
        return isinstance(wire.answer, Accept)


def test_under_asgi_it_is_cancelled_too() -> None:
    door = Door()
    application = door.sono.asgi(timeouts=LONG, limits=Limits())

    async def main() -> None:
        gone = asyncio.Event()
        sent: list[Any] = []
        given = [{"type": "websocket.connect"}]

        async def receive() -> Any:
            if given:
                return given.pop()
            await gone.wait()
            return {"type": "websocket.disconnect", "code": 1006}

        async def send(event: Any) -> None:
            sent.append(event)

        scope = {"type": "websocket", "path": "/ws", "headers": [(b"host", b"a")]}
        serving = asyncio.ensure_future(application(scope, receive, send))  # type: ignore[arg-type]
        await asyncio.wait_for(door.asked(1), 10)
        gone.set()
        await asyncio.wait_for(serving, 10)
        await asyncio.wait_for(door.asked(0), 10)
        assert (door.cancelled, sent) == (1, [])

    asyncio.run(main())


@pytest.mark.parametrize("kind", KINDS)
def test_who_stays_is_let_in(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    door = Door()
    with (
        Place(door, kind, 3, monkeypatch).serve() as address,
        Wire(address, "/ws", upgrade=False) as wire,
    ):
        wire.flush()
        until(lambda: door.running == 1)
        door.open()
        assert isinstance(wire.next(), Accept)


@pytest.mark.parametrize("stream", [False, True])
def test_in_tls_it_is_cancelled_too(stream: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    door = Door()
    monkeypatch.setattr("tests.servers.kind", "asyncio")
    place = (
        streaming(door.sono.stream_handler(timeouts=LONG), tls=server_side())
        if stream
        else served(door.sono, timeouts=LONG, ssl=server_side(), drain=0.0)
    )
    with place as address:
        raw = dial(address)
        with client_side().wrap_socket(raw, server_hostname="localhost") as sock:
            sock.sendall(
                b"GET /ws HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
            )
            until(lambda: door.running == 1)
        until(lambda: door.cancelled == 1)
