"""What is special to the server on asyncio: bytes, time, other threads.

The fixture `each_server` in conftest runs the tests of behaviour on this server too.
"""

from __future__ import annotations

import os
import queue
import signal
import threading

import pytest

from sono_core import Close, Ping, Pong, TextMessage, Timeouts
from sono_io.fast import loop as loop_in_c
from sono_server import HTTPRequest, WebSocket
from tests.processes import program
from tests.servers import PATIENCE, Wire, dial, echo, get, listener, running, status

pytestmark = pytest.mark.usefixtures("on_asyncio")

MIB = 1 << 20


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
        context = server.server.context
        before = server.call(lambda: (context.turns, context.detours, context.sent_fallback))
        for size in (1, 200, 70_000):
            wire.send("x" * size)
            assert wire.message() == "x" * size
        after = server.call(lambda: (context.turns, context.detours, context.sent_fallback))
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
