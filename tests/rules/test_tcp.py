"""TCP under hostile peers and full buffers. Each test's name is the rule."""

from __future__ import annotations

import errno
import os
import queue
import socket
import threading
from collections import deque
from typing import Any

import pytest

from sono_core import Accept, BinaryMessage, Close, Role, TextMessage, Timeouts
from sono_server import WebSocket
from tests.fakes import Rig
from tests.servers import (
    PATIENCE,
    Running,
    Wire,
    dial,
    echo,
    listener,
    read_all,
    running,
    status,
)


class FaultySocket(socket.socket):
    """A socket whose next calls fail as a test wants, by name of the call.

    A positive number is an errno; a negative one limits how many bytes a write takes.
    """

    faults: dict[str, deque[int]]

    def _fault(self, call: str) -> int:
        faults = self.faults.get(call)
        number = faults.popleft() if faults else 0
        if number > 0:
            raise OSError(number, os.strerror(number))  # becomes the right subclass
        return -number

    def send(self, data: Any, flags: int = 0) -> int:
        size = self._fault("send")
        return super().send(data[:size] if size else data, flags)

    def recv_into(self, *arguments: Any) -> int:
        self._fault("recv")
        return super().recv_into(*arguments)

    def shutdown(self, how: int) -> None:
        self._fault("shutdown")
        super().shutdown(how)


def faulty(faults: dict[str, deque[int]]) -> socket.socket:
    """A listening socket whose connections have those faults."""

    class Listener(socket.socket):
        def accept(self) -> tuple[socket.socket, Any]:
            sock, address = super().accept()
            accepted = FaultySocket(fileno=sock.detach())
            accepted.faults = faults
            return accepted, address

    sock: socket.socket = listener(kind=Listener)
    return sock


class Application:
    """An echo that records how its connections ended."""

    def __init__(self) -> None:
        self.closes: queue.Queue[Close] = queue.Queue()

    def __call__(self, request: Any) -> None:
        request.accept(echo, self.closed)

    def closed(self, ws: WebSocket, close: Close) -> None:
        self.closes.put(close)


def assert_forgotten(server: Running) -> None:
    """The server's own thread says that it holds no connection any more."""
    while server.call(lambda: len(server.server._transports)):
        pass


def test_partial_sends_go_on_where_they_stopped() -> None:
    faults = {"send": deque[int]()}
    with running(sock=faulty(faults)) as server, Wire(server.address) as wire:
        faults["send"].extend([-1, -2, -3, -100, -1] * 20)
        data = bytes(range(256)) * 64
        wire.send(data, "after", data)
        assert [wire.message() for _ in range(3)] == [data, "after", data]


@pytest.mark.parametrize("number", [errno.EAGAIN, errno.EWOULDBLOCK])
def test_eagain_on_send_waits_until_the_socket_takes_more(number: int) -> None:
    faults = {"send": deque[int]()}
    with running(sock=faulty(faults)) as server, Wire(server.address) as wire:
        faults["send"].extend([number, -5, number, number])
        wire.send("0123456789")
        assert wire.message() == "0123456789"


def test_eagain_on_receive_is_no_end() -> None:
    faults = {"recv": deque[int]()}
    with running(sock=faulty(faults)) as server, Wire(server.address) as wire:
        faults["recv"].extend([errno.EAGAIN, errno.EAGAIN])
        wire.send("x")
        assert wire.message() == "x"


@pytest.mark.parametrize("call", ["send", "recv"])
def test_eintr_is_tried_again(call: str) -> None:
    faults = {call: deque[int]()}
    with running(sock=faulty(faults)) as server, Wire(server.address) as wire:
        faults[call].extend([errno.EINTR, errno.EINTR])
        wire.send("x")
        assert wire.message() == "x"


@pytest.mark.parametrize("number", [errno.EPIPE, errno.ECONNRESET, errno.ETIMEDOUT])
@pytest.mark.parametrize("call", ["send", "recv"])
def test_epipe_and_econnreset_end_that_connection_alone(call: str, number: int) -> None:
    faults: dict[str, deque[int]] = {call: deque()}
    application = Application()
    with (
        running(application, sock=faulty(faults)) as server,
        Wire(server.address) as wire,
        Wire(server.address) as other,
    ):
        faults[call].append(number)
        wire.send("x")
        assert application.closes.get(timeout=PATIENCE).code == 1006
        other.send("unharmed")
        assert other.message() == "unharmed"
        assert application.closes.empty()
        other.close()
        assert_forgotten(server)


def test_a_send_that_fails_while_the_request_is_answered_ends_that_connection_alone() -> None:
    faults = {"send": deque[int]()}
    with running(sock=faulty(faults)) as server:
        faults["send"].append(errno.EPIPE)
        with dial(server.address) as sock:
            sock.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            assert read_all(sock) == b""
        assert_forgotten(server)


def test_a_send_that_fails_in_the_middle_of_a_fan_out_harms_nobody() -> None:
    """Not even the handler that is sending: it has returned when `on_close` is called."""
    faults = {"send": deque[int]()}
    members: list[WebSocket] = []
    depth: list[int] = []
    lost: queue.Queue[Close] = queue.Queue()

    def fan_out(ws: WebSocket, message: str | bytes) -> None:
        depth.append(1)
        for member in members:
            member.send(bytes(100_000))  # so much that it is written at once
        depth.pop()

    def closed(ws: WebSocket, close: Close) -> None:
        assert not depth
        lost.put(close)

    with running(
        lambda request: members.append(request.accept(fan_out, closed)), sock=faulty(faults)
    ) as server:
        wires = [Wire(server.address) for _ in range(3)]
        server.turn()
        faults["send"].append(errno.EPIPE)
        wires[2].send("go")
        assert lost.get(timeout=PATIENCE).code == 1006
        assert [wire.message() for wire in wires[1:]] == [bytes(100_000)] * 2
        for wire in wires:
            wire.close()


def test_a_shutdown_that_fails_is_no_failure() -> None:
    faults = {"shutdown": deque([errno.ENOTCONN])}
    application = Application()
    with (
        running(application, sock=faulty(faults)) as server,
        Wire(server.address) as wire,
    ):
        wire.send(Close(1000))
        assert wire.closed() == Close(1000, "", True)
        assert application.closes.get(timeout=PATIENCE) == Close(1000, "", True)


def test_the_server_closes_tcp_first() -> None:
    with running() as server, Wire(server.address) as wire:
        wire.send(Close(1000))
        assert wire.next() == Close(1000, "", True)
        wire.wait_for_end()  # although the client has ended nothing itself


def test_the_client_waits_for_the_server_to_close_tcp() -> None:
    rig = Rig(Role.CLIENT)
    rig.session.close(1000, "", 0.0)
    rig.transport.write()
    rig.seen()
    rig.receives(rig.peer.data_to_send())
    assert [close.clean for close in rig.handler.closes] == [True]
    assert "close" not in rig.transport.asked
    rig.ends()
    assert rig.transport.asked[-1] == "abort"


def test_the_server_lingers_so_that_a_reset_does_not_destroy_the_close_frame() -> None:
    with running() as server, Wire(server.address) as wire:
        # An invalid frame, and megabytes after it that nobody reads.
        wire.sock.sendall(b"\xff" * 10)
        for _ in range(16):
            wire.sock.sendall(bytes(1 << 18))
        assert wire.closed().code == 1002


def test_the_server_lingers_after_a_refusal_too() -> None:
    refuse = running(lambda request: request.respond(413))
    with refuse as server, dial(server.address) as sock:
        sock.sendall(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 8388608\r\n\r\n")
        for _ in range(32):
            sock.sendall(bytes(1 << 18))
        assert status(read_all(sock)) == 413


@pytest.mark.parametrize("sent", [b"", b"GET / HTTP/1.1\r\n"])
def test_the_server_times_a_handshake_out(sent: bytes) -> None:
    with running(timeouts=Timeouts(handshake=0.05)) as server, dial(server.address) as sock:
        sock.sendall(sent)
        assert status(read_all(sock)) == 408


def test_a_byte_now_and_then_does_not_extend_the_handshake() -> None:
    with running(timeouts=Timeouts(handshake=0.1)) as server, dial(server.address) as sock:
        over = threading.Event()

        def dribble() -> None:
            try:
                for byte in b"GET / HTTP/1.1\r\nX: " + b"x" * 8000:
                    if over.wait(0.01):
                        return
                    sock.send(bytes([byte]))
            except OSError:
                pass

        thread = threading.Thread(target=dribble)
        thread.start()
        response = read_all(sock)
        over.set()
        thread.join()
        assert status(response) == 408


def test_the_server_times_a_close_out() -> None:
    application = Application()
    server = Running(application, timeouts=Timeouts(close=0.05))
    with Wire(server.address) as wire:
        server.server.stop()
        assert application.closes.get(timeout=PATIENCE).code == 1006
        server.join()
        assert wire.closed().code == 1001


@pytest.mark.parametrize("role", list(Role))
@pytest.mark.parametrize(
    ("wait", "code"),
    [("pong", 1006), ("close", 1006), ("stall", 4008)],
)
def test_time_outs_on_both_sides(role: Role, wait: str, code: int) -> None:
    rig = Rig(role)
    if wait == "pong":
        rig.tick(20.0)
    elif wait == "close":
        rig.session.close(1000, "", 0.0)
    else:
        rig.blocks()
        rig.session.send(TextMessage("x"))
    rig.transport.write()
    if wait == "stall":
        rig.tick(19.0)
        rig.sends(BinaryMessage(b"I only talk"))
    rig.tick(40.0 if wait == "pong" else 20.0)
    assert [close.code for close in rig.handler.closes] == [code]
    assert rig.session.over


def test_the_client_times_a_handshake_out() -> None:
    rig = Rig(Role.CLIENT, opened=False)
    rig.tick(5.0)
    assert rig.session.over
    assert rig.handler.log
    assert not isinstance(rig.handler.log[0], Accept)
