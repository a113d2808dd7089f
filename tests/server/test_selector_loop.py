"""The selector server's loop: fair shares, timers, calls of other threads, and its end."""

from __future__ import annotations

import contextlib
import gc
import itertools
import queue
import select
import signal
import socket
import struct
import threading
import warnings
from typing import Any

import pytest

from sono_core import Close, Ping, Pong, TextMessage, Timeouts
from sono_server import HTTPRequest, WebSocket, serve
from sono_server.selector.transport import SelectorTransport
from tests.descriptors import assert_none_stays_open, open_descriptors
from tests.server.selector_helpers import assert_gone, assert_serves, count_turns, held, until
from tests.servers import PATIENCE, Running, Wire, dial, get, listener, read_all, running, status

# -- many connections -------------------------------------------------------------------------


def test_fan_out() -> None:
    members: list[WebSocket] = []

    def tell_all(ws: WebSocket, message: str | bytes) -> None:
        for member in members:
            member.send(message)

    with running(lambda request: members.append(request.accept(tell_all))) as server:
        wires = [Wire(server.address) for _ in range(20)]
        server.turn()
        wires[3].send("to all")
        assert [wire.message() for wire in wires] == ["to all"] * 20
        for wire in wires:
            wire.close()


def test_a_fair_share_is_1024_messages_a_turn() -> None:
    """Also while one connection has more to read than its share of a turn."""
    log: list[str] = []
    handled: list[int] = []

    def handle(request: HTTPRequest) -> None:
        def note(ws: WebSocket, message: str | bytes) -> None:
            log.append(request.path)
            if message == "last":
                ws.send("done")

        request.accept(note)

    with (
        running(handle) as server,
        Wire(server.address, "/a") as a,
        Wire(server.address, "/b") as b,
    ):
        original = server.server._wait

        def counting(due: float) -> Any:
            handled.append(len(log))
            return original(due)

        server.call(lambda: setattr(server.server, "_wait", counting))
        wires = [a, b]
        threads = []
        for wire in wires:
            data = wire.encoded(*[TextMessage("x")] * 50_000, TextMessage("last"))
            assert len(data) > 256 * 1024
            threads.append(threading.Thread(target=wire.sock.sendall, args=(data,)))
        with held(server):
            for thread in threads:
                thread.start()
            # Every thread has sent everything, or has filled the kernel's buffers.
            until(
                lambda: (
                    not any(
                        thread.is_alive() and select.select([], [wire.sock], [], 0)[1]
                        for thread, wire in zip(threads, wires, strict=True)
                    )
                )
            )
        assert [wire.message() for wire in wires] == ["done", "done"]
        for thread in threads:
            thread.join()
    assert len(log) == 100_002
    turns = [after - before for before, after in itertools.pairwise(handled)]
    assert 0 < max(turns) <= 2 * 1024  # fewer on a machine so busy that a turn's time is over
    runs = [len(list(group)) for _, group in itertools.groupby(log[: 8 * 1024])]
    assert max(runs) <= 2 * 1024, "at most the last of one turn and the first of the next"


def test_a_connection_that_floods_does_not_keep_another_waiting() -> None:
    before: list[int] = []
    handled = itertools.count()

    def answer(ws: WebSocket, message: str | bytes) -> None:
        before.append(next(handled))
        ws.send(message)

    def handle(request: HTTPRequest) -> None:
        if request.path == "/flood":
            request.accept(lambda ws, message: next(handled))
        else:
            request.accept(answer)

    with (
        running(handle) as server,
        Wire(server.address, "/flood") as flood,
        Wire(server.address, "/honest") as honest,
    ):
        data = flood.encoded(*[TextMessage("")] * 20_000)
        with held(server):
            flood.sock.sendall(data)
            honest.send("me too")
        assert honest.message() == "me too"
    assert before[0] <= 2 * 1024


def test_256_kib_of_one_connection_a_turn() -> None:
    reads: list[int] = []

    class Counting(socket.socket):
        def recv_into(self, buffer: Any, *arguments: Any) -> int:
            reads.append(len(buffer))
            return super().recv_into(buffer, *arguments)

    class Listener(socket.socket):
        def accept(self) -> tuple[socket.socket, Any]:
            sock, address = super().accept()
            return Counting(fileno=sock.detach()), address

    with running(sock=listener(kind=Listener)) as server, Wire(server.address) as wire:
        turns = count_turns(server)
        started = len(reads)
        wire.send(bytes(1 << 20))
        assert wire.message() == bytes(1 << 20)
        assert 4 <= len(reads) - started <= turns() + 1
    assert set(reads) == {256 * 1024}


def test_pings_are_answered() -> None:
    with running() as server, Wire(server.address) as wire:
        wire.send(Ping(b"now"))
        assert wire.next() == Pong(b"now")


# -- idle -------------------------------------------------------------------------------------


def test_an_idle_server_does_not_turn() -> None:
    with running() as server, Wire(server.address) as wire:
        wire.send("x")
        wire.message()
        turns = count_turns(server)
        server.turn()
        server.turn()
        before = turns()
        assert select.select([wire.sock], [], [], 0.05)[0] == []
        assert turns() - before <= 1


def test_half_closed_peers_do_not_make_the_loop_busy() -> None:
    requests: queue.Queue[HTTPRequest] = queue.Queue()
    with running(requests.put) as server, dial(server.address) as sock:
        sock.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        sock.shutdown(socket.SHUT_WR)
        request = requests.get(timeout=PATIENCE)
        turns = count_turns(server)
        for _ in range(5):
            server.turn()
        assert turns() <= 15, "nothing but the turns that were asked for"
        server.call(lambda: request.respond(200))
        assert status(read_all(sock)) == 200


# -- timers -----------------------------------------------------------------------------------


@pytest.mark.native
@pytest.mark.skipif(not hasattr(select, "epoll"), reason="needs epoll")
@pytest.mark.parametrize("trailing", [b"", b"what nobody reads"])
def test_where_both_sides_have_ended_the_last_read_is_spared(
    trailing: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[int] = []
    original = SelectorTransport.ready_fallback

    def noting(transport: SelectorTransport, events: int, now: float) -> None:
        told.append(events)
        original(transport, events, now)

    monkeypatch.setattr(SelectorTransport, "ready_fallback", noting)
    with running() as server, Wire(server.address) as wire:
        wire.send(Close(1000))
        assert wire.closed().code == 1000
        wire.wait_for_end()
        with held(server):
            told.clear()
            wire.sock.sendall(trailing)
            wire.sock.shutdown(socket.SHUT_WR)
        until(lambda: not server.call(lambda: len(server.server._transports)))
        assert told[-1] == 1 | 4


def test_timers_of_connections_that_are_gone_are_let_go() -> None:
    with running() as server:
        for _ in range(3):
            with Wire(server.address) as wire:
                wire.send("x")
                wire.message()
        assert_gone(server, 0)
        transport = server.call(lambda: server.server._timers._heap[0][2])

        def crowd() -> None:
            server.server._timers._heap.extend((1e12, -number, transport) for number in range(5000))

        server.call(crowd)
        server.turn()
        server.turn()
        assert server.call(lambda: len(server.server._timers)) == 0
        assert_serves(server)


def test_outdated_timers_of_a_connection_that_lives_are_let_go() -> None:
    with running() as server, Wire(server.address) as wire:
        wire.send("x")
        wire.message()
        transport = server.call(lambda: next(iter(server.server._transports)))
        due = transport.scheduled

        def crowd() -> None:
            server.server._timers._heap.extend((1e12, -number, transport) for number in range(5000))

        server.call(crowd)
        server.turn()
        server.turn()
        assert server.call(lambda: [entry[0] for entry in server.server._timers._heap]) == [due]


def test_a_timer_of_a_connection_that_is_gone_does_nothing() -> None:
    with running(timeouts=Timeouts(handshake=0.05)) as server:
        dial(server.address).close()
        assert_gone(server, 0)
        until(lambda: server.call(lambda: not server.server._timers))
        assert_serves(server)


# -- threads ----------------------------------------------------------------------------------


def test_calls_of_other_threads_keep_their_order_and_failures_are_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    called: queue.Queue[int] = queue.Queue()

    def fail() -> None:
        raise ValueError("posted")

    with running() as server:
        for number in range(1000):
            server.server.call_soon(called.put, number)
        server.server.call_soon(fail)
        assert [called.get(timeout=PATIENCE) for _ in range(1000)] == list(range(1000))
        assert_serves(server)
        assert not server.server.in_loop()
        assert server.call(server.server.in_loop)
    assert "posted" in caplog.text
    server.server.call_soon(fail)  # the loop has ended: nothing happens


def test_calls_that_come_before_the_loop_runs_are_made_when_it_does() -> None:
    server = serve("127.0.0.1", 0)
    server.call_soon(server.stop)
    assert server.in_loop()
    assert list(server) == []


def test_calls_of_other_threads_have_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sono_server.serving.base._MAX_POSTED", 3)
    with serve("127.0.0.1", 0) as server:
        for _ in range(3):
            assert server.call_soon(print)
        with pytest.raises(BufferError, match="are waiting for the server"):
            server.call_soon(print)


# -- the end of the loop ----------------------------------------------------------------------


def test_a_handler_may_not_run_the_server_that_calls_it() -> None:
    refused: queue.Queue[BaseException] = queue.Queue()

    def nested(ws: WebSocket, message: str | bytes) -> None:
        try:
            next(server.server)
        except RuntimeError as error:
            refused.put(error)
        ws.send(message)

    with (
        running(lambda request: request.accept(nested)) as server,
        Wire(server.address) as wire,
    ):
        wire.send("x")
        assert wire.message() == "x"
        assert "may not run the server" in str(refused.get(timeout=PATIENCE))


def test_leaving_the_with_statement_closes_everything() -> None:
    closes: list[Close] = []

    def connect(address: tuple[str, int]) -> None:
        with Wire(address) as wire:
            get(address, "/leave")
            with contextlib.suppress(ConnectionResetError):
                assert wire.closed().code == 1006

    with serve("127.0.0.1", 0) as server:
        client = threading.Thread(target=connect, args=(server.address,))
        client.start()
        for request in server:
            if request.path == "/leave":
                request.respond(200)
                break
            request.accept(None, lambda ws, close: closes.append(close))
    client.join()
    assert [close.code for close in closes] == [1006]
    assert server._transports == set()
    server.close()
    assert list(server) == []


def test_no_socket_is_left_open() -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", ResourceWarning)
        gc.collect()
        before = open_descriptors()
        for _ in range(3):
            with running() as server:
                wire, sock = Wire(server.address), dial(server.address)
                wire.send("x")
                wire.message()
                wire.reset()
                sock.close()
        del server, wire, sock
        assert_none_stays_open(before)
    assert [str(warning.message) for warning in caught] == []


def test_exceptions_of_the_body_propagate_and_everything_is_closed() -> None:
    def handle(request: HTTPRequest) -> None:
        raise ZeroDivisionError("body")

    server = Running(handle)
    with dial(server.address) as sock:
        sock.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        server.join()
        assert isinstance(server.error, ZeroDivisionError)
        with contextlib.suppress(ConnectionResetError):
            assert read_all(sock) == b""


def test_system_exit_of_a_handler_ends_the_loop() -> None:
    def leave(ws: WebSocket, message: str) -> None:
        raise SystemExit(3)

    server = Running(lambda request: request.accept(leave))
    with Wire(server.address) as wire:
        wire.send("x")
        server.join()
    assert isinstance(server.error, SystemExit)


def test_iterating_a_closed_server_does_nothing() -> None:
    handlers = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    server = serve("127.0.0.1", 0)
    server.close()
    assert list(server) == []
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == handlers


def test_what_was_answered_before_a_break_is_written() -> None:
    with serve("127.0.0.1", 0) as server, dial(server.address[:2]) as client:
        client.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        for request in server:
            request.respond(200, "hi")
            break
        server.close()
        assert read_all(client).endswith(b"\r\n\r\nhi")


def test_requests_of_peers_that_are_gone_are_not_kept_and_not_yielded() -> None:
    """Each turn of the loop yields one request and may read many."""
    with serve("127.0.0.1", 0) as server:
        for _ in range(10):
            clients = [dial(server.address[:2]) for _ in range(40)]
            for client in clients:
                client.sendall(b"GET /gone HTTP/1.1\r\nHost: a\r\n\r\n")
            server._turn()
            server._turn()
            for client in clients:
                linger = struct.pack("ii", 1, 0)
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
                client.close()
        while server._transports:
            server._turn()
        assert len(server._requests) <= 64
        with dial(server.address[:2]) as client:
            client.sendall(b"GET /here HTTP/1.1\r\nHost: a\r\n\r\n")
            assert next(server).path == "/here"
