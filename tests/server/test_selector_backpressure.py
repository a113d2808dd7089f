"""Slow readers and large messages, over real sockets."""

from __future__ import annotations

import contextlib
import queue
import select
import threading

from sono_core import BinaryMessage, Close, Limits, Ping, Timeouts
from sono_server import HTTPRequest, WebSocket
from tests.server.selector_helpers import Closes, assert_gone
from tests.servers import PATIENCE, Wire, listener, read_all, running


def test_a_slow_reader_is_closed_with_4008_and_others_are_unharmed() -> None:
    members: dict[str, WebSocket] = {}
    closes: queue.Queue[tuple[str, Close]] = queue.Queue()

    def handle(request: HTTPRequest) -> None:
        name = request.path
        members[name] = request.accept(fan_out, lambda ws, close: closes.put((name, close)))

    def fan_out(ws: WebSocket, message: str | bytes) -> None:
        for member in members.values():
            member.send(bytes(16 * 1024))

    limits = Limits(max_queue=256 * 1024)
    with (
        running(handle, sock=listener(8192), limits=limits) as server,
        Wire(server.address, "/slow", receive_buffer=4096) as slow,
        Wire(server.address, "/good") as good,
    ):
        while closes.empty():
            good.send("more")
            assert good.message() == bytes(16 * 1024)
        assert closes.get() == ("/slow", Close(4008, "the peer reads too slowly", False))
        good.send("more")
        assert good.message() == bytes(16 * 1024)
        with contextlib.suppress(ConnectionResetError):
            read_all(slow.sock)
        assert_gone(server, 1)


def test_a_peer_that_takes_nothing_is_closed_at_the_stall_deadline() -> None:
    closes: queue.Queue[Close] = queue.Queue()

    def handle(request: HTTPRequest) -> None:
        ws = request.accept(None, lambda ws, close: closes.put(close))
        ws.send(bytes(1 << 20))

    with (
        running(handle, sock=listener(8192), timeouts=Timeouts(write_stall=0.1)) as server,
        Wire(server.address, receive_buffer=4096),
    ):
        close = closes.get(timeout=PATIENCE)
        assert close == Close(4008, "nothing could be written in time", False)
        assert_gone(server, 0)


def test_a_peer_that_pings_and_never_reads_is_paused_then_closed() -> None:
    application = Closes()
    with (
        running(application, sock=listener(8192), timeouts=Timeouts(write_stall=0.1)) as server,
        Wire(server.address, receive_buffer=4096) as wire,
    ):
        pings = wire.encoded(*[Ping(bytes(125))] * 4000)
        wire.sock.settimeout(None)
        wire.sock.setblocking(False)
        sent = 0
        while application.closes.empty() and sent < 1 << 26:
            if select.select([], [wire.sock], [], 0.01)[1]:
                try:
                    sent += wire.sock.send(pings)
                except OSError:
                    break
        assert application.closed().code == 4008
        assert sent < 1 << 26


def test_partial_writes_of_a_large_message() -> None:
    limits = Limits(max_message=1 << 24, max_frame=1 << 24)
    data = bytes(range(256)) * (1 << 15)
    with (
        running(sock=listener(16 * 1024), limits=limits) as server,
        Wire(server.address, limits=limits, receive_buffer=16 * 1024) as wire,
    ):
        frame = wire.encoded(BinaryMessage(data))
        sender = threading.Thread(target=wire.sock.sendall, args=(frame,))
        sender.start()
        assert wire.message() == data
        sender.join()


def test_reading_goes_on_when_a_paused_peer_reads_again() -> None:
    with (
        running(sock=listener(8192)) as server,
        Wire(server.address, receive_buffer=8192) as wire,
    ):
        messages = [bytes([number % 256]) * 4096 for number in range(200)]
        data = wire.encoded(*map(BinaryMessage, messages))
        sender = threading.Thread(target=wire.sock.sendall, args=(data,))
        sender.start()
        assert [wire.message() for _ in messages] == messages
        sender.join()
