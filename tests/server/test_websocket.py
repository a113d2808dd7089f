"""Plain WebSockets of the server, over real sockets."""

from __future__ import annotations

import logging
import queue
import socket
import threading
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from sono_core import (
    Accept,
    BinaryMessage,
    Close,
    Headers,
    LocalProtocolError,
    Ping,
    Pong,
    Prepared,
    Reject,
    TextMessage,
)
from sono_core.websocket.prepared import message_event
from sono_server import HTTPRequest, WebSocket
from sono_server.serving.requests import RequestHandler
from sono_server.serving.websocket import WebSocketHandler
from tests.servers import PATIENCE, Running, Wire, accept_echo, echo, running

pytestmark = pytest.mark.usefixtures("each_server")


class Application:
    """Accepts everything, and records its calls."""

    def __init__(self) -> None:
        self.sockets: queue.Queue[WebSocket] = queue.Queue()
        self.messages: queue.Queue[Any] = queue.Queue()
        self.closes: queue.Queue[Close] = queue.Queue()

    def __call__(self, request: HTTPRequest) -> None:
        self.sockets.put(
            request.accept(
                lambda ws, message: self.messages.put(message),
                lambda ws, close: self.closes.put(close),
            )
        )

    def socket(self) -> WebSocket:
        return self.sockets.get(timeout=PATIENCE)

    def closed(self) -> Close:
        return self.closes.get(timeout=PATIENCE)


def test_echo() -> None:
    with running() as server, Wire(server.address) as wire:
        wire.send("grüß", b"\x00\xff", "")
        assert [wire.next() for _ in range(3)] == [
            TextMessage("grüß"),
            BinaryMessage(b"\x00\xff"),
            TextMessage(""),
        ]


def test_frames_in_the_segment_of_the_request_are_not_lost() -> None:
    with running() as server, Wire(server.address, upgrade=False) as wire:
        request = wire.connection.data_to_send()
        wire.sock.sendall(request + bytes.fromhex("818000000000 828000000000"))
        assert isinstance(wire.next(), Accept)
        assert [wire.message(), wire.message()] == ["", b""]


def test_a_client_that_ends_its_half_at_once_is_still_heard() -> None:
    application = Application()
    with running(application) as server, Wire(server.address, upgrade=False) as wire:
        request = wire.connection.data_to_send()
        wire.sock.sendall(request + bytes.fromhex("818000000000"))
        wire.sock.shutdown(socket.SHUT_WR)
        assert application.messages.get(timeout=PATIENCE) == ""
        assert application.closed().code == 1006


def test_a_client_that_ends_its_half_before_it_is_accepted_is_still_heard() -> None:
    application = Application()
    requests: queue.Queue[HTTPRequest] = queue.Queue()
    with running(requests.put) as server, Wire(server.address, upgrade=False) as wire:
        wire.sock.sendall(wire.connection.data_to_send() + bytes.fromhex("818000000000"))
        request = requests.get(timeout=PATIENCE)
        wire.sock.shutdown(socket.SHUT_WR)
        while not server.call(lambda: request._session._peer_ended):
            pass
        server.call(lambda: application(request))
        assert application.messages.get(timeout=PATIENCE) == ""
        assert application.closed() == Close(1006, "the connection ended", False)


def test_the_request_and_own_data_stay_at_the_socket() -> None:
    application = Application()
    with running(application) as server, Wire(server.address, "/room?x=1") as wire:
        ws = application.socket()
        assert ws.request.path == "/room"
        assert ws.data is None
        ws.data = {"own": "state"}
        assert ws.open
        assert repr(ws) == "<WebSocket /room open>"
        wire.send(Close())
        application.closed()
        assert not ws.open
        assert ws.data == {"own": "state"}


def test_messages_without_a_handler_are_dropped() -> None:
    with running(lambda request: request.accept()) as server, Wire(server.address) as wire:
        wire.send("nobody waits for this", Ping(b"but"))
        assert wire.next() == Pong(b"but")
        wire.send(Close(1000))
        assert wire.next() == Close(1000, "", True)


@pytest.mark.parametrize(
    ("offered", "known", "agreed"),
    [
        (("a", "b"), "b", "b"),
        (("a", "b"), ["c", "b", "a"], "b"),
        (("a",), ["c"], None),
        ((), "a", None),
        (("a",), None, None),
    ],
)
def test_the_servers_first_subprotocol_that_was_offered_is_agreed_on(
    offered: tuple[str, ...], known: str | list[str] | None, agreed: str | None
) -> None:
    found: queue.Queue[str | None] = queue.Queue()

    def handle(request: HTTPRequest) -> None:
        found.put(request.accept(echo, subprotocol=known).subprotocol)

    with running(handle) as server, Wire(server.address, subprotocols=offered) as wire:
        assert isinstance(wire.answer, Accept)
        assert wire.answer.subprotocol == agreed
        assert found.get(timeout=PATIENCE) == agreed


def test_own_headers_go_with_the_101() -> None:
    def handle(request: HTTPRequest) -> None:
        request.accept(headers={"Set-Cookie": "a=b"})

    with running(handle) as server, Wire(server.address) as wire:
        assert isinstance(wire.answer, Accept)
        assert wire.answer.headers["set-cookie"] == "a=b"


@pytest.mark.parametrize(
    ("origin", "allowed", "opens"),
    [
        ("http://{host}", (), True),
        ("http://{host}.evil", (), False),
        ("null", (), False),
        ("https://app.example", (), False),
        ("https://app.example", ("https://app.example",), True),
        ("https://app.example:444", ("https://app.example",), False),
        ("https://anything", ("*",), True),
        (None, (), True),
    ],
)
def test_origins(origin: str | None, allowed: tuple[str, ...], opens: bool) -> None:
    with running(origins=allowed) as server:
        host = f"127.0.0.1:{server.address[1]}"
        headers = Headers([("origin", origin.format(host=host))] if origin else [])
        with Wire(server.address, headers=headers) as wire:
            if opens:
                assert isinstance(wire.answer, Accept)
            else:
                assert isinstance(wire.answer, Reject)
                assert wire.answer.status == 403


def test_the_peers_close_is_told_once() -> None:
    application = Application()
    with running(application) as server, Wire(server.address) as wire:
        wire.send(Close(4001, "done"))
        assert application.closed() == Close(4001, "done", True)
        assert wire.next() == Close(4001, "", True)
        wire.wait_for_end()
        server.turn()
        assert application.closes.empty()


def test_this_side_closes() -> None:
    application = Application()
    with running(application) as server, Wire(server.address) as wire:
        ws = application.socket()
        assert server.call(lambda: ws.close(4002, "enough"))
        assert wire.next() == Close(4002, "enough", True)
        assert application.closed() == Close(4002, "", True)
        assert server.call(lambda: [ws.close(), ws.send("x"), ws.ping()]) == [False] * 3


def test_closed_by_the_end_of_the_stream() -> None:
    application = Application()
    with running(application) as server:
        Wire(server.address).close()
        assert application.closed() == Close(1006, "the connection ended", False)


def test_a_handler_that_raises_ends_its_connection_alone(caplog: pytest.LogCaptureFixture) -> None:
    def bad(ws: WebSocket, message: str | bytes) -> None:
        raise ValueError("own fault")

    def handle(request: HTTPRequest) -> None:
        request.accept(bad if request.path == "/bad" else echo)

    with (
        running(handle) as server,
        Wire(server.address, "/bad") as wire,
        Wire(server.address) as other,
    ):
        wire.send("x")
        assert wire.next() == Close(1011, "internal error", True)
        other.send("fine")
        assert other.message() == "fine"
    (record,) = (record for record in caplog.records if record.levelno == logging.ERROR)
    assert "its connection is closed" in record.message
    assert record.exc_info
    assert "own fault" in str(record.exc_info[1])


def test_an_on_close_that_raises_harms_nobody(caplog: pytest.LogCaptureFixture) -> None:
    def bad(ws: WebSocket, close: Close) -> None:
        raise ValueError("own fault")

    with running(lambda request: request.accept(echo, bad)) as server:
        Wire(server.address).reset()
        with Wire(server.address) as other:
            other.send("fine")
            assert other.message() == "fine"
    assert "own fault" in caplog.text


# -- other threads ----------------------------------------------------------------------------


def test_other_threads_send_ping_and_close_in_order() -> None:
    application = Application()
    with running(application) as server, Wire(server.address) as wire:
        ws = application.socket()
        assert ws.send("text")
        assert ws.send(b"binary")
        assert ws.send(Prepared(TextMessage("prepared")))
        assert ws.ping(b"ping")
        assert ws.close(4003, "from outside")
        assert [wire.next() for _ in range(5)] == [
            TextMessage("text"),
            BinaryMessage(b"binary"),
            TextMessage("prepared"),
            Ping(b"ping"),
            Close(4003, "from outside", True),
        ]
        application.closed()
        assert not ws.send("too late")
        assert not ws.ping()
        assert not ws.close()


def test_what_many_threads_send_arrives_whole_and_in_each_ones_order() -> None:
    application = Application()
    with running(application) as server, Wire(server.address) as wire:
        ws = application.socket()

        def talk(name: str) -> None:
            for number in range(100):
                ws.send(f"{name} {number}")

        threads = [threading.Thread(target=talk, args=(name,)) for name in "abcd"]
        for thread in threads:
            thread.start()
        received = [str(wire.message()).split() for _ in range(400)]
        for thread in threads:
            thread.join()
        for name in "abcd":
            numbers = [int(number) for who, number in received if who == name]
            assert numbers == list(range(100))


def test_an_illegal_message_raises_in_the_thread_that_sends_it() -> None:
    application = Application()
    with running(application) as server, Wire(server.address) as wire:
        ws = application.socket()
        for bad, error in (("\ud800", LocalProtocolError), (1, TypeError), (None, TypeError)):
            with pytest.raises(error):
                ws.send(bad)  # type: ignore[arg-type]
            with pytest.raises(error):
                server_raises(server, partial(ws.send, bad))
        ws.send("fine")
        assert wire.message() == "fine"


def server_raises(server: Running, function: Callable[[], object]) -> None:
    """Raise here what the function raises in the server's thread."""

    def catch() -> Exception | None:
        try:
            function()
        except Exception as error:
            return error
        return None

    if error := server.call(catch):
        raise error


@pytest.mark.parametrize("in_loop", [True, False])
def test_illegal_arguments_raise_in_the_thread_that_calls(in_loop: bool) -> None:
    application = Application()
    with running(application) as server, Wire(server.address) as wire:
        ws = application.socket()
        for call, error in (
            (lambda: ws.ping(bytes(126)), LocalProtocolError),
            (lambda: ws.ping("text"), TypeError),  # type: ignore[arg-type]
            (lambda: ws.close(1006), LocalProtocolError),
            (lambda: ws.pause(-1), ValueError),
            (lambda: ws.pause(float("nan")), ValueError),
            (lambda: ws.close(1000, b"no"), TypeError),  # type: ignore[arg-type]
        ):
            with pytest.raises(error):
                server_raises(server, call) if in_loop else call()
        server.call(lambda: ws.send("fine"))
        assert wire.message() == "fine"


def test_what_a_message_becomes() -> None:
    assert message_event("a") == TextMessage("a")
    assert message_event(b"a") == BinaryMessage(b"a")
    for buffer in (bytearray(b"a"), memoryview(b"a")):
        event = message_event(buffer)  # type: ignore[arg-type]
        assert event == BinaryMessage(b"a")
        assert type(event.data) is bytes
    prepared = Prepared(TextMessage("a"))
    assert message_event(prepared) is prepared


def test_a_handlers_unused_half_does_nothing() -> None:
    """A server's session asks for no responses, and for no messages before it is open."""
    requests: queue.Queue[HTTPRequest] = queue.Queue()

    def handle(request: HTTPRequest) -> None:
        requests.put(request)
        accept_echo(request)

    with running(handle) as server, Wire(server.address) as wire:
        request = requests.get(timeout=PATIENCE)
        ws = WebSocket(request._session, request.loop, request.event)
        first = RequestHandler(request.loop, None, requests.put)
        second = WebSocketHandler(ws, None, None)
        for handler in (first, second):
            handler.on_response(Accept())
            handler.on_pong(b"")
            handler.on_close(Close())
            handler.on_message("x")
        second.on_request(request.event)
        wire.send("x")
        assert wire.message() == "x"
    assert requests.empty()


def test_a_failure_while_answering_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    with running() as server:
        RequestHandler(server.server, None, print).on_error(ValueError("inside"))
    assert "inside" in caplog.text


def test_a_slow_readers_end_is_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    application = Application()
    with running(application) as server, Wire(server.address, "/slow"):
        ws = application.socket()
        server.call(lambda: [ws.send(bytes(1 << 20)) for _ in range(40)])
        assert application.closed().code == 4008
    (record,) = [record for record in caplog.records if record.levelname == "WARNING"]
    assert record.getMessage() == "/slow closed with 4008: 'the peer reads too slowly'"
