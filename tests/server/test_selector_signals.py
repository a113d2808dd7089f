"""The built-in server over real sockets: its loop, its limits and its end."""

from __future__ import annotations

import contextlib
import errno
import gc
import itertools
import os
import queue
import select
import signal
import socket
import struct
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from sono_core import BinaryMessage, Close, Limits, Ping, Pong, TextMessage, Timeouts
from sono_server import HTTPRequest, Server, WebSocket, serve
from sono_server.selector import server as selector
from tests.servers import (
    PATIENCE,
    Running,
    Wire,
    accept_echo,
    dial,
    echo,
    get,
    listener,
    read_all,
    running,
    status,
)

SOON = 3.0
"""Seconds: well below every time-out that could end a wait by itself."""


class Closes:
    """Accepts everything as an echo, and keeps how the connections ended."""

    def __init__(self) -> None:
        self.sockets: queue.Queue[WebSocket] = queue.Queue()
        self.closes: queue.Queue[Close] = queue.Queue()

    def __call__(self, request: HTTPRequest) -> None:
        ws = request.accept(echo, lambda ws, close: self.closes.put(close))
        self.sockets.put(ws)

    def socket(self) -> WebSocket:
        return self.sockets.get(timeout=PATIENCE)

    def closed(self) -> Close:
        return self.closes.get(timeout=PATIENCE)


@contextlib.contextmanager
def held(server: Running) -> Iterator[None]:
    """The loop stands still for the length of a with statement."""
    inside, go_on = threading.Event(), threading.Event()

    def hold() -> None:
        inside.set()
        assert go_on.wait(PATIENCE)

    server.server.call_soon(hold)
    assert inside.wait(PATIENCE)
    try:
        yield
    finally:
        go_on.set()


def until(condition: Callable[[], bool]) -> None:
    """Wait for something that nobody tells."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, "it does not happen"
        time.sleep(0.001)


def assert_serves(server: Running) -> None:
    with Wire(server.address) as wire:
        wire.send("alive?")
        assert wire.message() == "alive?"


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
    """Also while more can be read from the same connection than was handled."""
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
            # Every thread has sent all, or has filled what the kernel holds.
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
    assert max(turns) == 2 * 1024
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


# -- slow readers and large messages ----------------------------------------------------------


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


def assert_gone(server: Running, left: int) -> None:
    """Only so many connections are left in the server."""
    until(lambda: server.call(lambda: len(server.server._transports)) == left)


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


# -- ends of connections ----------------------------------------------------------------------


def test_a_reset_in_the_middle_of_a_frame_ends_that_connection_alone() -> None:
    application = Closes()
    with running(application) as server, Wire(server.address) as other:
        wire = Wire(server.address)
        wire.send("before")
        assert wire.message() == "before"
        wire.sock.sendall(wire.encoded(TextMessage("x" * 1000))[:500])
        wire.reset()
        assert application.closed() == Close(1006, "the connection ended", False)
        other.send("unharmed")
        assert other.message() == "unharmed"
        assert_gone(server, 1)


def test_what_a_peer_sent_before_it_went_is_delivered_although_writing_failed() -> None:
    """The failed write is noticed before what the peer sent was read."""
    messages: queue.Queue[str | bytes] = queue.Queue()
    closes: queue.Queue[Close] = queue.Queue()
    sockets: queue.Queue[WebSocket] = queue.Queue()

    def handle(request: HTTPRequest) -> None:
        sockets.put(
            request.accept(
                lambda ws, message: messages.put(message), lambda ws, close: closes.put(close)
            )
        )

    with running(handle) as server:
        wire = Wire(server.address)
        ws = sockets.get(timeout=PATIENCE)
        server.call(lambda: ws.send("unread"))
        until(lambda: bool(select.select([wire.sock], [], [], 0)[0]))
        inside, gone = threading.Event(), threading.Event()

        def send_in_vain() -> None:  # is written before anything more is read
            inside.set()
            assert gone.wait(PATIENCE)
            ws.send("into the void")

        server.server.call_soon(send_in_vain)
        assert inside.wait(PATIENCE)
        wire.send("my last words", Close(1001, "gone"))
        wire.close()  # with "unread" unread: a reset
        gone.set()
        assert messages.get(timeout=PATIENCE) == "my last words"
        assert closes.get(timeout=PATIENCE) == Close(1001, "gone", True)


def test_after_a_protocol_error_the_close_frame_survives_what_the_peer_still_sends() -> None:
    with running() as server, Wire(server.address) as wire:
        wire.sock.sendall(b"\x81\x00")  # not masked
        for _ in range(32):
            wire.sock.sendall(bytes(256 * 1024))
        close = wire.closed()
        assert close.code == 1002
        assert wire.connection.data_to_send() == b""
        wire.wait_for_end()
        wire.close()
        assert_gone(server, 0)


def test_a_peer_that_does_not_end_its_stream_is_cut_off_at_the_close_deadline() -> None:
    with (
        running(timeouts=Timeouts(close=0.05)) as server,
        Wire(server.address) as wire,
    ):
        wire.send(Close(1000))
        assert wire.next() == Close(1000, "", True)
        wire.wait_for_end()
        assert_gone(server, 0)


def test_a_close_that_is_not_answered_is_1006_at_the_close_deadline() -> None:
    application = Closes()
    with (
        running(application, timeouts=Timeouts(close=0.05)) as server,
        Wire(server.address),
    ):
        ws = application.socket()
        server.call(ws.close)
        assert application.closed() == Close(1006, "the close was not answered in time", False)


def test_a_silent_peer_is_pinged_and_given_up() -> None:
    application = Closes()
    timeouts = Timeouts(ping_interval=0.05, pong=0.05)
    with (
        running(application, timeouts=timeouts) as server,
        Wire(server.address) as silent,
        Wire(server.address) as alive,
    ):
        application.socket()
        for _ in range(4):
            assert alive.next() == Ping(b"")
        assert application.closed() == Close(1006, "no answer to a ping", False)
        assert silent.next() == Ping(b"")
        alive.send("still here")
        assert alive.message() == "still here"


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


def count_turns(server: Running) -> Callable[[], int]:
    """How often the loop has turned since; to be asked for after the loop was busy."""
    count = itertools.count()
    original = server.server._wait
    turns = 0

    def counting(due: float) -> Any:
        nonlocal turns
        turns = next(count)
        return original(due)

    server.call(lambda: setattr(server.server, "_wait", counting))
    return lambda: turns


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


def test_timers_of_connections_that_are_gone_are_let_go() -> None:
    with running() as server:
        for _ in range(3):
            with Wire(server.address) as wire:
                wire.send("x")
                wire.message()
        assert_gone(server, 0)
        peer = server.call(lambda: server.server._timers._heap[0][2])

        def crowd() -> None:
            server.server._timers._heap.extend((1e12, -number, peer) for number in range(5000))

        server.call(crowd)
        server.turn()
        server.turn()
        assert server.call(lambda: len(server.server._timers)) == 0
        assert_serves(server)


def test_outdated_timers_of_a_connection_that_lives_are_let_go() -> None:
    with running() as server, Wire(server.address) as wire:
        wire.send("x")
        wire.message()
        peer = server.call(lambda: next(iter(server.server._transports)))
        due = peer.scheduled

        def crowd() -> None:
            server.server._timers._heap.extend((1e12, -number, peer) for number in range(5000))

        server.call(crowd)
        server.turn()
        server.turn()
        assert server.call(lambda: [entry[0] for entry in server.server._timers._heap]) == [due]


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


# -- accepting --------------------------------------------------------------------------------


class FlakyListener(socket.socket):
    """Fails to accept while `failing` is set."""

    failing: int | None = None
    accepts = 0

    def accept(self) -> tuple[socket.socket, Any]:
        type(self).accepts += 1
        if self.failing:
            raise OSError(self.failing, os.strerror(self.failing))
        return super().accept()


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM])
def test_out_of_descriptors_is_no_busy_loop_and_accepting_resumes(
    number: int, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(selector, "_ACCEPT_PAUSE", 0.02)
    monkeypatch.setattr(FlakyListener, "accepts", 0)
    sock = listener(kind=FlakyListener)
    with running(sock=sock) as server, Wire(server.address) as wire:
        turns = count_turns(server)
        sock.failing = number
        before = FlakyListener.accepts
        with dial(server.address) as waiting:
            until(lambda: FlakyListener.accepts >= before + 4)
            assert turns() <= 20
            wire.send("unharmed")
            assert wire.message() == "unharmed"
            sock.failing = None
            waiting.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            assert status(read_all(waiting)) == 426
    assert "cannot accept connections" in caplog.text


def test_a_descriptor_that_becomes_free_resumes_accepting_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(selector, "_ACCEPT_PAUSE", 3600.0)
    sock = listener(kind=FlakyListener)
    with running(sock=sock) as server:
        wire = Wire(server.address)
        accepts = FlakyListener.accepts
        sock.failing = errno.EMFILE
        with dial(server.address) as waiting:
            until(lambda: FlakyListener.accepts > accepts)
            sock.failing = None
            wire.close()
            waiting.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            assert status(read_all(waiting)) == 426


def test_stopping_while_accepting_is_suspended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(selector, "_ACCEPT_PAUSE", 3600.0)
    sock = listener(kind=FlakyListener)
    with running(sock=sock) as server:
        wire = Wire(server.address)
        accepts = FlakyListener.accepts
        sock.failing = errno.EMFILE
        with dial(server.address):
            until(lambda: FlakyListener.accepts > accepts)
            server.server.stop()
            assert wire.closed().code == 1001
            wire.close()
            server.join()


@pytest.mark.parametrize("number", [errno.ECONNABORTED, errno.EPROTO])
def test_a_connection_that_fails_before_it_is_accepted_harms_nobody(number: int) -> None:
    class Once(socket.socket):
        failed = False

        def accept(self) -> tuple[socket.socket, Any]:
            if not type(self).failed:
                type(self).failed = True
                raise OSError(number, os.strerror(number))
            return super().accept()

    with running(sock=listener(kind=Once)) as server:
        assert_serves(server)
        assert Once.failed


def test_a_socket_that_refuses_its_options_is_served() -> None:
    """macOS says so of a peer that has gone already."""

    class Stubborn(socket.socket):
        def setsockopt(self, *arguments: Any) -> None:
            raise OSError(errno.EINVAL, "Invalid argument")

    class Listener(socket.socket):
        def accept(self) -> tuple[socket.socket, Any]:
            sock, address = super().accept()
            return Stubborn(fileno=sock.detach()), address

    with running(sock=listener(kind=Listener)) as server:
        assert_serves(server)


def test_connections_beyond_the_maximum_are_told_503() -> None:
    with running(max_connections=2) as server:
        wires = [Wire(server.address), Wire(server.address)]
        with dial(server.address) as third:
            response = read_all(third)
        assert status(response) == 503
        wires[0].send("unharmed")
        assert wires[0].message() == "unharmed"
        wires.pop().close()
        assert_gone(server, 1)
        assert_serves(server)
        wires.pop().close()


def test_connections_far_beyond_the_maximum_are_dropped() -> None:
    with running(max_connections=1) as server, Wire(server.address) as wire:
        refused = [dial(server.address) for _ in range(40)]
        answers = []
        for sock in refused:
            try:
                answers.append(sock.recv(12))
            except ConnectionResetError:
                answers.append(b"")
        assert answers.count(b"HTTP/1.1 503") == 32
        assert answers.count(b"") == 8
        wire.send("unharmed")
        assert wire.message() == "unharmed"
        for sock in refused:
            sock.close()


# -- stopping ---------------------------------------------------------------------------------


def test_stop_drains_with_1001_and_ends_the_iteration() -> None:
    application = Closes()
    server = Running(application)
    wire, late = Wire(server.address), dial(server.address)
    server.turn()
    server.server.stop()
    assert wire.next() == Close(1001, "the server is stopping", True)
    wire.wait_for_end()
    wire.close()
    assert status(read_all(late)) == 503
    late.close()
    server.join()
    assert server.error is None
    assert application.closed() == Close(1001, "", True)
    with pytest.raises(ConnectionRefusedError):
        dial(server.address)


def test_stop_flushes_what_waits() -> None:
    members: queue.Queue[WebSocket] = queue.Queue()
    with (
        running(lambda request: members.put(request.accept()), sock=listener(8192)) as server,
        Wire(server.address, receive_buffer=8192) as wire,
    ):
        ws = members.get(timeout=PATIENCE)
        server.call(lambda: ws.send(bytes(500_000)))
        server.server.stop()
        assert wire.message() == bytes(500_000)
        assert wire.closed().code == 1001


def test_stop_answers_pending_requests_with_503() -> None:
    requests: queue.Queue[HTTPRequest] = queue.Queue()
    with running(requests.put) as server, dial(server.address) as sock:
        sock.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        requests.get(timeout=PATIENCE)
        server.server.stop()
        assert status(read_all(sock)) == 503


def test_requests_that_were_read_and_not_yielded_get_503_too() -> None:
    """The first request's body stops the server while the second one is waiting."""
    seen: list[HTTPRequest] = []
    servers: queue.Queue[Server] = queue.Queue()

    def handle(request: HTTPRequest) -> None:
        seen.append(request)
        servers.get(timeout=PATIENCE).stop()

    with running(handle) as server:
        servers.put(server.server)
        with held(server):
            socks = [dial(server.address) for _ in range(2)]
            for sock in socks:
                sock.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        assert [status(read_all(sock)) for sock in socks] == [503, 503]
        for sock in socks:
            sock.close()
    assert len(seen) == 1


def test_a_request_that_comes_in_the_turn_of_the_stop_is_answered() -> None:
    seen: list[HTTPRequest] = []
    with running(seen.append) as server, Wire(server.address, upgrade=False) as wire:
        request = wire.connection.data_to_send()

        def stop() -> None:  # is noticed later in this turn, and so is the request
            wire.sock.sendall(request)
            server.server.stop()

        until(lambda: bool(server.server._transports))
        server.call(stop)
        assert status(read_all(wire.sock)) == 503
    assert seen == []


def test_who_does_not_close_in_the_drain_time_is_cut_off() -> None:
    application = Closes()
    server = Running(application, drain=0.05)
    with Wire(server.address) as wire:
        server.server.stop()
        server.join()
        assert application.closed() == Close(1006, "the connection ended", False)
        assert wire.next() == Close(1001, "the server is stopping", True)


def test_a_second_stop_cuts_off_at_once() -> None:
    application = Closes()
    server = Running(application)
    with Wire(server.address) as wire:
        server.server.stop()
        assert wire.next() == Close(1001, "the server is stopping", True)
        wire.connection.data_to_send()  # not sent
        server.server.stop()
        server.thread.join(SOON)
        assert not server.thread.is_alive()
        assert application.closed().code in (1001, 1006)


def test_two_stops_that_come_together_do_not_wait_for_anything() -> None:
    """Both are noticed with one waking, after which nothing else would wake the loop."""

    def stop_twice(ws: WebSocket, message: str | bytes) -> None:
        server.server.stop()
        server.server.stop()

    server = Running(lambda request: request.accept(stop_twice))
    with Wire(server.address) as wire:
        with held(server):
            wire.send("stop")
            server.server.call_soon(int)
        server.thread.join(SOON)
        assert not server.thread.is_alive()


def test_a_timer_of_a_connection_that_is_gone_does_nothing() -> None:
    with running(timeouts=Timeouts(handshake=0.05)) as server:
        dial(server.address).close()
        assert_gone(server, 0)
        until(lambda: server.call(lambda: not server.server._timers))
        assert_serves(server)


def test_many_connections_at_once_are_all_accepted() -> None:
    with running(lambda request: request.respond(200)) as server:
        with held(server):
            socks = [dial(server.address) for _ in range(100)]
            for sock in socks:
                sock.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        assert [status(read_all(sock)) for sock in socks] == [200] * 100
        for sock in socks:
            sock.close()


def test_stop_without_connections_ends_at_once() -> None:
    server = Running(accept_echo)
    server.server.stop()
    server.thread.join(SOON)
    assert not server.thread.is_alive()


def test_an_unlimited_drain_is_possible() -> None:
    server = Running(accept_echo, drain=float("inf"))
    with Wire(server.address) as wire:
        server.server.stop()
        assert wire.closed().code == 1001
    server.join()


def test_stop_from_a_handler_and_from_the_body() -> None:
    server = Running(lambda request: request.accept(lambda ws, message: server.server.stop()))
    with Wire(server.address) as wire:
        wire.send("stop")
        assert wire.closed().code == 1001
    server.join()

    def answer_and_stop(request: HTTPRequest) -> None:
        request.respond(200)
        other.server.stop()

    other = Running(answer_and_stop)
    assert status(get(other.address)) == 200
    other.join()


def test_close_in_a_handler_neither_reenters_it_nor_breaks_the_loop() -> None:
    depth = 0
    messages: list[str] = []
    closes: queue.Queue[Close] = queue.Queue()

    def close_all(ws: WebSocket, message: str) -> None:
        nonlocal depth
        depth += 1
        assert depth == 1
        messages.append(message)
        server.server.close()
        depth -= 1

    def closed(ws: WebSocket, close: Close) -> None:
        assert depth == 0
        closes.put(close)

    server = Running(lambda request: request.accept(close_all, closed))
    wires = [Wire(server.address), Wire(server.address)]
    wires[0].send("a", "b", "c")
    server.thread.join(SOON)
    assert not server.thread.is_alive()
    assert server.error is None
    assert [closes.get(timeout=PATIENCE).code for _ in wires] == [1006, 1006]
    assert messages[0] == "a"
    for wire in wires:
        wire.close()


# -- the end of the loop ----------------------------------------------------------------------


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
        before = len(os.listdir("/dev/fd"))
        for _ in range(3):
            with running() as server:
                wire, sock = Wire(server.address), dial(server.address)
                wire.send("x")
                wire.message()
                wire.reset()
                sock.close()
        del server, wire, sock
        gc.collect()
        assert len(os.listdir("/dev/fd")) == before
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


# -- signals ----------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_drains_and_the_handlers_are_restored(number: signal.Signals) -> None:
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    ours, theirs = socket.socketpair()
    theirs.setblocking(False)
    old = signal.set_wakeup_fd(theirs.fileno(), warn_on_full_buffer=False)
    seen: queue.Queue[Close] = queue.Queue()

    def connect(address: tuple[str, int]) -> None:
        with Wire(address) as wire:
            os.kill(os.getpid(), number)
            seen.put(wire.closed())

    try:
        with serve("127.0.0.1", 0) as server:
            client = threading.Thread(target=connect, args=(server.address,))
            client.start()
            for request in server:
                assert signal.getsignal(number) not in before
                request.accept(echo)
        client.join()
        assert seen.get(timeout=PATIENCE).code == 1001
        assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before
        assert signal.set_wakeup_fd(old) == theirs.fileno()
    finally:
        signal.set_wakeup_fd(old)
        ours.close()
        theirs.close()


def test_a_second_signal_cuts_off() -> None:
    def connect(address: tuple[str, int]) -> None:
        with Wire(address) as wire:
            os.kill(os.getpid(), signal.SIGTERM)
            assert wire.next() == Close(1001, "the server is stopping", True)
            os.kill(os.getpid(), signal.SIGTERM)
            with contextlib.suppress(ConnectionResetError):
                read_all(wire.sock)

    closes: list[Close] = []
    start = time.monotonic()
    with serve("127.0.0.1", 0, timeouts=Timeouts(close=3600.0), drain=3600.0) as server:
        client = threading.Thread(target=connect, args=(server.address,))
        client.start()
        for request in server:
            request.accept(echo, lambda ws, close: closes.append(close))
    client.join()
    assert len(closes) == 1
    assert time.monotonic() - start < SOON


def test_signals_are_not_touched_in_another_thread() -> None:
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    with running() as server:
        assert_serves(server)
        assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before


# -- arguments --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options",
    [
        {"port": -1},
        {"port": 65536},
        {"max_connections": 0},
        {"drain": -0.1},
        {"drain": float("nan")},
        {"watchdog": 0},
        {"watchdog": float("inf")},
    ],
)
def test_arguments_out_of_range(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(options))):
        serve("127.0.0.1", **{"port": 0, **options})


def test_origins_are_a_collection() -> None:
    with pytest.raises(TypeError, match="origins"):
        serve("127.0.0.1", 0, origins="https://example.com")


def test_a_socket_that_does_not_listen_is_refused() -> None:
    with socket.socket() as sock, pytest.raises(ValueError, match="listening"):
        serve(sock=sock)


@pytest.mark.skipif(not hasattr(socket, "AF_UNIX"), reason="the platform has no Unix sockets")
def test_a_unix_socket(tmp_path: Any) -> None:
    sock = socket.socket(socket.AF_UNIX)
    path = str(tmp_path / "s")
    sock.bind(path)
    sock.listen()
    with running(lambda request: request.respond(200), sock=sock):
        client = socket.socket(socket.AF_UNIX)
        client.settimeout(PATIENCE)
        client.connect(path)
        client.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        assert status(read_all(client)) == 200
        client.close()


def test_pings_are_answered() -> None:
    with running() as server, Wire(server.address) as wire:
        wire.send(Ping(b"now"))
        assert wire.next() == Pong(b"now")


# -- found in review --------------------------------------------------------------------------


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


def test_calls_of_other_threads_have_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sono_server.serving.base._MAX_POSTED", 3)
    with serve("127.0.0.1", 0) as server:
        for _ in range(3):
            assert server.call_soon(print)
        with pytest.raises(BufferError, match="wait for the server"):
            server.call_soon(print)


@pytest.fixture
def keyboard_interrupt() -> Iterator[None]:
    """SIGINT raises KeyboardInterrupt, also where a shell started the tests in the background.

    Such a shell lets them ignore it.
    """
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("keyboard_interrupt")
def test_after_a_second_signal_a_third_does_what_it_did_before() -> None:
    """A loop that was left by break must not hold the process."""
    before = signal.getsignal(signal.SIGINT)
    with serve("127.0.0.1", 0) as server, dial(server.address[:2]) as client:
        client.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        next(server)
        os.kill(os.getpid(), signal.SIGINT)
        assert signal.getsignal(signal.SIGINT) is not before
        os.kill(os.getpid(), signal.SIGINT)
        assert signal.getsignal(signal.SIGINT) is before
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)


# -- leaving one after the other ------------------------------------------------------------------


@pytest.mark.usefixtures("each_server")
def test_closes_are_spread_over_the_first_half_of_the_drain_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("sono_server.serving.base._GOODBYES", 2)
    monkeypatch.setattr("sono_server.serving.base._GOODBYE_PAUSE", 60.0)
    with running(lambda request: request.accept(), drain=2.0, close_code=1012) as server:
        wires = [Wire(server.address) for _ in range(6)]
        begun = time.monotonic()
        server.server.stop()
        closed = []
        for wire in wires:
            threading.Thread(
                target=lambda wire=wire: closed.append((closes(wire), time.monotonic()))
            ).start()
        until(lambda: len(closed) == 6)
        assert [code for code, _ in closed] == [1012] * 6
        passed = sorted(at - begun for _, at in closed)
        assert passed[1] < 0.5  # two at once
        assert 0.3 < passed[-1] < 1.9
        assert passed[-1] - passed[2] > 0.2


def closes(wire: Wire) -> int:
    """Close as the server wants it; its code."""
    code = wire.closed().code
    wire.flush()
    wire.close()
    return code


@pytest.mark.parametrize("options", [{"close_code": 1000}, {"drain": -1}])
def test_options_that_are_out_of_range(options: Any) -> None:
    with pytest.raises(ValueError, match=next(iter(options))):
        serve(port=0, **options)
