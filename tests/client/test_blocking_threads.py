"""The blocking clients in several threads, and interrupted."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import pytest

from sono_client import ConnectionClosed, WebSocket, connect
from sono_client.blocking.leader import Leader
from sono_client.blocking.poll import Poll
from sono_core import Close, Limits, Timeouts
from sono_core.connect.backoff import Backoff, Reconnection
from tests.client.blocking_peers import (
    MIB,
    SHORT,
    Accepted,
    Faulty,
    Room,
    commanded,
    echo,
    faulty,
    heard,
    serving,
    unresponsive,
    url_of,
)
from tests.client.classic import ClassicClient as SonoClient
from tests.descriptors import assert_none_stays_open, open_descriptors
from tests.servers import PATIENCE

pytestmark = pytest.mark.usefixtures("nothing_stays_open")


# -- a connection -----------------------------------------------------------------------------


@pytest.fixture
def ws() -> Iterator[WebSocket]:
    with serving(echo) as server, connect(url_of(server)) as ws:
        yield ws


@contextlib.contextmanager
def doing(
    function: Callable[[], Any], event: threading.Event | None = None
) -> Iterator[Future[Any]]:
    """Call a function in another thread; the body begins when the event is set."""
    with ThreadPoolExecutor(1) as pool:
        future = pool.submit(function)
        if event:
            assert event.wait(PATIENCE)
        yield future
        future.exception(PATIENCE)


def test_one_thread_receives_what_another_sends(ws: WebSocket) -> None:
    with doing(lambda: [ws.recv(PATIENCE) for _ in range(500)]) as received:
        for number in range(500):
            ws.send(str(number))
        assert received.result(PATIENCE) == [str(number) for number in range(500)]


def test_a_message_goes_to_one_of_the_threads_that_wait(ws: WebSocket) -> None:
    with ThreadPoolExecutor(4) as pool:
        threads = [pool.submit(lambda: [ws.recv(PATIENCE) for _ in range(50)]) for _ in range(4)]
        for number in range(200):
            ws.send(str(number))
        received = [message for thread in threads for message in thread.result(PATIENCE)]
    assert sorted(map(int, map(str, received))) == list(range(200))


def test_what_one_thread_reads_for_another_wakes_it(ws: WebSocket) -> None:
    """The leader reads the pongs, echoes and closes of all threads, and wakes the one concerned."""

    def ping() -> int:
        return sum(ws.ping(PATIENCE) > 0 for _ in range(200))

    def talk() -> int:
        for _ in range(200):
            ws.send("x")
            ws.recv(PATIENCE)
        return 200

    with ThreadPoolExecutor(4) as pool:
        threads = [pool.submit(function) for function in (ping, ping, talk, talk)]
        assert [thread.result(PATIENCE) for thread in threads] == [200] * 4


@pytest.fixture
def polling(monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """Set when a thread waits for its socket."""
    event, wait = threading.Event(), Poll.wait

    def noted(self: Poll, read: bool, write: bool, timeout: float) -> bool:
        event.set()
        return wait(self, read, write, timeout)

    monkeypatch.setattr(Poll, "wait", noted)
    return event


def test_a_large_message_is_written_while_another_thread_waits_to_receive(
    polling: threading.Event,
) -> None:
    """The thread that polls learns that there is something to write, too."""
    limits = Limits(max_message=8 * MIB, max_frame=8 * MIB)
    message = os.urandom(8 * MIB)
    with (
        serving(echo, limits=limits, deflate=None) as server,
        connect(url_of(server), limits=limits, deflate=None) as ws,
    ):
        polling.clear()
        with doing(lambda: [ws.recv(PATIENCE) for _ in range(3)], polling) as received:
            for _ in range(3):
                ws.send(message)
            assert received.result(PATIENCE) == [message] * 3


def test_several_threads_send_whole_messages(ws: WebSocket) -> None:
    messages = [str(number) * 100_000 for number in range(8)]
    with ThreadPoolExecutor(8) as pool:
        sent = [pool.submit(ws.send, message) for message in messages]
        received = [ws.recv(PATIENCE) for _ in messages]
        for future in sent:
            future.result(PATIENCE)
    assert sorted(map(str, received)) == messages


@pytest.fixture
def obeyed() -> Iterator[WebSocket]:
    with serving(commanded) as server, connect(url_of(server)) as ws:
        yield ws


@pytest.fixture
def entered(monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """Set when a thread waits for another that waits for the socket."""
    event, wait = threading.Event(), Leader.wait

    def noted(self: Leader, waiter: Any, timeout: float) -> None:
        event.set()
        wait(self, waiter, timeout)

    monkeypatch.setattr(Leader, "wait", noted)
    return event


def test_close_ends_what_other_threads_wait_for(
    obeyed: WebSocket, polling: threading.Event, entered: threading.Event
) -> None:
    with doing(obeyed.recv, polling) as first, doing(obeyed.recv, entered) as second:
        obeyed.close()
        for future in (first, second):
            error = future.exception(PATIENCE)
            assert isinstance(error, ConnectionClosed)
            assert error.code == 1000


@pytest.mark.parametrize("timeout", [SHORT, 0])
def test_a_timeout_is_kept_while_another_thread_polls(
    obeyed: WebSocket, polling: threading.Event, timeout: float
) -> None:
    with doing(obeyed.recv, polling) as other:
        start = time.monotonic()
        with pytest.raises(TimeoutError):
            obeyed.recv(timeout)
        assert timeout <= time.monotonic() - start < 3
        obeyed.send("say hello")
        assert other.result(PATIENCE) == "hello"


def test_a_thread_that_polled_passes_it_on(
    obeyed: WebSocket, polling: threading.Event, entered: threading.Event
) -> None:
    def short() -> object:
        with pytest.raises(TimeoutError):
            obeyed.recv(0.2)
        return True

    with doing(short, polling) as first, doing(obeyed.recv, entered) as second:
        assert first.result(PATIENCE)
        obeyed.send("say hello")
        assert second.result(PATIENCE) == "hello"


def test_a_deadline_that_comes_earlier_is_met_although_another_thread_polls(
    polling: threading.Event,
) -> None:
    with faulty(unresponsive) as server:
        ws = connect(server.url, timeouts=Timeouts(close=0.2))
        polling.clear()
        with doing(ws.recv, polling) as other:
            start = time.monotonic()
            ws.close()
            assert 0.2 <= time.monotonic() - start < 3
            assert isinstance(other.exception(PATIENCE), ConnectionClosed)
        server.released.set()


def test_a_socket_that_is_polled_is_closed_by_the_last_one(polling: threading.Event) -> None:
    before = open_descriptors()
    with faulty(unresponsive) as server:
        ws = connect(server.url)
        polling.clear()
        with doing(ws.recv, polling) as other:
            ws.cut_off()
            error = other.exception(PATIENCE)
            assert isinstance(error, ConnectionClosed)
            assert error.code == 1006
        server.released.set()
    assert_none_stays_open(before)
    ws.cut_off()
    ws.close()


def test_waiting_beside_a_thread_that_polls_takes_few_turns(
    obeyed: WebSocket, polling: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits = []
    wait = Poll.wait

    def counted(self: Poll, read: bool, write: bool, timeout: float) -> bool:
        waits.append(timeout)
        return wait(self, read, write, timeout)

    monkeypatch.setattr(Poll, "wait", counted)
    with doing(obeyed.recv) as other:
        for _ in range(100):
            obeyed.send("nothing is answered to this")  # and it wakes nobody for that
        with pytest.raises(TimeoutError):
            obeyed.recv(SHORT)
        assert len(waits) <= 4
        obeyed.send("say hello")
        assert other.result(PATIENCE) == "hello"


# -- interrupted --------------------------------------------------------------------------------


class Interrupted(BaseException):
    """Stands for KeyboardInterrupt."""


def test_an_interrupted_wait_leaves_the_connection_usable(ws: WebSocket) -> None:
    def interrupt(*_: object) -> None:
        raise Interrupted

    before = signal.signal(signal.SIGALRM, interrupt)
    try:
        signal.setitimer(signal.ITIMER_REAL, SHORT)
        with pytest.raises(Interrupted):
            ws.recv(PATIENCE)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    ws.send("x")
    assert ws.recv(PATIENCE) == "x"


def interrupt_once(monkeypatch: pytest.MonkeyPatch, owner: Any, name: str) -> None:
    """The next call is interrupted right after it."""
    real = getattr(owner, name)

    def interrupted(*arguments: Any) -> Any:
        monkeypatch.setattr(owner, name, real)
        real(*arguments)
        raise Interrupted

    monkeypatch.setattr(owner, name, interrupted)


def test_an_interrupted_thread_lets_another_poll(
    obeyed: WebSocket, entered: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    interrupt_once(monkeypatch, Poll, "wait")
    with (
        doing(lambda: obeyed.recv(PATIENCE)) as first,
        doing(lambda: obeyed.recv(PATIENCE)) as second,
    ):
        for _ in range(2):
            obeyed.send("say hello")
        results = [future.exception(PATIENCE) or future.result() for future in (first, second)]
    assert "hello" in results
    assert any(isinstance(result, Interrupted) for result in results)


@pytest.mark.parametrize("step", ["receive", "flush", "resume"])
def test_a_step_that_was_left_half_done_ends_the_connection(
    ws: WebSocket, step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    interrupt_once(monkeypatch, ws._transport, step)

    def talk() -> None:
        ws.send("x")
        ws.ping(PATIENCE)

    with pytest.raises(Interrupted):
        for _ in range(3):
            talk()
    assert ws._transport._sock.fileno() == ws._transport._poll._near.fileno() == -1
    assert ws.closed is not None
    assert (ws.closed.code, ws.closed.reason) == (1006, "interrupted")
    calls: list[Callable[[], object]] = [lambda: list(ws), ws.ping, lambda: ws.send("x")]
    for call in calls:
        with pytest.raises(ConnectionClosed, match="interrupted"):
            call()
    ws.close()


def test_an_interrupted_close_cuts_off(monkeypatch: pytest.MonkeyPatch) -> None:
    with faulty(unresponsive) as server:
        ws = connect(server.url)
        interrupt_once(monkeypatch, Poll, "wait")
        ws._transport._poll.wake()
        with pytest.raises(Interrupted):
            ws.close()
        assert ws.closed is not None
        assert ws.closed.code == 1006
        server.released.set()


def test_a_message_whose_send_was_interrupted_goes_on_its_way(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Half of it has left: the next call writes the rest."""
    size = 32 * MIB

    def reads_late(server: Faulty, sock: socket.socket) -> None:
        sock.sendall(server.accept())
        server.released.wait(PATIENCE)
        while len(server.received) < size:
            server.received += sock.recv(MIB)

    with faulty(reads_late) as server:
        ws = connect(server.url, deflate=None)
        interrupt_once(monkeypatch, Poll, "wait")
        ws._transport._poll.wake()
        with pytest.raises(Interrupted):
            ws.send(bytes(size))
        server.released.set()
        ws.close()
    assert len(server.received) >= size


# -- SonoClient ---------------------------------------------------------------------------------


def test_close_ends_run_in_another_thread(room: tuple[Room, str], polling: threading.Event) -> None:
    _, url = room
    with SonoClient(url) as sono:
        ends: list[Close] = []
        sono.on_disconnect(ends.append)
        polling.clear()
        with doing(sono.run) as running:
            assert polling.wait(PATIENCE)
            sono.close()
            assert running.result(PATIENCE) is None
        assert ends == []  # the caller knows about its own close
        sono.run()
        assert list(sono) == []


def test_close_ends_the_wait_for_the_next_attempt(room: tuple[Room, str]) -> None:
    server, url = room
    with SonoClient(url) as sono:
        sono._reconnection = Reconnection(Backoff(random=lambda: 0.99, base=30.0, cap=60.0))
        lost = threading.Event()
        sono.on_disconnect(lambda _: lost.set())
        sono.grab("myid")
        server.joined[0].close(1012)
        with doing(sono.run) as running:
            assert lost.wait(PATIENCE)
            sono.close()
            assert running.result(PATIENCE) is None


def test_other_threads_ask_while_one_runs(room: tuple[Room, str]) -> None:
    _, url = room
    with SonoClient(url) as sono:
        payloads = heard(sono)
        with doing(sono.run), ThreadPoolExecutor(3) as pool:
            ids = [pool.submit(lambda: [sono.grab("myid") for _ in range(50)]) for _ in range(3)]
            for number in range(50):
                sono.message(number)
            answers = {tuple(answer) for future in ids for answer in future.result(PATIENCE)}
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
        assert len({tuple(answer) for future in asked for answer in future.result(PATIENCE)}) == 1


def test_a_question_keeps_its_timeout_while_another_thread_runs(
    polling: threading.Event,
) -> None:
    with faulty(Accepted()) as server, SonoClient(server.url) as sono:
        polling.clear()
        with doing(lambda: sono.run(PATIENCE)):
            assert polling.wait(PATIENCE)
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
        server.released.wait(PATIENCE)

    monkeypatch.setattr(Leader, "wait", noted)
    with faulty(script) as server, SonoClient(server.url, reconnect=False) as sono:
        with doing(sono.run) as first, doing(lambda: sono.grab("myid")) as second:
            assert entered.wait(PATIENCE)
            server.released.set()
            errors = [first.exception(PATIENCE), second.exception(PATIENCE)]
        assert all(isinstance(error, ConnectionClosed) for error in errors)
