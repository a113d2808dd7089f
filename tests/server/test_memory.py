"""What a server holds for its peers is bounded, and running out of memory ends one connection."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sono_core import Close, Limits, Ping, Timeouts
from sono_core.lifecycle import Deadline
from sono_core.lifecycle.keepalive import Keepalive
from sono_core.lifecycle.session import Session
from sono_core.tls import MEMORY
from sono_core.websocket.connection import Connection
from sono_core.websocket.deflate import Inflater
from sono_core.websocket.frames import encode_frame
from sono_core.websocket.opcodes import BINARY, CLOSE, PING, PONG
from sono_server import HTTPRequest, Sono
from sono_server.serving import memory
from sono_server.serving.memory import memory_limit
from tests.certificates import client_side, server_side
from tests.rules.peers import request
from tests.servers import (
    PATIENCE,
    Running,
    Wire,
    accept_echo,
    dial,
    echo,
    get,
    read_all,
    running,
    status,
)

MIB = 1 << 20
GIB = 1 << 30
MASK = b"\0\0\0\0"
DEFLATE = ("Sec-WebSocket-Extensions", "permessage-deflate")


# -- how much there is --------------------------------------------------------------------------


def tree(root: Path, **files: str) -> Path:
    for name, text in files.items():
        path = root / name.replace("__", "/").replace("_dot_", ".")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def of_groups(root: Path, groups: str, **files: str) -> list[int]:
    tree(root, proc__self__cgroup=groups, **files)
    return list(memory._of_groups(root))


def test_the_second_version_of_control_groups_says_how_much(tmp_path: Path) -> None:
    found = of_groups(
        tmp_path,
        "0::/outer/inner\n",
        sys__fs__cgroup__outer__inner__memory_dot_max="max\n",
        sys__fs__cgroup__outer__memory_dot_max="1048576\n",
    )
    assert set(found) == {MIB}


def test_the_first_version_does_too(tmp_path: Path) -> None:
    found = of_groups(
        tmp_path,
        "12:cpu,cpuacct:/somewhere\n4:memory:/docker/abc\nnonsense\n",
        sys__fs__cgroup__memory__memory_dot_limit_in_bytes="9223372036854771712\n",
        sys__fs__cgroup__memory__docker__abc__memory_dot_limit_in_bytes="2097152\n",
    )
    assert min(found) == 2 * MIB


def test_in_a_container_the_path_may_be_the_host_s(tmp_path: Path) -> None:
    found = of_groups(tmp_path, "0::/on/the/host\n", sys__fs__cgroup__memory_dot_max="4096\n")
    assert set(found) == {4096}


def test_without_control_groups_nothing_is_said(tmp_path: Path) -> None:
    assert list(memory._of_groups(tmp_path)) == []


def test_a_server_takes_a_quarter_and_at_most_a_gib(monkeypatch: pytest.MonkeyPatch) -> None:
    groups: list[int] = []
    machine: list[int] = []
    monkeypatch.setattr(memory, "_of_groups", lambda root: groups)
    monkeypatch.setattr(memory, "_of_machine", lambda: machine)
    assert memory_limit(Limits()) == GIB
    machine.append(64 * GIB)
    assert memory_limit(Limits()) == GIB
    groups.append(GIB)
    assert memory_limit(Limits()) == GIB // 4
    assert memory_limit(Limits(max_memory=2 * GIB)) == 2 * GIB


def test_a_machine_that_does_not_say_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(name: str) -> int:
        raise ValueError(name)

    assert next(memory._of_machine()) > MIB
    monkeypatch.setattr(memory.os, "sysconf", fails, raising=False)
    assert list(memory._of_machine()) == []


def eventually(condition: Callable[[], object]) -> None:
    """Ask again and again until it is so."""
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end


# -- the limit ----------------------------------------------------------------------------------


def partial(size: int) -> bytes:
    return encode_frame(BINARY, bytes(size + 1), mask=MASK)[:-1]


def held(server: Running) -> int:
    return server.call(lambda: server.server.memory.held)  # type: ignore[no-any-return]


def test_the_largest_holders_are_closed_and_others_answered(each_server: str) -> None:
    with running(limits=Limits(max_memory=8 * MIB)) as server:
        with Wire(server.address) as honest:
            wires = []
            for _ in range(20):
                wires.append(Wire(server.address))
                wires[-1].sock.sendall(partial(MIB - 1))
                honest.send("and I?")
                assert honest.message() == "and I?"
            eventually(lambda: server.server.memory.evicted)
            assert 0 < held(server) <= 8 * MIB
            honest.send(bytes(100_000))  # large, and whole
            assert honest.message() == bytes(100_000)
        for wire in wires:
            wire.close()
        eventually(lambda: not held(server))


@pytest.mark.parametrize("headers", [(), (DEFLATE,)], ids=["plain", "compressed"])
def test_a_message_that_is_not_finished_is_closed_with_4009(
    each_server: str, headers: tuple[tuple[str, str], ...]
) -> None:
    with running(timeouts=Timeouts(message=0.05)) as server, dial(server.address) as sock:
        sock.sendall(request(*headers))
        assert sock.recv(4096).startswith(b"HTTP/1.1 101 ")
        sock.sendall(encode_frame(BINARY, b"", fin=False, rsv1=bool(headers), mask=MASK))
        reason = b"the message took too long"
        assert read_all(sock) == encode_frame(CLOSE, (4009).to_bytes(2, "big") + reason)


def test_tls_has_its_share_of_memory(each_server: str) -> None:
    with running(ssl=server_side()) as server:
        with (
            dial(server.address) as sock,
            client_side().wrap_socket(sock, server_hostname="localhost") as secured,
        ):
            secured.sendall(request())
            assert secured.recv(4096).startswith(b"HTTP/1.1 101 ")
            assert held(server) == MEMORY
            secured.sendall(partial(MIB - 1))
            eventually(lambda: held(server) >= MEMORY + MIB // 2)
        eventually(lambda: not held(server))


def test_streams_have_a_budget_too() -> None:
    sono = Sono(limits=Limits(max_memory=4 * MIB))

    async def main() -> None:
        server = await asyncio.start_server(sono.handle_stream, "127.0.0.1", 0)
        address = server.sockets[0].getsockname()[:2]

        def talk() -> None:
            wires = []
            for _ in range(8):
                wires.append(Wire(address, "/ws"))
                with contextlib.suppress(ConnectionError):
                    wires[-1].sock.sendall(partial(MIB - 1))
            eventually(lambda: sono._streams._server and sono._streams._server.memory.evicted)
            assert status(get(address, "/nothing")) == 404
            for wire in wires:
                wire.close()

        async with server:
            await asyncio.to_thread(talk)

    asyncio.run(main())


def test_while_nothing_can_be_freed_newcomers_are_refused(each_server: str) -> None:
    with running(limits=Limits(max_memory=MIB)) as server:
        server.call(lambda: server.server.memory.reserve(2 * MIB))
        assert status(get(server.address)) == 503
        server.call(lambda: server.server.memory.reserve(-2 * MIB))
        with Wire(server.address) as wire:
            wire.send("let in")
            assert wire.message() == "let in"


@pytest.mark.parametrize("secure", [False, True], ids=["plain", "tls"])
def test_what_lies_between_a_queue_and_the_socket_counts(each_server: str, secure: bool) -> None:
    """Asyncio's transport copies what it cannot write, and TLS what it has encrypted."""

    def handle(request: HTTPRequest) -> None:
        request.accept().send(bytes(8 * MIB))

    options: dict[str, Any] = {"ssl": server_side()} if secure else {}
    with running(handle, limits=Limits(max_message=8 * MIB), **options) as server:
        sock = dial(server.address, receive_buffer=4096)
        if secure:
            sock = client_side().wrap_socket(sock, server_hostname="localhost")
        with sock:
            sock.sendall(request())

            def held() -> tuple[int, int, int]:
                transports = list(server.server._transports)
                if not transports or Deadline.STALL not in transports[0].layer.deadlines:
                    return 0, 0, 0
                transport = transports[0]
                session = getattr(transport.layer, "_inner", transport.layer)
                beside = transport.layer.buffered if secure else getattr(transport, "buffered", 0)
                reserved = server.server.memory._reserved
                return server.server.memory.held - reserved, session.outbox.kept, beside

            eventually(lambda: server.call(held)[1])
            counted, queue, beside = server.call(held)
            assert counted == queue + beside
            assert (beside > 0) is (secure or each_server != "selector")


# -- no memory ----------------------------------------------------------------------------------


def fail(*arguments: object) -> Any:
    raise MemoryError


def check(
    server: Running, victim: socket.socket, bystander: Wire, caplog: pytest.LogCaptureFixture
) -> None:
    """One connection ends for lack of memory, at once, and no other notices."""
    with contextlib.suppress(ConnectionResetError):
        assert read_all(victim) == b"", "to send a Close would take memory"
    victim.close()
    bystander.send("still there?")
    assert bystander.message() == "still there?"
    with Wire(server.address) as newcomer:
        newcomer.send("a new one")
        assert newcomer.message() == "a new one"
    errors = [record.exc_info for record in caplog.records if record.levelno >= logging.ERROR]
    assert any(info and info[0] is MemoryError for info in errors)


def compressed(address: tuple[str, int]) -> socket.socket:
    sock = dial(address)
    sock.sendall(request(DEFLATE))
    assert b"permessage-deflate" in sock.recv(4096)
    return sock


def test_inflating_runs_out_of_memory(
    each_server: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with running() as server, Wire(server.address) as bystander:
        monkeypatch.setattr(Inflater, "inflate", fail)
        sock = compressed(server.address)
        sock.sendall(encode_frame(BINARY, b"x", rsv1=True, mask=MASK))
        check(server, sock, bystander, caplog)


def test_an_automatic_answer_runs_out_of_memory(
    each_server: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    append = Connection._append

    def fails(self: Connection, opcode: int, payload: bytes, rsv1: bool = False) -> None:
        if opcode == PONG and self.role.value == "server":
            raise MemoryError
        append(self, opcode, payload, rsv1)

    with running() as server, Wire(server.address) as bystander, Wire(server.address) as wire:
        monkeypatch.setattr(Connection, "_append", fails)
        wire.send(Ping())
        check(server, wire.sock, bystander, caplog)


def test_a_deadline_runs_out_of_memory(
    each_server: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    timeouts = Timeouts(ping_interval=0.05)
    with running(timeouts=timeouts) as server, Wire(server.address) as wire:
        failed = []

        def fails(*arguments: object) -> bool:
            if not failed:
                failed.append(True)
                raise MemoryError
            return False

        monkeypatch.setattr(Keepalive, "ping_due", fails)
        with contextlib.suppress(ConnectionResetError):
            read_all(wire.sock)
        with Wire(server.address) as bystander:
            check(server, wire.sock, bystander, caplog)


def test_a_handler_runs_out_of_memory(each_server: str, caplog: pytest.LogCaptureFixture) -> None:
    def handle(request: HTTPRequest) -> None:
        if request.path == "/fail":
            request.accept(fail)
        else:
            accept_echo(request)

    with (
        running(handle) as server,
        Wire(server.address) as bystander,
        Wire(server.address, "/fail") as wire,
    ):
        wire.send("x")
        assert wire.closed().code == 1011
        wire.flush()
        check(server, wire.sock, bystander, caplog)


@pytest.mark.parametrize(
    ("method", "sent"),
    [("pump", encode_frame(PING, b"", mask=MASK)), ("settle", partial(8192))],
    ids=["pump", "settle"],
)
def test_a_session_runs_out_of_memory(
    each_server: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    method: str,
    sent: bytes,
) -> None:
    closes: list[Close] = []

    def handle(request: HTTPRequest) -> None:
        on_close = None if request.path == "/" else lambda ws, close: closes.append(close)
        request.accept(echo, on_close).data = request.path

    original = getattr(Session, method)

    def fails(self: Session, *arguments: Any) -> Any:
        handler: Any = self.handler
        if getattr(getattr(handler, "_socket", None), "data", "") == "/fail":
            raise MemoryError
        return original(self, *arguments)

    with running(handle) as server, Wire(server.address) as bystander:
        monkeypatch.setattr(Session, method, fails)
        with Wire(server.address, "/fail") as wire:
            wire.sock.sendall(sent)
            check(server, wire.sock, bystander, caplog)
        assert closes == [Close(1011, "memory ran out", False)]
