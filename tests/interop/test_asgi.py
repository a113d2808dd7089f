"""`Sono.asgi` under real ASGI servers, with our own client.

Only installed servers are tested: `pip install '.[test,interop]'`.
"""

from __future__ import annotations

import contextlib
import importlib.util
import signal
import socket
import sys
import time
import urllib.request
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sono_client import ConnectError, ConnectionClosed, SonoClient
from sono_core import Limits
from tests.conftest import require
from tests.processes import Program, program
from tests.servers import PATIENCE, Address, Wire, free_port

MIB = 1 << 20
APPLICATION = "tests.interop.asgi_app:app"
COMMANDS = {
    "uvicorn websockets": "uvicorn --host 127.0.0.1 --port {port} --ws websockets",
    "uvicorn websockets-sansio": "uvicorn --host 127.0.0.1 --port {port} --ws websockets-sansio",
    "uvicorn wsproto": "uvicorn --host 127.0.0.1 --port {port} --ws wsproto",
    "hypercorn": "hypercorn --bind 127.0.0.1:{port}",
    "granian": "granian --interface asgi --host 127.0.0.1 --port {port}",
}


@contextlib.contextmanager
def serving(name: str, application: str = APPLICATION) -> Iterator[tuple[Program, Address]]:
    """An ASGI server in its own process."""
    module = name.split(maxsplit=1)[0]
    for wanted in (module, "starlette"):
        there = importlib.util.find_spec(wanted) is not None
        require("asgi", there, f"install {wanted}: pip install '.[interop]'")
    address = "127.0.0.1", free_port()
    arguments = COMMANDS[name].format(port=address[1]).split()
    with program("-m", *arguments, application) as server:
        wait_for(server, address)
        yield server, address
        if server.process.returncode is None:
            server.process.send_signal(signal.SIGTERM)
            stop(server)


def stop(server: Program) -> None:
    """Wait until it has ended without complaints of ours; hypercorn has some of its own."""
    _, errors = server.process.communicate(timeout=PATIENCE)
    assert server.process.returncode in (0, -signal.SIGTERM)
    for noise in (b"/sono_", b"was destroyed", b"never retrieved", b"never awaited"):
        assert noise not in errors


def wait_for(server: Program, address: Address) -> None:
    """Wait until somebody listens there."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError), socket.create_connection(address):
            return
        assert server.process.poll() is None, server.process.communicate()[1].decode()
        time.sleep(0.02)
    raise AssertionError("the server does not come up")


@pytest.fixture(params=list(COMMANDS), scope="module")
def name(request: pytest.FixtureRequest) -> str:
    named: str = request.param
    return named


@pytest.fixture(scope="module")
def server(name: str) -> Iterator[tuple[Program, Address]]:
    with serving(name) as started:
        yield started


@pytest.fixture
def address(server: tuple[Program, Address]) -> Address:
    return server[1]


class Talker:
    """A client that keeps messages until a test asks for them."""

    def __init__(self, address: Address, **options: Any) -> None:
        url = f"ws://127.0.0.1:{address[1]}/ws"
        self.sono = SonoClient(url, reconnect=False, dialect="classic", **options)
        self._messages: dict[str, deque[object]] = {}
        for event in ("message", "news", "private", "left", "flooded"):
            kept: deque[object] = deque()
            self._messages[event] = kept
            self.sono.on(event, lambda payload, kept=kept: kept.append(payload["message"]))

    def __enter__(self) -> Talker:
        return self

    def __exit__(self, *error: object) -> None:
        self.sono.close()

    def next(self, event: str = "message") -> Any:
        """The next message of that event."""
        deadline = time.monotonic() + PATIENCE
        while not self._messages[event]:
            assert time.monotonic() < deadline, f"no {event} comes"
            self.sono.run(0.01)
        return self._messages[event].popleft()

    def closed(self) -> ConnectionClosed:
        """How the connection ends."""
        with pytest.raises(ConnectionClosed) as raised:
            self.sono.run(PATIENCE)
        return raised.value


def left(talker: Talker, client_id: str) -> Any:
    """How that client's connection ended; others may have ended recently."""
    while (told := talker.next("left"))[0] != client_id:
        pass
    return told


def test_a_chat(address: Address) -> None:
    with Talker(address) as one, Talker(address) as two:
        (one_id,), (two_id,) = one.sono.grab("myid"), two.sono.grab("myid")
        assert {one_id, two_id} <= set(one.sono.grab("clients"))
        one.sono.message("to all ü 🎈")
        assert one.next() == two.next() == "to all ü 🎈"
        one.sono.broadcast("to others", "news")
        assert two.next("news") == "to others"
        two.sono.direct_message({"to": "one"}, one_id, "private")
        assert one.next("private") == {"to": "one"}
        two.sono.change_channel("elsewhere")
        assert two.sono.grab("mychannel") == ["elsewhere"]
        big = "x" * (MIB // 2)
        one.sono.message(big)
        assert one.next() == big


def test_a_close_of_the_server(address: Address) -> None:
    with Talker(address) as other:
        with Talker(address) as leaver:
            (leaver_id,) = leaver.sono.grab("myid")
            leaver.sono.message("now", "leave")
            closed = leaver.closed()
            assert (closed.code, closed.reason) == (4001, "as you wish")
        assert left(other, leaver_id) == [leaver_id, 4001, "as you wish"]


def test_a_close_of_the_client(address: Address, name: str) -> None:
    with Talker(address) as other:
        with Talker(address) as leaver:
            (leaver_id,) = leaver.sono.grab("myid")
        code = 1006 if name == "hypercorn" else 1000  # it reports no other code
        assert left(other, leaver_id)[:2] == [leaver_id, code]


def test_a_foreign_origin_is_refused_with_403(address: Address) -> None:
    with pytest.raises(ConnectError, match="403"):
        Talker(address, headers={"origin": "https://evil.example"})


def test_a_message_that_is_too_big(address: Address) -> None:
    with Talker(address, limits=Limits(max_message=8 * MIB)) as one:
        one.sono.message("x" * 3 * MIB)
        assert one.closed().code == 1009


def test_the_browser_client_is_served(address: Address) -> None:
    with urllib.request.urlopen(
        f"http://127.0.0.1:{address[1]}/sono.js", timeout=PATIENCE
    ) as response:
        assert b"class SonoClient" in response.read()


def test_who_does_not_read_is_given_up(server: tuple[Program, Address]) -> None:
    started, address = server
    before = resident(started)
    with Wire(address, "/ws", receive_buffer=64 * 1024), Talker(address) as quick:
        for _ in range(20):
            quick.sono.message("16", "flood")
            for _ in range(16):
                quick.next("flooded")
        while quick.next("left")[1] != 4008:
            pass  # of earlier tests
        quick.sono.message("still here")
        assert quick.next() == "still here"
    assert resident(started) - before < 32 * MIB


def resident(server: Program) -> int:
    """Bytes of memory of the process and its children."""
    pids = [server.process.pid]
    for pid in pids:
        for task in Path(f"/proc/{pid}/task").iterdir():
            pids += map(int, (task / "children").read_text().split())
    pages = sum(int(Path(f"/proc/{pid}/statm").read_text().split()[1]) for pid in pids)
    return pages * 4096


def test_a_server_that_is_stopped_ends_its_connections(name: str) -> None:
    if name == "hypercorn" and sys.version_info >= (3, 12):
        pytest.skip("from Python 3.12 on hypercorn waits for its connections (its issue 308)")
    with serving(name) as (started, address), Talker(address) as one:
        one.sono.grab("myid")
        started.process.send_signal(signal.SIGTERM)
        one.closed()
        stop(started)


def test_the_example() -> None:
    application = "examples.asgi_starlette:app"
    with serving("uvicorn websockets", application) as (_, address), Talker(address) as one:
        assert one.next().startswith("welcome, ")
        page = f"http://127.0.0.1:{address[1]}"
        with urllib.request.urlopen(page, timeout=PATIENCE) as response:
            assert b"/sono.js" in response.read()
        with urllib.request.urlopen(f"{page}/announce?text=hi", b"", timeout=PATIENCE) as response:
            assert response.read() == b'{"clients":1}'
        assert one.next() == "hi"
