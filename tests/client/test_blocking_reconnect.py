"""`SonoClient` when it loses its connection: it comes back, or gives up."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable
from typing import Any

import pytest

from sono_client import ConnectError, ConnectionClosed
from sono_core import Close
from sono_core.connect.backoff import Backoff, Reconnection
from sono_server.serving.requests import HTTPRequest
from tests.client.blocking_peers import Room, heard, serving, url_of
from tests.client.classic import ClassicClient as SonoClient
from tests.servers import PATIENCE

pytestmark = pytest.mark.usefixtures("nothing_stays_open")


# -- lost and back ------------------------------------------------------------------------------


class Clock:
    """A clock that only pauses move, for a client whose back-off is half of the longest time."""

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
        sono.run(PATIENCE)
        (new,) = {payload["from"] for payload in payloads}
        assert new != old
        assert returns == [["news"]]
        assert [(end.code, end.reason) for end in ends] == [(1012, "restart")]
        assert clock.pauses == [0.75]


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
        sono.run(0.7)
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
        assert clock.pauses == [0.75, 1.0, 1.5, 2.5]


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

        def interrupt(*_: object) -> None:
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
        assert clock.pauses == [0.75, 1.0]


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


# -- iteration ----------------------------------------------------------------------------------


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
