"""How the server stops: it drains, flushes, and cuts off when the time is over."""

from __future__ import annotations

import queue
import threading

import pytest

from sono_core import Close
from sono_core.lifecycle import Session
from sono_server import HTTPRequest, Server, WebSocket
from tests.server.selector_helpers import ENDLESS, Closes, held, until
from tests.servers import (
    PATIENCE,
    Running,
    Wire,
    accept_echo,
    dial,
    get,
    listener,
    read_all,
    running,
    status,
)

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


def test_stop_may_say_that_the_server_will_be_back() -> None:
    with running(lambda request: request.accept()) as server, Wire(server.address) as wire:
        with pytest.raises(ValueError, match=r"^close_code must be 1001 or 1012"):
            server.server.stop(1000)
        server.server.stop(1012)
        assert wire.next() == Close(1012, "the server is stopping", True)
        wire.flush()


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
    """The first request's handler stops the server while the second one is waiting."""
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
    server = Running(application, **ENDLESS)
    with Wire(server.address) as wire:
        server.server.stop()
        assert wire.next() == Close(1001, "the server is stopping", True)
        wire.connection.data_to_send()  # not sent
        server.server.stop()
        server.join()
        assert application.closed().code in (1001, 1006)


def test_two_stops_that_come_together_do_not_wait_for_anything() -> None:
    """One waking notices both; nothing would wake the loop again."""

    def stop_twice(ws: WebSocket, message: str | bytes) -> None:
        server.server.stop()
        server.server.stop()

    server = Running(lambda request: request.accept(stop_twice), **ENDLESS)
    with Wire(server.address) as wire:
        with held(server):
            wire.send("stop")
            server.server.call_soon(int)
        server.join()


def test_stop_without_connections_ends_at_once() -> None:
    server = Running(accept_echo, **ENDLESS)
    server.server.stop()
    server.join()


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

    server = Running(lambda request: request.accept(close_all, closed), **ENDLESS)
    wires = [Wire(server.address), Wire(server.address)]
    wires[0].send("a", "b", "c")
    server.join()
    assert server.error is None
    assert [closes.get(timeout=PATIENCE).code for _ in wires] == [1006, 1006]
    assert messages[0] == "a"
    for wire in wires:
        wire.close()


# -- leaving one after the other ------------------------------------------------------------------


def closes(wire: Wire) -> int:
    """Close as the server wants it; its code."""
    code = wire.closed().code
    wire.flush()
    wire.close()
    return code


@pytest.mark.usefixtures("each_server")
def test_closes_are_spread_over_the_first_half_of_the_drain_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    told: list[float] = []  # by the server's clock
    go_away = Session.go_away

    def note(session: Session, code: int, reason: str, now: float) -> None:
        told.append(now)
        go_away(session, code, reason, now)

    monkeypatch.setattr(Session, "go_away", note)
    monkeypatch.setattr("sono_server.serving.base._GOODBYES", 2)
    monkeypatch.setattr("sono_server.serving.base._GOODBYE_PAUSE", 60.0)
    pause = 4.0 / 2 / 6
    with running(lambda request: request.accept(), drain=4.0, close_code=1012) as server:
        wires = [Wire(server.address) for _ in range(6)]
        server.server.stop()
        codes: list[int] = []
        for wire in wires:
            threading.Thread(target=lambda wire=wire: codes.append(closes(wire))).start()
        until(lambda: len(codes) == 6)
        assert codes == [1012] * 6
        assert server.server._goodbye_pause == pytest.approx(pause)
    assert told[0] == told[1]
    for number, at in enumerate(told):  # a busy machine can only make a pause longer
        assert at - told[0] > (number - 1) * pause - 1e-6
