"""The blocking client: against the real server, and against sockets that misbehave."""

from __future__ import annotations

import contextlib
import gc
import math
import os
import re
import select
import socket
import struct
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from sono_client import ConnectError, ConnectionClosed, SonoClient, WebSocket, connect
from sono_client.blocking import driver as turns_module
from sono_client.blocking import transport as link_module
from sono_client.blocking.poll import Poll
from sono_core import Limits, LocalProtocolError, Timeouts
from sono_core.websocket.upgrade import accept_key
from sono_server import Client, Sono, serve
from sono_server.selector.server import Server
from sono_server.serving.requests import HTTPRequest
from sono_server.serving.websocket import WebSocket as ServerSocket

WAIT = 10.0  # seconds for what is sure to come
SHORT = 0.05  # seconds for what is sure not to come
MIB = 1 << 20
QUICK = Timeouts(handshake=1.0, ping_interval=0.1, pong=0.1, close=0.2, write_stall=0.2)


def open_descriptors() -> int:
    return len(os.listdir("/dev/fd"))


@pytest.fixture(scope="module", autouse=True)
def quick_collection() -> Iterator[None]:
    """What is older than these tests need not be looked at after each of them."""
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.fixture(autouse=True)
def nothing_stays_open() -> Iterator[None]:
    """No test leaves a descriptor behind, nor a socket for the garbage collector to close."""
    before = open_descriptors()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield
        gc.collect()
    assert [str(w.message) for w in caught if w.category is ResourceWarning] == []
    assert open_descriptors() == before


# -- the real server ----------------------------------------------------------------------------

Handle = Callable[[HTTPRequest], object]


@contextlib.contextmanager
def serving(handle: Handle, **options: Any) -> Iterator[Server]:
    """A server in a thread, which gives each request to `handle`."""
    with serve(port=0, drain=1.0, **options) as server:

        def run() -> None:
            for request in server:
                handle(request)

        thread = threading.Thread(target=run)
        thread.start()
        try:
            yield server
        finally:
            server.stop()
            thread.join(WAIT)
            assert not thread.is_alive()


def url_of(server: Server, path: str = "/ws") -> str:
    return f"ws://localhost:{server.address[1]}{path}"


def echo(request: HTTPRequest) -> None:
    request.accept(on_message=lambda ws, message: ws.send(message))


def commanded(request: HTTPRequest) -> None:
    """Accepts, and does what each message says."""

    def obey(ws: ServerSocket, message: str | bytes) -> None:
        command, _, argument = str(message).partition(" ")
        if command == "close":
            code, _, reason = argument.partition(" ")
            ws.close(int(code), reason)
        elif command == "send":
            for number in range(int(argument)):
                ws.send(str(number))
        elif command == "say":
            ws.send(argument)

    request.accept(on_message=obey, subprotocol="x")


@pytest.fixture
def echo_url() -> Iterator[str]:
    with serving(echo) as server:
        yield url_of(server)


@pytest.fixture
def commanded_url() -> Iterator[str]:
    with serving(commanded) as server:
        yield url_of(server)


def test_messages_come_back_in_order_and_of_their_kind(echo_url: str) -> None:
    messages: list[str | bytes] = ["", "text ü 🎈", b"", b"\x00\xff", "x" * 5000]
    with connect(echo_url) as ws:
        for message in messages:
            ws.send(message)
        assert [ws.recv(WAIT) for _ in messages] == messages


def test_sending_to_a_silent_server_does_not_wait_for_it(commanded_url: str) -> None:
    with connect(commanded_url) as ws:
        start = time.monotonic()
        for _ in range(20):
            ws.send("nothing is answered to this")
        assert time.monotonic() - start < 5


def test_recv_times_out_and_the_connection_lives_on(commanded_url: str) -> None:
    with connect(commanded_url) as ws:
        for timeout in (SHORT, 0, -1):
            with pytest.raises(TimeoutError):
                ws.recv(timeout)
        ws.send("say hello")
        assert ws.recv(WAIT) == "hello"


def test_recv_without_time_takes_what_has_come(commanded_url: str) -> None:
    with connect(commanded_url) as ws:
        ws.send("send 3")
        assert ws.recv(WAIT) == "0"  # they came together
        assert [ws.recv(0), ws.recv(0)] == ["1", "2"]
        with pytest.raises(TimeoutError):
            ws.recv(0)


def test_a_wait_may_be_longer_than_poll_can_count(commanded_url: str) -> None:
    with connect(commanded_url, timeouts=Timeouts(ping_interval=1e12)) as ws:
        ws.send("say hello")
        assert ws.recv(1e12) == "hello"
        ws.send("say hello")
        assert ws.recv(math.inf) == "hello"


def test_a_ping_takes_its_time_and_messages_before_it_are_kept(commanded_url: str) -> None:
    with connect(commanded_url) as ws:
        ws.send("send 2")
        assert 0 < ws.ping(WAIT) < WAIT
        assert [ws.recv(0), ws.recv(0)] == ["0", "1"]


def test_a_ping_that_is_not_answered_times_out() -> None:
    with faulty(Accepted()) as server, connect(server.url, timeouts=QUICK) as ws:
        with pytest.raises(TimeoutError):
            ws.ping(SHORT)
        assert ws.closed is None


@pytest.mark.parametrize("code", [1000, 1001])
def test_iteration_ends_with_a_normal_close(commanded_url: str, code: int) -> None:
    with connect(commanded_url) as ws:
        ws.send("send 3")
        ws.send(f"close {code}")
        assert list(ws) == ["0", "1", "2"]
        assert ws.closed is not None
        assert (ws.closed.code, ws.closed.clean) == (code, True)


def test_iteration_ends_with_a_close_without_a_code() -> None:
    with faulty(Accepted(b"\x81\x01x\x88\x00")) as server, connect(server.url) as ws:
        assert list(ws) == ["x"]
        assert ws.closed is not None
        assert ws.closed.code == 1005


def test_iteration_raises_for_any_other_close(commanded_url: str) -> None:
    with connect(commanded_url) as ws:
        ws.send("send 1")
        ws.send("close 4321 because")
        seen = []
        with pytest.raises(ConnectionClosed, match="closed with 4321: because") as caught:
            for message in ws:
                seen.append(message)
    assert seen == ["0"]
    assert (caught.value.code, caught.value.reason) == (4321, "because")


def test_after_the_end_everything_says_how_it_ended(commanded_url: str) -> None:
    with connect(commanded_url) as ws:
        ws.send("close 4000 enough")
        calls: list[Callable[[], object]] = [
            lambda: ws.recv(WAIT),
            lambda: ws.recv(0),
            lambda: ws.send("x"),
            lambda: ws.ping(WAIT),
        ]
        for call in calls:
            with pytest.raises(ConnectionClosed, match="4000: enough"):
                call()
        ws.close()
        ws.close(3000, "again")


def test_a_close_carries_its_code_and_reason_to_the_server() -> None:
    closes: list[tuple[int, str, bool]] = []

    def handle(request: HTTPRequest) -> None:
        request.accept(on_close=lambda _, c: closes.append((c.code, c.reason, c.clean)))

    with serving(handle) as server:
        with connect(url_of(server)) as ws:
            ws.close(4001, "bye ü")
        with connect(url_of(server)):
            pass
    assert closes == [(4001, "bye ü", True), (1000, "", True)]
    assert ws.closed is not None
    assert (ws.closed.code, ws.closed.clean) == (4001, True)


def test_with_closes_when_its_body_raises(echo_url: str) -> None:
    with pytest.raises(RuntimeError), connect(echo_url) as ws:
        raise RuntimeError
    assert ws.closed is not None
    with pytest.raises(ConnectionClosed, match="1000"):
        ws.send("x")


def test_illegal_arguments_raise_and_leave_the_connection_usable(echo_url: str) -> None:
    wrong: Any = 7
    with connect(echo_url) as ws:
        with pytest.raises(TypeError):
            ws.send(wrong)
        with pytest.raises(LocalProtocolError, match="surrogate"):
            ws.send("\ud800")
        for code, reason in ((1005, "x"), (1006, ""), (999, ""), (5000, ""), (1000, "\ud800")):
            with pytest.raises(LocalProtocolError):
                ws.close(code, reason)
        with pytest.raises(TypeError):
            ws.close(1000, wrong)
        with pytest.raises(TypeError):
            ws.close("1000")  # type: ignore[arg-type]
        assert ws.closed is None
        ws.send("still here")
        assert ws.recv(WAIT) == "still here"


def test_the_handshake_carries_subprotocols_and_headers() -> None:
    seen: list[HTTPRequest] = []

    def handle(request: HTTPRequest) -> None:
        seen.append(request)
        request.accept(subprotocol=["y", "x"], headers={"x-server": "1"})

    with serving(handle) as server:
        url = url_of(server, "/a b?c=ü")
        with connect(url, subprotocols=["x", "y"], headers={"X-Token": "t"}) as ws:
            assert ws.subprotocol == "y"
            assert ws.response.headers["x-server"] == "1"
        with connect(url, headers=[("origin", f"http://localhost:{server.address[1]}")]) as ws:
            assert ws.subprotocol is None
    assert seen[0].target == "/a%20b?c=%C3%BC"
    assert seen[0].headers["x-token"] == "t"
    assert seen[0].subprotocols == ("x", "y")


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"subprotocols": ["a b"]}, LocalProtocolError),
        ({"subprotocols": ["a", "a"]}, LocalProtocolError),
        ({"subprotocols": "chat"}, TypeError),
        ({"headers": {"x": "a\r\nb"}}, LocalProtocolError),
        ({"headers": {"host": "h"}}, LocalProtocolError),
    ],
)
def test_illegal_options_raise_before_anything_is_connected(
    options: dict[str, Any], error: type[Exception]
) -> None:
    with pytest.raises(error):
        connect("ws://localhost:1/", **options)


def test_what_is_no_url_is_refused() -> None:
    with pytest.raises(ValueError, match="no WebSocket URL"):
        connect("http://localhost/")


def test_large_messages_pass_each_other() -> None:
    """Neither side stops reading because its own message is not through."""
    limits = Limits(max_message=8 * MIB, max_frame=8 * MIB)
    message = os.urandom(8 * MIB)
    with (
        serving(echo, limits=limits, deflate=None) as server,
        connect(url_of(server), limits=limits) as ws,
    ):
        for _ in range(3):
            ws.send(message)
        assert all(ws.recv(WAIT) == message for _ in range(3))


def test_a_message_may_be_larger_than_the_queue_of_default_limits() -> None:
    sizes: list[int] = []

    def handle(request: HTTPRequest) -> None:
        request.accept(on_message=lambda ws, message: ws.send(str(len(message))))

    limits = Limits(max_message=32 * MIB, max_frame=32 * MIB)
    with serving(handle, limits=limits) as server, connect(url_of(server), deflate=None) as ws:
        ws.send(bytes(20 * MIB))
        sizes.append(int(ws.recv(WAIT)))
    assert sizes == [20 * MIB]


def test_a_thousand_echoes_wait_while_the_application_only_sends(echo_url: str) -> None:
    with connect(echo_url) as ws:
        for number in range(1000):
            ws.send(f"{number} {'x' * 1000}")
        for number in range(1000):
            assert str(ws.recv(WAIT)).startswith(f"{number} ")


def test_what_waits_for_an_application_that_only_sends_is_bounded() -> None:
    def flood(server: Faulty, sock: socket.socket) -> None:
        sock.sendall(server.accept())
        while True:  # and never read
            sock.sendall((b"\x81\x7e\x03\xe8" + b"x" * 1000) * 100)

    taken: list[str | bytes] = []
    with faulty(flood) as server, connect(server.url, timeouts=QUICK, deflate=None) as ws:
        with pytest.raises(ConnectionClosed) as caught:
            while True:
                ws.send(bytes(MIB))
        assert caught.value.code in (1006, 4008)
        with pytest.raises(ConnectionClosed):
            while True:
                taken.append(ws.recv(0))
    assert len(taken) == 1024


def test_the_size_of_what_waits_is_bounded(
    commanded_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(link_module, "_MAX_UNREAD_SIZE", 10)
    with connect(commanded_url) as ws:
        ws.send("send 100")
        with pytest.raises(BufferError, match="wait for recv"):
            ws.ping(WAIT)
        assert [ws.recv(WAIT) for _ in range(100)] == [str(number) for number in range(100)]
        assert ws.ping(WAIT) > 0


def test_frames_that_follow_a_close_or_a_mistake_do_not_take_the_answers_with_them() -> None:
    """What was said before it is answered before it is looked at."""
    with faulty(Accepted(b"\x81\x01a\x81\x01b\xff\x00")) as server, connect(server.url) as ws:
        for expected in ("a", "b"):
            message = ws.recv(WAIT)
            assert message == expected
            ws.send(message * 3)
        with pytest.raises(ConnectionClosed, match="1002"):
            ws.recv(WAIT)
    frames = unmasked(server.received)
    assert frames[:2] == [b"\x81aaa", b"\x81bbb"]
    assert frames[2][:3] == b"\x88\x03\xea"


# -- servers that misbehave ---------------------------------------------------------------------


class Faulty:
    """A raw socket's side of one connection, in a thread: reads the request, then `script`."""

    def __init__(self, script: Script, listener: socket.socket | None = None) -> None:
        self._script = script
        self._listener = listener or socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]  # of no meaning for a Unix socket
        self.url = f"ws://127.0.0.1:{self.port}/ws"
        self.authority = self.url[5:-3]
        self.released = threading.Event()
        """Set when the client's part of the test is done."""
        self.request = b""
        self.received = b""
        """What came after the request."""
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        with self._listener:
            sock, _ = self._listener.accept()
        with sock, contextlib.suppress(ConnectionError):
            sock.settimeout(WAIT)
            while b"\r\n\r\n" not in self.request:
                if not (data := sock.recv(1)):
                    return
                self.request += data
            self._script(self, sock)
            if sock.fileno() >= 0:
                sock.shutdown(socket.SHUT_WR)
                while data := sock.recv(65536):
                    self.received += data

    def accept(self) -> bytes:
        """The right 101."""
        key = re.search(rb"Sec-WebSocket-Key: (\S+)", self.request, re.IGNORECASE)
        assert key
        return (
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Accept: {accept_key(key[1].decode())}\r\n\r\n"
        ).encode()

    def join(self) -> None:
        self.released.set()
        self._thread.join(WAIT)
        assert not self._thread.is_alive()


Script = Callable[[Faulty, socket.socket], object]


@contextlib.contextmanager
def faulty(script: Script) -> Iterator[Faulty]:
    server = Faulty(script)
    try:
        yield server
    finally:
        server.join()


class Accepted:
    """A script: the right 101 and these frames in one segment; then it only listens."""

    def __init__(self, frames: bytes = b"") -> None:
        self._frames = frames

    def __call__(self, server: Faulty, sock: socket.socket) -> None:
        sock.sendall(server.accept() + self._frames)
        while data := sock.recv(65536):
            server.received += data
            if any(frame[0] == 0x88 for frame in unmasked(server.received)):  # a Close
                break


def silent(server: Faulty, sock: socket.socket) -> None:
    """A script: neither reads nor writes."""
    server.released.wait(WAIT)


def unresponsive(server: Faulty, sock: socket.socket) -> None:
    """A script: the right 101, and then neither reads nor writes."""
    sock.sendall(server.accept())
    server.released.wait(WAIT)


def reset(sock: socket.socket) -> None:
    """Close with a RST."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


def unmasked(data: bytes) -> list[bytes]:
    """A client's short frames: first byte and payload."""
    frames = []
    while len(data) >= 6:
        size = data[1] & 0x7F
        key, payload = data[2:6], data[6 : 6 + size]
        plain = bytes(byte ^ key[index % 4] for index, byte in enumerate(payload))
        frames.append(data[:1] + plain)
        data = data[6 + size :]
    return frames


def refused_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


def test_nobody_listens() -> None:
    port = refused_port()
    with pytest.raises(ConnectError, match=rf"^127\.0\.0\.1:{port}: Connection refused$") as caught:
        connect(f"ws://127.0.0.1:{port}/")
    assert caught.value.status is None


def test_a_host_that_cannot_be_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*_: object, **__: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    with pytest.raises(ConnectError, match=r"^h\.invalid: Name or service not known$"):
        connect("ws://h.invalid/")


def test_a_connection_that_takes_too_long() -> None:
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        port = listener.getsockname()[1]
        for _ in range(2):  # the queue is full then, and nobody is answered
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(("127.0.0.1", port))
        start = time.monotonic()
        with pytest.raises(ConnectError, match=rf"^127\.0\.0\.1:{port}: connecting took too long$"):
            connect(f"ws://127.0.0.1:{port}/", timeout=0.2)
        assert 0.2 <= time.monotonic() - start < 3


def test_each_address_of_a_host_is_tried_and_has_its_share_of_the_time(
    echo_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    port = int(echo_url.rpartition(":")[2].partition("/")[0])
    dead = refused_port()
    found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", p)) for p in (dead, port)]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)
    with connect("ws://two.example/") as ws:
        ws.send("x")
        assert ws.recv(WAIT) == "x"
    found.clear()
    with pytest.raises(ConnectError, match=r"^two\.example: the host has no address$"):
        connect("ws://two.example/")


def test_the_real_servers_refusal_has_its_status_and_reason() -> None:
    def handle(request: HTTPRequest) -> None:
        if request.path == "/empty":
            request.respond(404)
        else:
            request.respond(403, "not you\nand not today\n")

    with serving(handle) as server:
        where = f"localhost:{server.address[1]}"
        with pytest.raises(ConnectError) as caught:
            connect(url_of(server))
        assert str(caught.value) == f"{where}: refused with status 403: not you"
        assert caught.value.status == 403
        with pytest.raises(ConnectError) as caught:
            connect(url_of(server, "/empty"))
        assert str(caught.value) == f"{where}: refused with status 404"


def test_a_foreign_origin_is_refused_with_the_reason(echo_url: str) -> None:
    with pytest.raises(ConnectError, match="status 403: this origin is not allowed"):
        connect(echo_url, headers={"origin": "http://elsewhere.example"})


@pytest.mark.parametrize(
    ("body", "shown"),
    [
        (b"one\r\ntwo", "one"),
        (b"\n\n  first\n", "first"),
        (b"\xff\x1b[31mred\x00", "\ufffd[31mred"),
        (b"x" * 60_000, "x" * 200),
        (b"a\xe2\x80\xa8b", "a"),  # U+2028 ends a line too
    ],
)
def test_a_refusal_is_quoted_in_one_printable_line(body: bytes, shown: str) -> None:
    head = f"HTTP/1.1 500 Oops\r\nContent-Length: {len(body)}\r\n\r\n".encode()
    with (
        faulty(lambda _, sock: sock.sendall(head + body)) as server,
        pytest.raises(ConnectError) as caught,
    ):
        connect(server.url)
    assert str(caught.value) == f"{server.authority}: refused with status 500: {shown}"


WRONG_ACCEPT = (
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Accept: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (WRONG_ACCEPT, "Sec-WebSocket-Accept does not fit the key"),
        (b"HTTP/1.1 101 Switching Protocols\r\n\r\n", "Upgrade is not websocket"),
        (b"SSH-2.0-OpenSSH_9.2\r\n\r\n", "malformed response"),
        (b"SSH-2.0-OpenSSH_9.2\n", "CRLF"),
        (b"\x15\x03\x01\x00\x02\x02\x46", "head"),
        (b"HTTP/1.1 200 OK\r\nx: " + b"y" * 20_000, "too long"),
        (b"", "the connection ended before the response"),
        (b"HTTP/1.1 101 Swi", "the connection ended before the response"),
    ],
)
def test_what_is_no_answer_is_named_and_has_no_status(answer: bytes, reason: str) -> None:
    with (
        faulty(lambda _, sock: sock.sendall(answer)) as server,
        pytest.raises(ConnectError, match=reason) as caught,
    ):
        connect(server.url)
    text = str(caught.value)
    assert text.startswith(f"{server.authority}: ")
    assert text.isprintable()
    assert caught.value.status is None


def test_a_reset_during_the_handshake() -> None:
    with (
        faulty(lambda _, sock: reset(sock)) as server,
        pytest.raises(ConnectError, match=r"the connection (was lost|ended)"),
    ):
        connect(server.url)


def test_a_server_that_never_answers_meets_the_handshakes_deadline() -> None:
    with faulty(silent) as server:
        start = time.monotonic()
        with pytest.raises(ConnectError, match="the handshake took too long") as caught:
            connect(server.url, timeouts=QUICK)
        assert QUICK.handshake <= time.monotonic() - start < 3
        server.released.set()
    assert caught.value.status is None


@pytest.mark.parametrize("beginning", [b"HTTP/1.1 101 ", b"HTTP/1.1 500 Oops\r\n\r\n"])
def test_a_trickling_answer_does_not_move_the_handshakes_deadline(beginning: bytes) -> None:
    def trickle(server: Faulty, sock: socket.socket) -> None:
        sock.sendall(beginning)
        while not server.released.wait(0.01):
            sock.sendall(b"x")

    with faulty(trickle) as server:
        start = time.monotonic()
        with pytest.raises(ConnectError, match="the handshake took too long"):
            connect(server.url, timeouts=QUICK)
        assert time.monotonic() - start < 3


def test_interim_answers_do_not_move_the_handshakes_deadline() -> None:
    def flood(server: Faulty, sock: socket.socket) -> None:
        while not server.released.is_set():
            sock.sendall(b"HTTP/1.1 100 Continue\r\n\r\n" * 100)

    with faulty(flood) as server, pytest.raises(ConnectError, match="took too long"):
        connect(server.url, timeouts=QUICK)


def test_an_interrupted_handshake_leaves_no_socket(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    with faulty(silent) as server:
        monkeypatch.setattr(Poll, "wait", interrupt)
        with pytest.raises(KeyboardInterrupt):
            connect(server.url)
        server.released.set()


def test_frames_in_the_segment_of_the_101_are_not_lost() -> None:
    frames = b"\x81\x01a\x82\x01b\x89\x01p\x81\x01c\x88\x02\x03\xe8"
    with faulty(Accepted(frames)) as server, connect(server.url) as ws:
        assert list(ws) == ["a", b"b", "c"]
    assert unmasked(server.received) == [b"\x8ap", b"\x88\x03\xe8"]


@pytest.mark.parametrize(
    "end", [lambda sock: sock.shutdown(socket.SHUT_WR), reset, lambda sock: sock.close()]
)
def test_a_server_that_drops_the_connection_within_a_frame(
    end: Callable[[socket.socket], object],
) -> None:
    def script(server: Faulty, sock: socket.socket) -> None:
        sock.sendall(server.accept() + b"\x81\x05whole\x81\x05hal")
        sock.recv(1)  # the client has read it
        end(sock)

    with faulty(script) as server, connect(server.url) as ws:
        assert ws.recv(WAIT) == "whole"
        ws.send("")
        with pytest.raises(ConnectionClosed) as caught:
            ws.recv(WAIT)
        assert caught.value.code == 1006
        with pytest.raises(ConnectionClosed):
            ws.send("x")


def test_a_close_is_seen_although_the_server_was_gone_right_after_it() -> None:
    """The client is still writing when the connection is reset; the reason is not lost."""

    def script(server: Faulty, sock: socket.socket) -> None:
        sock.sendall(server.accept())
        sock.recv(1)
        sock.sendall(b"\x88\x05\x03\xf1big")
        sock.close()  # with much unread: a reset

    with faulty(script) as server, connect(server.url, deflate=None) as ws:
        with pytest.raises(ConnectionClosed) as caught:
            while True:
                ws.send(bytes(MIB))
        assert (caught.value.code, caught.value.reason) == (1009, "big")


def test_a_server_that_refuses_a_large_message_is_heard(echo_url: str) -> None:
    with connect(echo_url, deflate=None) as ws, pytest.raises(ConnectionClosed) as caught:
        ws.send(bytes(64 * MIB))  # the server drops the rest, perhaps faster than this writes it
        ws.recv(10)
    assert caught.value.code == 1009


def test_a_close_that_is_not_answered_ends_in_time() -> None:
    with faulty(unresponsive) as server:
        ws = connect(server.url, timeouts=QUICK)
        start = time.monotonic()
        ws.close()
        assert QUICK.close <= time.monotonic() - start < 3
        assert ws.closed is not None
        assert (ws.closed.code, ws.closed.clean) == (1006, False)
        server.released.set()


def test_a_close_in_a_flood_ends_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(turns_module, "_RECEIVE", 4096)

    def flood(server: Faulty, sock: socket.socket) -> None:
        sock.sendall(server.accept())
        while True:
            sock.sendall(b"\x81\x01x\x89\x00" * 1000)

    with faulty(flood) as server:
        ws = connect(server.url, timeouts=QUICK)
        start = time.monotonic()
        ws.close()
        assert time.monotonic() - start < 5


def test_an_answered_close_whose_stream_stays_open_ends_in_time() -> None:
    def script(server: Faulty, sock: socket.socket) -> None:
        Accepted()(server, sock)
        sock.sendall(b"\x88\x02\x03\xe8")
        server.released.wait(WAIT)

    with faulty(script) as server:
        ws = connect(server.url, timeouts=QUICK)
        ws.close()
        assert ws.closed is not None
        assert ws.closed.clean
        server.released.set()


def test_a_server_that_reads_nothing_is_given_up() -> None:
    with faulty(unresponsive) as server:
        with connect(server.url, timeouts=QUICK, deflate=None) as ws:
            with pytest.raises(ConnectionClosed) as caught:
                ws.send(bytes(64 * MIB))
            assert caught.value.code in (1006, 4008)
        server.released.set()


def test_a_silent_server_is_pinged_and_given_up() -> None:
    with faulty(unresponsive) as server:
        ws = connect(server.url, timeouts=QUICK)
        with pytest.raises(ConnectionClosed, match="no answer to a ping"):
            ws.recv()
        server.released.set()
    assert unmasked(server.received)[0] == b"\x89"


@pytest.mark.parametrize("frame", [b"\x89\x00", b"\x8a\x00", b"\x01\x01x\x80\x01y"])
def test_a_flood_does_not_hold_a_timeout_up(frame: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(turns_module, "_RECEIVE", 4096)

    def flood(server: Faulty, sock: socket.socket) -> None:
        sock.sendall(server.accept())
        sock.settimeout(0.01)
        while not server.released.is_set():
            with contextlib.suppress(TimeoutError):
                sock.sendall(frame * 500)
            with contextlib.suppress(TimeoutError):
                sock.recv(65536)

    with faulty(flood) as server:
        ws = connect(server.url, timeouts=Timeouts(close=0.2))
        for timeout in (0.1, 0):
            start = time.monotonic()
            with contextlib.suppress(TimeoutError, BufferError):
                ws.ping(timeout)
            assert time.monotonic() - start < 5
        server.released.set()
        ws.close()


def test_pongs_to_a_server_that_does_not_read_are_bounded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(turns_module, "_RECEIVE", 4096)

    def flood(server: Faulty, sock: socket.socket) -> None:
        sock.sendall(server.accept())
        ping = b"\x89\x7d" + bytes(125)
        while True:
            sock.sendall(ping * 1000)

    limits = Limits(pause_reading_at=10_000)
    with faulty(flood) as server:
        ws = connect(server.url, timeouts=QUICK, limits=limits)
        sizes = set()
        turn = ws._transport._poll_once

        def measured(now: float, deadline: float) -> None:
            sizes.add(ws._transport.layer.outbox.size)
            turn(now, deadline)

        ws._transport._poll_once = measured  # type: ignore[method-assign]
        with pytest.raises(ConnectionClosed):
            ws.recv()
        assert 0 < max(sizes) <= 10_000 + 131 + 8


def count_turns(ws: WebSocket) -> list[float]:
    """Counts the waits for the socket from now on, by their deadlines."""
    turn, turns = ws._transport._poll_once, []

    def counted(now: float, deadline: float) -> None:
        turns.append(deadline)
        turn(now, deadline)

    ws._transport._poll_once = counted  # type: ignore[method-assign]
    return turns


def test_waiting_takes_few_turns(echo_url: str) -> None:
    with connect(echo_url) as ws:
        ws.send("x")
        turns = count_turns(ws)
        ws.recv(WAIT)
        assert len(turns) <= 3
        turns.clear()
        with pytest.raises(TimeoutError):
            ws.recv(SHORT)
        assert len(turns) <= 4
        turns.clear()
        ws.close()
        assert len(turns) <= 8


def test_waiting_for_a_server_that_does_not_read_takes_few_turns() -> None:
    with faulty(unresponsive) as server:
        with connect(server.url, timeouts=QUICK, deflate=None) as ws:
            turns = count_turns(ws)
            with pytest.raises(ConnectionClosed):
                ws.send(bytes(16 * MIB))
            assert len(turns) <= 20
        server.released.set()


def test_waiting_for_the_streams_end_takes_few_turns() -> None:
    """The server has ended its half and no more is to be read: no reason to be awake."""

    def script(server: Faulty, sock: socket.socket) -> None:
        sock.sendall(server.accept() + b"\x81\x01x")
        sock.shutdown(socket.SHUT_WR)
        server.released.wait(WAIT)

    with faulty(script) as server, connect(server.url, timeouts=QUICK) as ws:
        turns = count_turns(ws)
        with pytest.raises(ConnectionClosed, match="1006"):
            list(ws)
        ws.close()
        assert len(turns) <= 10


def test_select_stands_in_where_there_is_no_poll(
    echo_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(select, "poll")
    with connect(echo_url) as ws:
        ws.send("x" * 10_000)
        assert ws.recv(WAIT) == "x" * 10_000
        with pytest.raises(TimeoutError):
            ws.recv(SHORT)


@pytest.mark.parametrize("error", [BlockingIOError, InterruptedError])
def test_a_socket_that_had_nothing_after_all_is_asked_again(
    echo_url: str, error: type[OSError], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Fickle:
        """A socket whose first read finds nothing."""

        def __init__(self, sock: socket.socket) -> None:
            self._sock = sock
            self.failed = False

        def recv(self, size: int) -> bytes:
            if not self.failed:
                self.failed = True
                raise error
            return self._sock.recv(size)

        def __getattr__(self, name: str) -> Any:
            return getattr(self._sock, name)

    with connect(echo_url) as ws:
        fickle = Fickle(ws._transport._sock)
        ws._transport._sock = fickle  # type: ignore[assignment]
        ws.send("x")
        assert ws.recv(WAIT) == "x"
        assert fickle.failed


def test_a_mistake_of_the_link_itself_is_not_hidden(echo_url: str) -> None:
    with connect(echo_url) as ws:
        ws._transport.on_message = None  # type: ignore[method-assign,assignment]
        ws.send("x")
        with pytest.raises(TypeError):
            ws.recv(WAIT)


# -- SonoClient ---------------------------------------------------------------------------------


class Room:
    """A Sono server with open channels and what its clients call back with."""

    def __init__(self) -> None:
        self.sono = Sono(open_channels=True)
        self.joined: list[Client] = []

    def handle(self, request: HTTPRequest) -> None:
        client = self.sono.connect(request)
        if client:
            self.joined.append(client)


@pytest.fixture
def room() -> Iterator[tuple[Room, str]]:
    room = Room()
    with serving(room.handle) as server:
        yield room, url_of(server)


def heard(sono: SonoClient, event: str = "message") -> list[Any]:
    """What comes as that event from now on."""
    payloads: list[Any] = []
    sono.on(event, payloads.append)
    return payloads


def test_clients_talk(room: tuple[Room, str]) -> None:
    _, url = room
    with SonoClient(url) as ada, SonoClient(url) as bob:
        (ada_id,), (bob_id,) = ada.grab("myid"), bob.grab("myid")
        at_ada, at_bob = heard(ada), heard(bob)
        private = heard(bob, "private")
        ada.message("to all")
        ada.broadcast(["to others"])
        ada.direct_message({"to": "bob"}, bob_id, "private")
        assert sorted(ada.grab("clients")) == sorted([ada_id, bob_id])
        assert bob.grab("mychannel") == ["Home"]
        assert at_ada == [{"message": "to all", "from": ada_id}]
        assert at_bob == [
            {"message": "to all", "from": ada_id},
            {"message": ["to others"], "from": ada_id},
        ]
        assert private == [{"message": {"to": "bob"}, "from": ada_id}]
        bob.change_channel("news")
        assert bob.grab("mychannel") == ["news"]
        assert bob.grab("mychannelclients") == [bob_id]
        ada.message("bob does not get this")
        assert ada.grab("channels") == ["Home", "news"]
        assert len(bob.grab("clients")) == 2
        assert len(at_bob) == 2


def test_callbacks_can_be_taken_back(room: tuple[Room, str]) -> None:
    _, url = room
    with SonoClient(url) as sono:
        first, second = heard(sono), heard(sono)
        sono.message(1)
        sono.grab("myid")
        sono.off("message", first.append)
        sono.message(2)
        sono.grab("myid")
        sono.off("message")
        sono.message(3)
        sono.grab("myid")
        assert [payload["message"] for payload in first] == [1]
        assert [payload["message"] for payload in second] == [1, 2]


def test_a_refused_packet_is_an_error_event(room: tuple[Room, str]) -> None:
    _, url = room
    with SonoClient(url) as sono:
        errors = heard(sono, "error")
        sono.direct_message("x", "nobody")
        assert sono.grab("weather") == ["invalid grab request"]
        assert [error["code"] for error in errors] == ["unknown-client"]


def test_mistakes_raise_and_leave_the_client_usable(room: tuple[Room, str]) -> None:
    _, url = room
    wrong: Any = 7
    with SonoClient(url) as sono:
        errors = heard(sono, "error")
        mistakes: list[tuple[type[Exception], Callable[[], object]]] = [
            (ValueError, lambda: sono.message("x", "grab")),
            (ValueError, lambda: sono.broadcast("x", "error")),
            (ValueError, lambda: sono.direct_message("x", "id", "")),
            (TypeError, lambda: sono.message(object())),
            (TypeError, lambda: sono.direct_message("x", wrong)),
            (TypeError, lambda: sono.change_channel(wrong)),
            (TypeError, lambda: sono.grab(wrong)),
            (TypeError, lambda: sono.on("x", wrong)),
            (LocalProtocolError, lambda: sono.message("\ud800")),
        ]
        for error, mistake in mistakes:
            with pytest.raises(error):
                mistake()
        assert len(sono.grab("myid")) == 1
        assert errors == []


def test_run_calls_back_until_its_time_is_over(room: tuple[Room, str]) -> None:
    _, url = room
    with SonoClient(url) as sono:
        payloads = heard(sono)
        sono.message("x")
        sono.run(0.2)
        assert len(payloads) == 1
        sono.run(0)
        start = time.monotonic()
        sono.run(SHORT)
        assert SHORT <= time.monotonic() - start < 3


@pytest.mark.parametrize("code", [1000, 1001])
def test_run_ends_with_a_normal_close(room: tuple[Room, str], code: int) -> None:
    server, url = room
    with SonoClient(url, reconnect=False) as sono:
        payloads = heard(sono)
        sono.grab("myid")
        server.joined[0].send("message", "last")
        server.joined[0].close(code)
        sono.run()
        sono.run()
        assert payloads == [{"message": "last"}]
        with pytest.raises(ConnectionClosed):
            sono.grab("myid")


def test_run_raises_for_any_other_close(room: tuple[Room, str]) -> None:
    server, url = room
    with SonoClient(url) as sono:
        sono.grab("myid")
        server.joined[0].close(4000, "out")
        with pytest.raises(ConnectionClosed, match="4000: out"):
            sono.run()


def test_a_callback_may_ask_and_may_close(room: tuple[Room, str]) -> None:
    _, url = room
    with SonoClient(url) as sono:
        answers: list[list[str]] = []

        def ask(payload: Any) -> None:
            answers.append(sono.grab("mychannel"))
            sono.close()

        sono.on("message", ask)
        sono.message("x")
        sono.run(WAIT)
        assert answers == [["Home"]]


def test_an_answer_that_came_within_a_callback_counts(room: tuple[Room, str]) -> None:
    _, url = room
    with SonoClient(url) as sono:
        sono.on("message", lambda _: sono.grab("channels"))
        sono.message("x")
        assert sono.grab("channels", WAIT) == ["Home"]


@pytest.mark.parametrize("error", [TimeoutError(), ConnectionClosed(1000, "of another connection")])
def test_what_a_callback_raises_is_not_taken_for_runs_own(
    room: tuple[Room, str], error: Exception
) -> None:
    _, url = room
    with SonoClient(url) as sono:

        def fail(_: Any) -> None:
            raise error

        sono.on("message", fail)
        sono.message("x")
        with pytest.raises(type(error)):
            sono.run(WAIT)
        sono.off("message")
        sono.message("x")
        assert len(sono.grab("myid")) == 1


def test_a_question_that_is_not_answered_times_out() -> None:
    with faulty(Accepted()) as server, SonoClient(server.url, timeouts=QUICK) as sono:
        for timeout in (SHORT, 0):
            with pytest.raises(TimeoutError, match="'myid' was not answered"):
                sono.grab("myid", timeout)


def test_a_late_answer_goes_to_the_question_that_it_answers() -> None:
    def script(server: Faulty, sock: socket.socket) -> None:
        sock.sendall(server.accept())
        server.released.wait(WAIT)
        for name in (b"1", b"2"):
            text = b'{"protocol":"grab","payload":{"message":["%s"],"type":"myid"}}' % name
            sock.sendall(bytes((0x81, len(text))) + text)
        sock.recv(65536)

    with faulty(script) as server, SonoClient(server.url, timeouts=Timeouts(close=0.2)) as sono:
        with pytest.raises(TimeoutError):
            sono.grab("myid", SHORT)
        server.released.set()
        assert sono.grab("myid", WAIT) == ["2"]


def test_a_flood_of_events_does_not_hold_a_timeout_up() -> None:
    text = b'{"protocol":"x","payload":{}}'

    def flood(server: Faulty, sock: socket.socket) -> None:
        sock.sendall(server.accept())
        while True:
            sock.sendall((bytes((0x81, len(text))) + text) * 100)

    with faulty(flood) as server, SonoClient(server.url, timeouts=Timeouts(close=0.2)) as sono:
        payloads = heard(sono, "x")
        start = time.monotonic()
        sono.run(SHORT)
        sono.run(0)
        with pytest.raises(TimeoutError):
            sono.grab("myid", SHORT)
        assert time.monotonic() - start < 5
        assert payloads


def test_what_is_no_packet_is_ignored_while_waiting() -> None:
    frames = b"\x81\x04null\x82\x02{}\x81\x00\x88\x02\x03\xe8"
    with faulty(Accepted(frames)) as server, SonoClient(server.url) as sono:
        sono.run(WAIT)


def test_a_client_that_cannot_connect_raises() -> None:
    port = refused_port()
    with pytest.raises(ConnectError):
        SonoClient(f"ws://127.0.0.1:{port}/")


def test_the_options_of_connect_are_those_of_a_client(room: tuple[Room, str]) -> None:
    server, url = room
    with SonoClient(url, headers={"x-token": "t"}) as sono:
        sono.grab("myid")
        assert server.joined[0].request.headers["x-token"] == "t"
        assert sono.socket.closed is None
