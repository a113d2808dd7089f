"""How connections end: reset, silent, half closed, or against the rules."""

from __future__ import annotations

import queue
import select
import threading

from sono_core import Close, Ping, TextMessage, Timeouts
from sono_server import HTTPRequest, WebSocket
from tests.server.selector_helpers import Closes, assert_gone, until
from tests.servers import PATIENCE, Wire, running


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
    """The server notices the failed write before it reads the peer's bytes."""
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

        def send_in_vain() -> None:  # written before anything more is read
            inside.set()
            assert gone.wait(PATIENCE)
            ws.send("into the void")

        server.server.call_soon(send_in_vain)
        assert inside.wait(PATIENCE)
        wire.send("my last words", Close(1001, "gone"))
        wire.close()  # "unread" is unread: this resets the connection
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
