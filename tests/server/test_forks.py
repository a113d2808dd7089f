"""A process that a handler forks takes nothing of the server's with it, and does it no harm."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import sys
from collections.abc import Iterator

import pytest

from tests.processes import Program, program
from tests.servers import PATIENCE, Wire

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")


@pytest.fixture(params=["selector", "asyncio", "uvloop"])
def kind(request: pytest.FixtureRequest) -> str:
    if request.param == "uvloop":
        pytest.importorskip("uvloop")
    return str(request.param)


@pytest.fixture
def server(kind: str) -> Iterator[Program]:
    with program("-m", "tests.server.forking", kind) as started:
        yield started


def assert_serves(wires: list[Wire], address: tuple[str, int]) -> None:
    """Connections that were there, and new ones."""
    with Wire(address) as new:
        for wire in (*wires, new):
            wire.send("echo")
            assert wire.message() == "echo"


@pytest.mark.parametrize(
    ("does", "result"),
    [
        ("terminate", str(-signal.SIGTERM)),
        ("terminate at once", str({-signal.SIGTERM})),
        ("pool", "[1, 2]"),
        ("send", "0"),
        ("_exit", "8"),
    ],
)
def test_a_forked_process_is_one_like_any_other(server: Program, does: str, result: str) -> None:
    address = server.address()
    with Wire(address) as wire, Wire(address) as other:
        wire.send(does)
        assert wire.message() == result
        assert_serves([wire, other], address)
    assert server.end(signal.SIGTERM)[0] == 0


def test_one_that_leaves_the_loop_as_an_exception_does_takes_no_connection_along(
    server: Program, kind: str
) -> None:
    address = server.address()
    with Wire(address) as wire, Wire(address) as other:
        wire.send("exit")
        status = wire.message()
        if kind == "selector":  # an event loop cannot be left so
            assert status == "7"
        assert_serves([wire, other], address)
    assert server.end(signal.SIGTERM)[0] == 0


def test_signals_of_a_forked_process_do_not_stop_the_server(server: Program) -> None:
    address = server.address()
    with Wire(address) as wire:
        for number in (signal.SIGINT, signal.SIGTERM):
            wire.send("keep")
            child = int(str(wire.message()))
            try:
                os.kill(child, number)
                assert_serves([wire], address)
            finally:
                os.kill(child, signal.SIGKILL)  # an event loop may have swallowed the other


def test_a_forked_process_that_lives_on_holds_neither_connections_nor_the_port(
    server: Program,
) -> None:
    address = server.address()
    with Wire(address) as wire:
        wire.send("keep")
        child = int(str(wire.message()))
        try:
            server.process.kill()  # so that nothing but the kernel ends its connections
            server.process.wait(PATIENCE)
            wire.sock.settimeout(PATIENCE)
            with contextlib.suppress(ConnectionResetError):
                assert wire.sock.recv(1) == b""
            with socket.socket() as again:
                again.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                again.bind(address)
                again.listen()
        finally:
            os.kill(child, signal.SIGKILL)


def test_servers_that_have_ended_are_nothing_to_a_forked_process() -> None:
    code = """
import asyncio, os, sys
from sono_server import serve, serve_async

async def main():
    async with serve_async("127.0.0.1", 0):
        pass

ended = serve("127.0.0.1", 0)
with ended:
    ended.call_soon(ended.stop)
    for request in ended:
        pass
asyncio.run(main())
if (child := os.fork()) == 0:
    os._exit(0)
os.waitpid(child, 0)
"""
    with program("-W", "error", "-c", code) as started:
        _, errors = started.process.communicate(timeout=PATIENCE)
    assert not errors
    assert started.process.returncode == 0


def test_a_fork_within_a_fork_leaves_no_signal_blocked() -> None:
    """Another library may fork when it hears of a fork."""
    code = """
import os, signal

def fork():
    if (child := os.fork()) == 0:
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0

within = [fork]
os.register_at_fork(before=lambda: within and within.pop()())
from sono_server.serving import StopSignals
StopSignals(lambda: None).take()
fork()
print(not within, signal.pthread_sigmask(signal.SIG_BLOCK, ()))
"""
    with program("-c", code) as started:
        output, errors = started.process.communicate(timeout=PATIENCE)
    assert (output.decode(), errors.decode()) == ("True set()\n", "")


@pytest.mark.skipif(sys.platform != "linux", reason="calls the C library")
def test_a_process_that_c_code_forks_is_ended_by_a_signal() -> None:
    """Python's hooks are not called there."""
    code = """
import ctypes, os, signal, sys
from sono_server.serving import StopSignals
signals = StopSignals(lambda: print("stopped", flush=True))
signals.take()
pid = ctypes.PyDLL(None).fork()
if pid == 0:
    os.kill(os.getpid(), signal.SIGTERM)
    for _ in range(1000): pass
    os._exit(1)
print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)
os.kill(os.getpid(), signal.SIGTERM)
"""
    with program("-c", code) as started:
        assert started.line() == str(-signal.SIGTERM)
        assert started.line() == "stopped"
