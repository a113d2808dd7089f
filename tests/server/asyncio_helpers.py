"""The server on asyncio, as far as it is asyncio's own. What all servers do, others test.

See `each_server` in conftest: it runs the tests of behaviour on this server too.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import queue
import signal
import socket
import threading
import time
import warnings
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from sono_client import ConnectionClosed, connect
from sono_core import Close, Limits, Ping, Pong, TextMessage, Timeouts
from sono_io.fast import loop as loop_in_c
from sono_server import AsyncServer, Client, HTTPRequest, Sono, WebSocket, serve, serve_async
from tests.processes import program
from tests.servers import (
    PATIENCE,
    Wire,
    accept_echo,
    dial,
    echo,
    get,
    listener,
    running,
    status,
)

pytestmark = pytest.mark.usefixtures("on_asyncio")

MIB = 1 << 20


@pytest.fixture(params=["asyncio", "uvloop"])
def on_asyncio(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    kind: str = request.param
    if kind == "uvloop":
        pytest.importorskip("uvloop")
    monkeypatch.setattr("tests.servers.kind", kind)
    return kind


def run(kind: str, main: Awaitable[None]) -> None:
    """Run a coroutine on the loop of that kind; whatever it leaves open is an error."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        if kind == "uvloop":
            import uvloop

            uvloop.run(main)
        else:
            asyncio.run(main)  # type: ignore[arg-type]
        gc.collect()


def descriptors() -> int:
    """How many file descriptors are open, where the system tells."""
    return len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0


# -- coroutine functions ----------------------------------------------------------------------


def test_coroutine_functions_are_awaited_one_after_the_other() -> None:
    log: list[object] = []
    gates: dict[str, asyncio.Event] = {}

    async def on_message(ws: WebSocket, message: str) -> None:
        log.append(message)
        gates[message] = asyncio.Event()
        await gates[message].wait()
        ws.send(f"done {message}")

    async def on_close(ws: WebSocket, close: Close) -> None:
        log.append(close.code)

    with running(lambda request: request.accept(on_message, on_close)) as server:
        with Wire(server.address) as wire, Wire(server.address) as other:
            wire.send("a", "b")
            other.send("c")
            for client, name in ((other, "c"), (wire, "a"), (wire, "b")):
                assert name == "b" or "b" not in gates  # before a is done, though c is
                wait_for(lambda name=name: name in gates)  # type: ignore[misc]
                server.call(gates[name].set)
                assert client.message() == f"done {name}"
            wire.send(Close(1000))
            wire.closed()
            wait_for(lambda: 1000 in log)
        assert log.index("a") < log.index("b") < log.index(1000)


def wait_for(done: Callable[[], bool]) -> None:
    """Until something has happened in the server's thread."""
    for _ in range(5000):
        if done():
            return
        threading.Event().wait(0.001)
    raise AssertionError("it never happened")


def test_a_slow_coroutine_makes_its_own_peer_wait_and_memory_stays_bounded() -> None:
    gate: list[asyncio.Event] = []
    seen: list[int] = []

    async def on_message(ws: WebSocket, message: bytes) -> None:
        seen.append(len(message))
        if not gate:
            gate.append(asyncio.Event())
            await gate[0].wait()

    sock = listener()
    with (
        running(lambda request: request.accept(on_message), sock=sock) as server,
        Wire(server.address) as wire,
    ):
        wire.sock.settimeout(1.0)
        data = wire.encoded(*[TextMessage("x" * 60_000)] * 400)
        with pytest.raises(TimeoutError):  # 24 MB do not go: nobody takes them
            wire.sock.sendall(data)
        assert seen == [60_000]
        server.call(lambda: gate[0].set())
        wire.sock.settimeout(PATIENCE)


@pytest.mark.parametrize("coroutine", [False, True])
def test_what_a_handler_raises_closes_its_connection_with_1011(
    coroutine: bool, caplog: pytest.LogCaptureFixture
) -> None:
    async def awaited(ws: WebSocket, message: str) -> None:
        await asyncio.sleep(0)
        raise ValueError(message)

    def called(ws: WebSocket, message: str) -> None:
        raise ValueError(message)

    function: Callable[..., object] = awaited if coroutine else called
    with (
        running(lambda request: request.accept(function)) as server,
        Wire(server.address) as wire,
    ):
        wire.send("why")
        assert wire.closed().code == 1011
    assert "why" in caplog.text


def test_what_is_raised_after_the_end_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    ended = threading.Event()

    async def on_close(ws: WebSocket, close: Close) -> None:
        ended.set()
        raise ValueError("too late")

    with (
        running(lambda request: request.accept(on_close=on_close)) as server,
        Wire(server.address) as wire,
    ):
        wire.send("nobody looks")
        wire.reset()
        assert ended.wait(PATIENCE)
    assert "too late" in caplog.text


def test_a_sono_with_coroutine_functions() -> None:
    sono = Sono()
    log: list[object] = []

    @sono.on_connect
    async def greet(client: Client) -> None:
        await asyncio.sleep(0)
        client.send("welcome", client.id)

    @sono.on("chat")
    async def check(client: Client, message: object) -> bool:
        await asyncio.sleep(0)
        return message != "no"

    @sono.on_disconnect
    async def gone(client: Client, close: Close) -> None:
        log.append(close.code)

    async def connected(client: Client) -> None:
        client.send("last", 1)

    with (
        running(lambda request: sono.connect(request, connected)) as server,
        Wire(server.address, "/ws") as wire,
    ):
        wire.send('{"protocol":"message","event":"chat","payload":{"message":"no"}}')
        wire.send('{"protocol":"message","event":"chat","payload":{"message":"yes"}}')
        got = [str(wire.message()) for _ in range(3)]
        wire.send(Close(1000))
        wire.closed()
        wait_for(lambda: bool(log))
    assert ['"welcome"' in got[0], '"last"' in got[1], '"yes"' in got[2]] == [True] * 3
    assert log == [1000]


def test_a_connect_callback_that_fails_closes_its_client(
    caplog: pytest.LogCaptureFixture,
) -> None:
    sono = Sono()

    async def fail() -> None:
        raise ValueError("not today")

    with (
        running(lambda request: sono.connect(request, fail)) as server,
        Wire(server.address, "/ws") as wire,
    ):
        assert wire.closed().code == 1011
    assert "not today" in caplog.text


# -- bytes ------------------------------------------------------------------------------------


def test_large_messages_both_ways() -> None:
    with running() as server, Wire(server.address) as wire:
        for size in (70_000, MIB):
            wire.send("x" * size)
            assert wire.message() == "x" * size


@pytest.mark.skipif(loop_in_c is None, reason="counts what C does")
def test_valid_input_takes_no_detour() -> None:
    with running() as server, Wire(server.address) as wire:
        wire.send("first")
        wire.message()
        turn = server.server.context
        before = server.call(lambda: (turn.turns, turn.detours, turn.sent_fallback))
        for size in (1, 200, 70_000):
            wire.send("x" * size)
            assert wire.message() == "x" * size
        after = server.call(lambda: (turn.turns, turn.detours, turn.sent_fallback))
    assert after[0] > before[0]
    assert after[1:] == before[1:]


def test_a_slow_reader_is_closed_while_others_go_on() -> None:
    sockets: list[WebSocket] = []
    closes: queue.Queue[Close] = queue.Queue()

    def handle(request: HTTPRequest) -> None:
        ws = request.accept(echo, lambda ws, close: closes.put(close))
        if request.path == "/slow":
            sockets.append(ws)

    sock = listener(send_buffer=8192)
    with (
        running(handle, sock=sock) as server,
        Wire(server.address, "/slow", receive_buffer=8192) as slow,
        Wire(server.address) as quick,
    ):
        assert server.call(lambda: [sockets[0].send(bytes(MIB)) for _ in range(12)])[0]
        assert closes.get(timeout=PATIENCE).code == 4008
        quick.send("still here")
        assert quick.message() == "still here"
        slow.close()


def test_what_does_not_fit_into_the_socket_follows_when_it_is_read() -> None:
    sock = listener(send_buffer=8192)
    with running(sock=sock) as server, Wire(server.address, receive_buffer=8192) as wire:
        wire.send(bytes(MIB))
        wire.send(b"next")
        assert wire.message() == bytes(MIB)
        assert wire.message() == b"next"


def test_a_peer_that_sends_much_more_than_its_share_is_served_in_turns() -> None:
    with running() as server, Wire(server.address) as wire:
        count = 5000
        wire.sock.sendall(wire.encoded(*[TextMessage("x")] * count))
        assert [wire.message() for _ in range(count)] == ["x"] * count


def test_early_frames_come_after_the_answer() -> None:
    with running() as server, Wire(server.address, upgrade=False) as wire:
        head = wire.connection.data_to_send()
        from sono_core.websocket.frames import encode_frame
        from sono_core.websocket.opcodes import TEXT

        wire.sock.sendall(head + encode_frame(TEXT, b"early", mask=b"\1\2\3\4"))
        wire.next()
        assert wire.message() == "early"


# -- time -------------------------------------------------------------------------------------


def test_silent_peers_are_pinged_and_given_up() -> None:
    closes: queue.Queue[Close] = queue.Queue()
    timeouts = Timeouts(ping_interval=0.1, pong=0.3)
    with (
        running(
            lambda request: request.accept(echo, lambda ws, close: closes.put(close)),
            timeouts=timeouts,
        ) as server,
        Wire(server.address) as wire,
    ):
        assert isinstance(wire.next(), Ping)
        wire.send(Pong())
        assert isinstance(wire.next(), Ping)
        assert closes.get(timeout=PATIENCE).code == 1006


def test_requests_that_take_too_long_or_get_no_answer() -> None:
    with running(lambda request: None, timeouts=Timeouts(handshake=0.1)) as server:
        assert status(get(server.address)) == 503
        with dial(server.address) as sock:
            sock.sendall(b"GET / HT")
            assert sock.recv(100).startswith(b"HTTP/1.1 408")


def test_a_stopped_process_times_nobody_out_that_had_answered(on_asyncio: str) -> None:
    source = (
        "import asyncio, sys\n"
        "from sono_core import Timeouts\n"
        "from sono_server import serve_async\n"
        "async def main():\n"
        "    times = Timeouts(ping_interval=0.2, pong=0.4)\n"
        "    async with serve_async('127.0.0.1', 0, timeouts=times) as server:\n"
        "        print(f'ws://127.0.0.1:{server.address[1]}/', flush=True)\n"
        "        async for request in server:\n"
        "            request.accept(lambda ws, message: ws.send(message))\n"
        "if sys.argv[1] == 'uvloop':\n"
        "    import uvloop; uvloop.run(main())\n"
        "else:\n"
        "    asyncio.run(main())\n"
    )
    with program("-c", source, on_asyncio) as started:
        with Wire(started.address()) as wire:
            assert isinstance(wire.next(), Ping)
            os.kill(started.process.pid, signal.SIGSTOP)
            wire.send(Pong())
            threading.Event().wait(1.0)  # longer than all deadlines
            os.kill(started.process.pid, signal.SIGCONT)
            wire.send("still here")
            assert wire.message() == "still here"
        assert started.end(signal.SIGTERM) == (0, "")


# -- the end ----------------------------------------------------------------------------------


def test_stop_closes_with_1001_and_a_second_one_cuts_off() -> None:
    with running() as server, Wire(server.address) as wire, Wire(server.address) as silent:
        server.server.stop()
        assert wire.closed().code == 1001
        with pytest.raises(ConnectionRefusedError):
            dial(server.address)
        server.server.stop()
        server.join()
        silent.sock.settimeout(PATIENCE)
        with pytest.raises((ConnectionResetError, AssertionError)):
            while True:
                silent.next()


def test_who_does_not_close_in_the_drain_time_is_cut_off() -> None:
    with running(drain=0.1) as server, Wire(server.address):
        server.server.stop()
        server.join()


def test_closing_takes_the_drain_time_once(on_asyncio: str) -> None:
    begun = threading.Event()

    async def never(ws: WebSocket, message: str) -> None:
        begun.set()
        await asyncio.Event().wait()

    drain = 1.5
    with running(lambda r: r.accept(never), drain=drain) as server, Wire(server.address) as wire:
        wire.send("go")
        assert begun.wait(PATIENCE)
        stopped = time.monotonic()
        server.server.stop()
        server.join()
        assert time.monotonic() - stopped < 2 * drain


def test_a_handler_whose_work_is_cancelled_has_failed(
    on_asyncio: str, caplog: pytest.LogCaptureFixture
) -> None:
    closed: queue.Queue[Close] = queue.Queue()

    async def cancelled(ws: WebSocket, message: str) -> None:
        work = asyncio.ensure_future(asyncio.Event().wait())
        work.cancel()
        await work

    async def leave(ws: WebSocket, close: Close) -> None:
        closed.put(close)

    with (
        caplog.at_level(logging.CRITICAL, "sono"),
        running(lambda request: request.accept(cancelled, leave)) as server,
        Wire(server.address) as wire,
    ):
        wire.send("go")
        assert wire.closed().code == 1011
        assert closed.get(timeout=PATIENCE).code == 1011


def test_closing_waits_for_coroutines_and_cancels_them_after_the_drain_time(
    on_asyncio: str,
) -> None:
    log: list[str] = []

    async def on_message(ws: WebSocket, message: str) -> None:
        try:
            await asyncio.sleep(0.01 if message == "short" else 60)
            log.append(message)
        except asyncio.CancelledError:
            log.append("cancelled")
            raise

    async def main() -> None:
        async with serve_async("127.0.0.1", 0, drain=0.1) as server:
            wires = [asyncio.to_thread(Wire, server.address[:2]) for _ in range(2)]
            tasks = [asyncio.create_task(wire) for wire in wires]
            for _ in range(2):
                (await server.__anext__()).accept(on_message)
            for task, text in zip(tasks, ("short", "long"), strict=True):
                wire = await task
                wire.send(text)
            await asyncio.sleep(0.05)
        for task in tasks:
            (await task).close()

    run(on_asyncio, main())
    assert sorted(log) == ["cancelled", "short"]


def test_close_is_idempotent_and_frees_a_server_that_never_ran(on_asyncio: str) -> None:
    async def main() -> None:
        server = serve_async("127.0.0.1", 0)
        await server.close()
        await server.close()
        assert server.ended
        assert not server.call_soon(print)
        with pytest.raises(StopAsyncIteration):
            await server.__anext__()

    run(on_asyncio, main())


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signals_end_the_iteration_and_are_given_back(
    number: signal.Signals, on_asyncio: str
) -> None:
    before = signal.getsignal(number)

    async def main() -> None:
        async with serve_async("127.0.0.1", 0) as server:
            asyncio.get_running_loop().call_soon(os.kill, os.getpid(), number)
            async for _ in server:
                raise AssertionError("nobody asked")

    run(on_asyncio, main())
    assert signal.getsignal(number) == before


def test_cancelled_at_any_await_nothing_is_left_open(on_asyncio: str) -> None:
    """Cancel the task at its first step, at its second, and so on."""

    async def serve_some(address: list[Any]) -> None:
        async with serve_async("127.0.0.1", 0, drain=0.1) as server:
            address.append(server.address[:2])
            async for request in server:
                request.accept(echo)

    async def main() -> None:
        async with serve_async("127.0.0.1", 0):  # what a loop opens once and keeps
            pass
        await asyncio.sleep(0.01)
        before = descriptors()
        for steps in range(6):
            address: list[Any] = []
            task = asyncio.get_running_loop().create_task(serve_some(address))
            for _ in range(steps):
                await asyncio.sleep(0)
            sock = None
            if address:
                sock = socket.create_connection(address[0])
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            if sock:
                sock.close()
            for _ in range(100):  # uvloop closes what it was told to close in turns to come
                if descriptors() == before:
                    break
                await asyncio.sleep(0.001)
            assert descriptors() == before, f"cancelled at step {steps}"

    run(on_asyncio, main())


def test_too_many_connections() -> None:
    with running(max_connections=1) as server, Wire(server.address) as wire:
        assert status(get(server.address)) == 503
        wire.send("x")
        assert wire.message() == "x"


# -- from other threads -----------------------------------------------------------------------


def test_messages_from_another_thread_come_in_order() -> None:
    sockets: queue.Queue[WebSocket] = queue.Queue()
    with (
        running(lambda request: sockets.put(request.accept())) as server,
        Wire(server.address) as wire,
    ):
        ws = sockets.get(timeout=PATIENCE)
        for number in range(100):
            assert ws.send(str(number))
        assert [wire.message() for _ in range(100)] == [str(n) for n in range(100)]


# -- other ways in ----------------------------------------------------------------------------


@pytest.mark.skipif(not hasattr(socket, "AF_UNIX"), reason="needs Unix sockets")
def test_a_server_leaves_its_successors_unix_socket_alone(tmp_path: Path) -> None:
    path = str(tmp_path / "sono")
    with running(unix=path) as old:
        Path(path).unlink()
        with running(unix=path):
            old.end()
            with connect("ws://localhost/", unix=path) as ws:
                ws.send("still there")
                assert ws.recv(PATIENCE) == "still there"
    assert not Path(path).exists()


@pytest.mark.skipif(not hasattr(socket, "AF_UNIX"), reason="needs Unix sockets")
@pytest.mark.parametrize("given", [False, True], ids=["path", "sock"])
def test_a_file_that_others_made_stays_where_it_is(
    on_asyncio: str, given: bool, tmp_path: Path
) -> None:
    path = str(tmp_path / "sono")
    if given:
        sock = socket.socket(socket.AF_UNIX)
        sock.bind(path)
        sock.listen()
        server = serve_async(sock=sock)
    else:
        server = serve_async(unix=path)
        Path(path).unlink()
        Path(path).touch()

    async def main() -> None:
        async with server:
            pass

    run(on_asyncio, main())
    assert Path(path).exists()


def test_a_unix_socket_whose_file_goes_with_the_server(tmp_path: Path) -> None:
    path = str(tmp_path / "sock")
    with socket.socket(socket.AF_UNIX) as dead:  # nobody listens there any more
        dead.bind(path)
    with running(unix=path) as server:
        assert server.server.address == path
        with connect("ws://localhost/", unix=path) as ws:
            ws.send("x")
            assert ws.recv(PATIENCE) == "x"
        with pytest.raises(OSError, match="in use"):
            serve(unix=path)
    assert not os.path.exists(path)


def test_a_sonos_limits_are_those_of_the_connections_that_it_serves(
    on_asyncio: str, tmp_path: Path
) -> None:
    sono = Sono(limits=Limits(max_message=100))
    path = str(tmp_path / "sono")

    def too_long(unix: str) -> int:
        with connect("ws://localhost/ws", unix=unix) as ws:
            ws.send("x" * 101)
            with pytest.raises(ConnectionClosed) as raised:
                ws.recv(PATIENCE)
        return raised.value.code

    async def main() -> list[int]:
        ran = asyncio.ensure_future(sono.run_async(unix=path))
        streams = await asyncio.start_unix_server(sono.handle_stream, path + "2")
        await asyncio.sleep(0)
        codes = [await asyncio.to_thread(too_long, unix) for unix in (path, path + "2")]
        streams.close()
        ran.cancel()
        await asyncio.wait([ran])
        return codes

    assert asyncio.run(main()) == [1009, 1009]


def test_streams_that_asyncio_accepts(on_asyncio: str) -> None:
    sono = Sono()

    async def main() -> None:
        server = await asyncio.start_server(sono.handle_stream, "127.0.0.1", 0)
        address = server.sockets[0].getsockname()[:2]

        def talk() -> None:
            assert status(get(address, "/nothing")) == 404
            assert status(get(address, "/sono.js")) == 200
            with Wire(address, "/ws") as wire, Wire(address, "/ws") as other:
                packet = '{"protocol":"message","event":"x","payload":{"message":"%s"}}'
                wire.send(packet % ("y" * 300_000))
                assert "y" * 300_000 in str(other.message())
                assert "y" * 300_000 in str(wire.message())
                other.send(Close(1000))
                assert other.closed() == Close(1000)
                other.wait_for_end()
                wire.reset()

        async with server:
            await asyncio.to_thread(talk)
            for _ in range(1000):
                if not sono.clients:
                    break
                await asyncio.sleep(0.01)
            assert not sono.clients

    run(on_asyncio, main())


def test_streams_have_ended_when_their_clients_were_closed(on_asyncio: str) -> None:
    sono = Sono()

    async def main() -> None:
        server = await asyncio.start_server(sono.handle_stream, "127.0.0.1", 0)
        wire = await asyncio.to_thread(Wire, server.sockets[0].getsockname()[:2], "/ws")
        server.close()
        for client in list(sono.clients.values()):
            client.close(1001, "the end")
        with wire:
            assert await asyncio.to_thread(wire.closed) == Close(1001, "the end")
            await asyncio.to_thread(wire.wait_for_end)
        await asyncio.wait_for(server.wait_closed(), 10)
        assert not sono.clients

    run(on_asyncio, main())


def test_a_stream_that_is_cancelled_is_cut_off(on_asyncio: str) -> None:
    sono = Sono()
    tasks: list[asyncio.Task[Any]] = []

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        tasks.append(asyncio.current_task())  # type: ignore[arg-type]
        await sono.handle_stream(reader, writer)

    async def main() -> None:
        server = await asyncio.start_server(handle, "127.0.0.1", 0)
        address = server.sockets[0].getsockname()[:2]
        async with server:
            wire = await asyncio.to_thread(Wire, address, "/ws")
            assert len(sono.clients) == 1
            tasks[0].cancel()
            await asyncio.wait(tasks)
            assert not sono.clients
            wire.close()

    run(on_asyncio, main())


def test_a_slow_reader_of_a_stream_gets_everything_in_the_end(on_asyncio: str) -> None:
    sono = Sono()

    async def main() -> None:
        server = await asyncio.start_server(sono.handle_stream, sock=listener(send_buffer=8192))
        address = server.sockets[0].getsockname()[:2]

        def talk() -> None:
            with Wire(address, "/ws", receive_buffer=8192) as wire:
                packet = '{"protocol":"message","event":"x","payload":{"message":"%s"}}'
                for letter in "abcd":
                    wire.send(packet % (letter * 500_000))
                for letter in "abcd":
                    assert letter * 500_000 in str(wire.message())

        async with server:
            await asyncio.to_thread(talk)
            await asyncio.sleep(0.05)

    run(on_asyncio, main())


def test_run_async_serves_as_run_does(on_asyncio: str) -> None:
    sono = Sono()

    async def main() -> None:
        sock = listener()
        task = asyncio.get_running_loop().create_task(sono.run_async(sock=sock))
        address = sock.getsockname()[:2]
        assert status(await asyncio.to_thread(get, address, "/sono.js")) == 200
        wire = await asyncio.to_thread(Wire, address, "/ws")
        assert len(sono.clients) == 1
        wire.close()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert not sono.clients

    run(on_asyncio, main())


def test_an_accepted_echo_needs_no_coroutine(on_asyncio: str) -> None:
    """The README's plain server, with `async for`."""

    async def main() -> None:
        async with serve_async("127.0.0.1", 0) as server:
            assert isinstance(server, AsyncServer)
            wire = asyncio.create_task(asyncio.to_thread(Wire, server.address[:2]))
            async for request in server:
                accept_echo(request)
                break
            (await wire).close()

    run(on_asyncio, main())


@pytest.mark.parametrize("turns", range(6))
def test_a_connection_that_comes_as_the_server_closes_is_closed(
    on_asyncio: str, turns: int
) -> None:
    async def main() -> None:
        server = serve_async("127.0.0.1", 0)
        await server.start()
        with dial(server.address) as sock:
            for _ in range(turns):
                await asyncio.sleep(0)
            await server.close()
            try:
                assert await asyncio.to_thread(sock.recv, 1) == b""
            except ConnectionResetError:
                pass

    run(on_asyncio, main())
