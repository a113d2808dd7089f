"""`SonoClient` over time and in several threads: lost and back, iteration, close."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import pytest

from sono_client import ConnectError, ConnectionClosed, SonoClient
from sono_client.blocking import sono_client as client_module
from sono_client.blocking.leader import Leader
from sono_client.blocking.poll import Poll
from sono_core import Close
from sono_core.connect.backoff import Backoff, Reconnection
from sono_server.serving.requests import HTTPRequest
from tests.client.test_blocking import (
    SHORT,
    WAIT,
    Accepted,
    Room,
    faulty,
    heard,
    nothing_stays_open,
    room,
    serving,
    url_of,
)

__all__ = ["nothing_stays_open", "room"]  # fixtures


class Clock:
    """A clock that only pauses move; a client's, with back-off of half the longest time."""

    def __init__(self, sono: SonoClient) -> None:
        self.now = 0.0
        self.pauses: list[float] = []
        sono._time = self.time
        sono._pause = self.pause
        sono._reconnection = Reconnection(Backoff(random=lambda: 0.5))
        sono._note_opened()

    def time(self) -> float:
        return self.now

    def pause(self, timeout: float | None = None) -> bool:
        assert timeout is not None
        self.pauses.append(timeout)
        self.now += timeout
        return False


@contextlib.contextmanager
def doing(function: Callable[[], Any]) -> Iterator[Future[Any]]:
    """Calls a function in another thread."""
    with ThreadPoolExecutor(1) as pool:
        future = pool.submit(function)
        yield future
        future.exception(WAIT)


@pytest.fixture
def polling(monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """Set when a thread waits for its socket."""
    event, wait = threading.Event(), Poll.wait

    def noted(self: Poll, read: bool, write: bool, timeout: float) -> bool:
        event.set()
        return wait(self, read, write, timeout)

    monkeypatch.setattr(Poll, "wait", noted)
    return event


# -- lost and back ------------------------------------------------------------------------------


def test_a_lost_client_comes_back_into_its_channel(room: tuple[Room, str]) -> None:
    server, url = room
    with SonoClient(url) as sono:
        clock = Clock(sono)
        ends: list[Close] = []
        returns: list[list[str]] = []
        sono.on_disconnect(ends.append)

        @sono.on_connect
        def back() -> None:
            returns.append(sono.grab("mychannel"))
            sono.message("back")

        payloads = heard(sono)
        sono.change_channel("news")
        (old,) = sono.grab("myid")
        server.joined[0].close(1012, "restart")
        sono.on("message", lambda _: sono.close())
        sono.run(WAIT)
        (new,) = {payload["from"] for payload in payloads}
        assert new != old
        assert returns == [["news"]]
        assert [(end.code, end.reason) for end in ends] == [(1012, "restart")]
        assert clock.pauses == [0.25]


def test_meanwhile_who_sends_or_asks_is_told(room: tuple[Room, str]) -> None:
    server, url = room
    with SonoClient(url) as sono:
        Clock(sono)
        sono.grab("myid")
        server.joined[0].close(1012, "restart")
        sono.run(0.1)  # too short for the back-off
        calls: list[Callable[[], object]] = [
            lambda: sono.message("x"),
            lambda: sono.broadcast("x"),
            lambda: sono.change_channel("x"),
            lambda: sono.grab("myid"),
        ]
        for call in calls:
            with pytest.raises(ConnectionClosed, match="1012: restart"):
                call()
        sono.run(0.2)
        assert sono.grab("mychannel") == ["x"]


def test_grab_alone_does_not_come_back(room: tuple[Room, str]) -> None:
    server, url = room
    with SonoClient(url) as sono:
        sono.grab("myid")
        server.joined[0].close(1012)
        for _ in range(2):
            with pytest.raises(ConnectionClosed, match="1012"):
                while True:
                    sono.grab("myid")
        assert len(server.joined) == 1


def test_run_gives_up_when_the_answer_will_not_change() -> None:
    room, refuse = Room(), threading.Event()

    def handle(request: HTTPRequest) -> None:
        if refuse.is_set():
            request.respond(403, "not you")
        else:
            room.handle(request)

    with serving(handle) as server, SonoClient(url_of(server)) as sono:
        Clock(sono)
        sono.grab("myid")
        refuse.set()
        room.joined[0].close(1012)
        for _ in range(2):
            with pytest.raises(ConnectError, match="403: not you"):
                sono.run()
        with pytest.raises(ConnectError), contextlib.suppress(StopIteration):
            next(iter(sono))
        with pytest.raises(ConnectionClosed, match="1012"):
            sono.message("x")


def test_run_tries_again_and_waits_longer_each_time() -> None:
    room, left = Room(), [3]

    def handle(request: HTTPRequest) -> None:
        if len(room.joined) == 1 and left[0]:
            left[0] -= 1
            request.respond(503)
        else:
            room.handle(request)

    with serving(handle) as server, SonoClient(url_of(server)) as sono:
        clock = Clock(sono)
        sono.grab("myid")
        sono.on_connect(sono.close)
        room.joined[0].close(1012)
        sono.run()
        assert clock.pauses == [0.25, 0.5, 1.0, 2.0]


@pytest.mark.parametrize("code", [1000, 4000])
def test_an_end_that_somebody_wanted_is_the_end(room: tuple[Room, str], code: int) -> None:
    server, url = room
    with SonoClient(url) as sono:
        clock = Clock(sono)
        ends: list[Close] = []
        sono.on_disconnect(ends.append)
        sono.grab("myid")
        server.joined[0].close(code)
        with contextlib.nullcontext() if code == 1000 else pytest.raises(ConnectionClosed):
            sono.run()
        assert [end.code for end in ends] == [code]
        assert clock.pauses == []


def test_without_reconnect_the_first_loss_is_the_end(room: tuple[Room, str]) -> None:
    server, url = room
    with SonoClient(url, reconnect=False) as sono:
        sono.grab("myid")
        server.joined[0].close(1012)
        with pytest.raises(ConnectionClosed, match="1012"):
            sono.run()


def test_the_first_attempt_fails_at_once_even_with_reconnect() -> None:
    with (
        serving(lambda request: request.respond(503)) as server,
        pytest.raises(ConnectError, match="503"),
    ):
        SonoClient(url_of(server))


def test_an_interrupted_return_leaves_nothing_open(
    room: tuple[Room, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    server, url = room
    with SonoClient(url) as sono:
        Clock(sono)
        sono.grab("myid")
        server.joined[0].close(1012)

        def interrupt(_: object) -> None:
            raise KeyboardInterrupt

        with monkeypatch.context() as patch:
            patch.setattr(sono, "_return_with", interrupt)
            with pytest.raises(KeyboardInterrupt):
                sono.run()
        sono.on_connect(sono.close)
        sono.run()


def test_a_client_that_is_lost_while_it_returns_comes_back_once_more(
    room: tuple[Room, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    server, url = room
    with SonoClient(url) as sono:
        clock = Clock(sono)
        sono.change_channel("news")
        sono.grab("myid")
        server.joined[0].close(1012)
        connect, channels = sono._connect, []

        def lost_at_once() -> Any:
            monkeypatch.setattr(sono, "_connect", connect)
            socket = connect()
            socket.cut_off()
            return socket

        @sono.on_connect
        def back() -> None:
            with contextlib.suppress(ConnectionClosed):
                channels.append(sono.grab("mychannel"))
                sono.close()

        monkeypatch.setattr(sono, "_connect", lost_at_once)
        sono.run()
        assert channels == [["news"]]
        assert clock.pauses == [0.25, 0.5]


def test_a_client_that_is_closed_while_it_connects_stays_closed(
    room: tuple[Room, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    server, url = room
    with SonoClient(url) as sono:
        Clock(sono)
        sono.grab("myid")
        server.joined[0].close(1012)
        connect, returns = sono._connect, []

        def closed_meanwhile() -> Any:
            socket = connect()
            sono.close()
            return socket

        sono.on_connect(lambda: returns.append("back"))
        monkeypatch.setattr(sono, "_connect", closed_meanwhile)
        sono.run()
        assert returns == []
        assert sono.socket.closed is not None
        assert sono.socket.closed.code == 1000


def test_what_a_disconnect_callback_raises_leaves_run_usable(room: tuple[Room, str]) -> None:
    server, url = room
    with SonoClient(url) as sono:
        Clock(sono)
        sono.grab("myid")
        server.joined[0].close(1012)

        @sono.on_disconnect
        def fail(_: Close) -> None:
            raise RuntimeError

        with pytest.raises(RuntimeError):
            sono.run()
        sono.on_connect(sono.close)
        sono.run()
        assert len(server.joined) == 2


# -- threads ------------------------------------------------------------------------------------


def test_close_ends_run_in_another_thread(room: tuple[Room, str], polling: threading.Event) -> None:
    _, url = room
    with SonoClient(url) as sono:
        ends: list[Close] = []
        sono.on_disconnect(ends.append)
        polling.clear()
        with doing(sono.run) as running:
            assert polling.wait(WAIT)
            sono.close()
            assert running.result(WAIT) is None
        assert ends == []  # nobody needs to be told of his own close
        sono.run()
        assert list(sono) == []


def test_close_ends_the_wait_for_the_next_attempt(room: tuple[Room, str]) -> None:
    server, url = room
    with SonoClient(url) as sono:
        sono._reconnection = Reconnection(Backoff(random=lambda: 0.99, base=30.0))
        lost = threading.Event()
        sono.on_disconnect(lambda _: lost.set())
        sono.grab("myid")
        server.joined[0].close(1012)
        with doing(sono.run) as running:
            assert lost.wait(WAIT)
            sono.close()
            assert running.result(WAIT) is None


def test_other_threads_ask_while_one_runs(room: tuple[Room, str]) -> None:
    _, url = room
    with SonoClient(url) as sono:
        payloads = heard(sono)
        with doing(sono.run), ThreadPoolExecutor(3) as pool:
            ids = [pool.submit(lambda: [sono.grab("myid") for _ in range(50)]) for _ in range(3)]
            for number in range(50):
                sono.message(number)
            answers = {tuple(answer) for future in ids for answer in future.result(WAIT)}
            assert len(answers) == 1
            sono.grab("myid")
            assert [payload["message"] for payload in payloads] == list(range(50))
            sono.close()


def test_threads_ask_although_nobody_runs(room: tuple[Room, str]) -> None:
    _, url = room
    with SonoClient(url) as sono, ThreadPoolExecutor(4) as pool:
        kinds = ["myid", "clients", "myid", "clients"]

        def ask(kind: str) -> list[list[str]]:
            return [sono.grab(kind) for _ in range(50)]

        asked = [pool.submit(ask, kind) for kind in kinds]
        assert len({tuple(answer) for future in asked for answer in future.result(WAIT)}) == 1


def test_a_question_keeps_its_timeout_while_another_thread_runs(
    polling: threading.Event,
) -> None:
    with faulty(Accepted()) as server, SonoClient(server.url) as sono:
        polling.clear()
        with doing(lambda: sono.run(WAIT)):
            assert polling.wait(WAIT)
            for timeout in (SHORT, 0):
                start = time.monotonic()
                with pytest.raises(TimeoutError, match="'myid' was not answered"):
                    sono.grab("myid", timeout)
                assert timeout <= time.monotonic() - start < 3
            sono._connect = None  # type: ignore[assignment]  # nobody comes back
            server.released.set()
            sono.close()


def test_a_question_that_waits_is_told_when_the_connection_is_lost(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    entered, wait = threading.Event(), Leader.wait

    def noted(self: Leader, waiter: Any, timeout: float) -> None:
        entered.set()
        wait(self, waiter, timeout)

    def script(server: Any, sock: socket.socket) -> None:
        sock.sendall(server.accept())
        server.released.wait(WAIT)

    monkeypatch.setattr(Leader, "wait", noted)
    with faulty(script) as server, SonoClient(server.url, reconnect=False) as sono:
        with doing(sono.run) as first, doing(lambda: sono.grab("myid")) as second:
            assert entered.wait(WAIT)
            server.released.set()
            errors = [first.exception(WAIT), second.exception(WAIT)]
        assert all(isinstance(error, ConnectionClosed) for error in errors)


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
                assert sono.grab("mychannel") == ["Home"]  # what comes before is not lost
                if len(seen) == 3:
                    server.joined[0].close(1000)
        assert seen == [0, 1, 2]
        assert len(payloads) == 3


def test_iteration_goes_on_after_a_loss(room: tuple[Room, str]) -> None:
    server, url = room
    with SonoClient(url) as sono:
        Clock(sono)
        sono.on_connect(lambda: sono.message("back"))
        sono.grab("myid")
        server.joined[0].close(1012)
        for incoming in sono:
            assert incoming.payload["message"] == "back"
            break
        assert sono._iterations == []


def test_an_iteration_raises_when_the_connection_is_lost_for_good(room: tuple[Room, str]) -> None:
    server, url = room
    with SonoClient(url, reconnect=False) as sono:
        sono.grab("myid")
        server.joined[0].close(4000, "out")
        with pytest.raises(ConnectionClosed, match="4000: out"):
            list(sono)


def test_an_iteration_that_falls_behind_is_told(
    room: tuple[Room, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client_module, "_MAX_BEHIND", 3)
    _, url = room
    with SonoClient(url) as sono:
        sono.message("first")
        with pytest.raises(BufferError, match="wait for the iteration"):
            for _ in sono:
                for number in range(5):
                    sono.message(number)
                sono.grab("myid")
        assert len(sono.grab("myid")) == 1
