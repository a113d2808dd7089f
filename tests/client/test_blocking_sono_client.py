"""`SonoClient`: messages, callbacks, requests and their time-outs, iteration."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from typing import Any

import pytest

from sono_client import ConnectError, ConnectionClosed
from sono_client.blocking import life as client_module
from sono_core import LocalProtocolError, Timeouts
from tests.client.blocking_peers import (
    QUICK,
    SHORT,
    Accepted,
    Faulty,
    Room,
    faulty,
    heard,
    refused_port,
)
from tests.client.classic import ClassicClient as SonoClient
from tests.servers import PATIENCE

pytestmark = pytest.mark.usefixtures("nothing_stays_open")


# -- talking, callbacks, questions ------------------------------------------------------------


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
        sono.run(PATIENCE)
        assert answers == [["Home"]]


def test_an_answer_that_came_within_a_callback_counts(room: tuple[Room, str]) -> None:
    _, url = room
    with SonoClient(url) as sono:
        sono.on("message", lambda _: sono.grab("channels"))
        sono.message("x")
        assert sono.grab("channels", PATIENCE) == ["Home"]


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
            sono.run(PATIENCE)
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
        server.released.wait(PATIENCE)
        for name in (b"1", b"2"):
            text = b'{"protocol":"grab","payload":{"message":["%s"],"type":"myid"}}' % name
            sock.sendall(bytes((0x81, len(text))) + text)
        sock.recv(65536)

    with faulty(script) as server, SonoClient(server.url, timeouts=Timeouts(close=0.2)) as sono:
        with pytest.raises(TimeoutError):
            sono.grab("myid", SHORT)
        server.released.set()
        assert sono.grab("myid", PATIENCE) == ["2"]


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
        sono.run(PATIENCE)


def test_a_client_that_cannot_connect_raises() -> None:
    port = refused_port()
    with pytest.raises(ConnectError):
        SonoClient(f"ws://127.0.0.1:{port}/")


def test_the_options_of_connect_are_those_of_a_client(room: tuple[Room, str]) -> None:
    server, url = room
    with SonoClient(url, headers={"x-token": "t"}) as sono:
        sono.grab("myid")
        assert server.joined[0].http_request.headers["x-token"] == "t"
        assert sono.socket.closed is None


# -- iteration ----------------------------------------------------------------------------------


def test_iteration_gives_all_events_and_calls_back_too(room: tuple[Room, str]) -> None:
    server, url = room
    with SonoClient(url) as sono:
        payloads = heard(sono)
        for number in range(3):
            sono.message(number)
        seen: list[Any] = []
        for incoming in sono:
            if incoming.event == "message":
                seen.append(incoming.payload["message"])
                assert sono.grab("mychannel") == ["Home"]  # earlier messages are not lost
                if len(seen) == 3:
                    server.joined[0].close(1000)
        assert seen == [0, 1, 2]
        assert len(payloads) == 3


def test_an_iteration_that_falls_behind_is_told(
    room: tuple[Room, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client_module, "_MAX_BEHIND", 3)
    _, url = room
    with SonoClient(url) as sono:
        sono.message("first")
        with pytest.raises(BufferError, match="are waiting for the iteration"):
            for _ in sono:
                for number in range(5):
                    sono.message(number)
                sono.grab("myid")
        assert len(sono.grab("myid")) == 1
