"""The blocking client's connection, with the real server."""

from __future__ import annotations

import math
import os
import socket
import time
from collections.abc import Callable
from typing import Any

import pytest

from sono_client import ConnectionClosed, WebSocket, connect
from sono_client.blocking import transport
from sono_core import Limits, LocalProtocolError, Timeouts
from sono_server.serving.requests import HTTPRequest
from tests.client.blocking_peers import (
    MIB,
    QUICK,
    SHORT,
    Accepted,
    Faulty,
    echo,
    faulty,
    serving,
    unmasked,
    url_of,
)
from tests.servers import PATIENCE

pytestmark = pytest.mark.usefixtures("nothing_stays_open")


def test_messages_come_back_in_order_and_of_their_kind(echo_url: str) -> None:
    messages: list[str | bytes] = ["", "text ü 🎈", b"", b"\x00\xff", "x" * 5000]
    with connect(echo_url) as ws:
        for message in messages:
            ws.send(message)
        assert [ws.recv(PATIENCE) for _ in messages] == messages


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
        assert ws.recv(PATIENCE) == "hello"


def test_recv_without_time_takes_what_has_come(commanded_url: str) -> None:
    with connect(commanded_url) as ws:
        ws.send("send 3")
        assert ws.recv(PATIENCE) == "0"  # they came together
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
        assert 0 < ws.ping(PATIENCE) < PATIENCE
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
            lambda: ws.recv(PATIENCE),
            lambda: ws.recv(0),
            lambda: ws.send("x"),
            lambda: ws.ping(PATIENCE),
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
        assert ws.recv(PATIENCE) == "still here"


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


@pytest.mark.parametrize("call", [WebSocket.recv, WebSocket.ping])
def test_a_time_out_that_is_not_a_number_is_refused(
    call: Callable[..., object], echo_url: str
) -> None:
    with connect(echo_url) as ws:
        with pytest.raises(ValueError, match="timeout"):
            call(ws, math.nan)
        ws.send("x")
        assert ws.recv(PATIENCE) == "x"


def test_large_messages_pass_each_other() -> None:
    """Neither side stops reading while its own message is still on its way."""
    limits = Limits(max_message=8 * MIB, max_frame=8 * MIB)
    message = os.urandom(8 * MIB)
    with (
        serving(echo, limits=limits, deflate=None) as server,
        connect(url_of(server), limits=limits) as ws,
    ):
        for _ in range(3):
            ws.send(message)
        assert all(ws.recv(PATIENCE) == message for _ in range(3))


def test_a_message_may_be_larger_than_the_queue_of_default_limits() -> None:
    sizes: list[int] = []

    def handle(request: HTTPRequest) -> None:
        request.accept(on_message=lambda ws, message: ws.send(str(len(message))))

    limits = Limits(max_message=32 * MIB, max_frame=32 * MIB)
    with serving(handle, limits=limits) as server, connect(url_of(server), deflate=None) as ws:
        ws.send(bytes(20 * MIB))
        sizes.append(int(ws.recv(PATIENCE)))
    assert sizes == [20 * MIB]


def test_a_thousand_echoes_wait_while_the_application_only_sends(echo_url: str) -> None:
    with connect(echo_url) as ws:
        for number in range(1000):
            ws.send(f"{number} {'x' * 1000}")
        for number in range(1000):
            assert str(ws.recv(PATIENCE)).startswith(f"{number} ")


def test_what_waits_for_an_application_that_only_sends_is_bounded() -> None:
    def flood(server: Faulty, sock: socket.socket) -> None:
        sock.sendall(server.accept())
        while True:  # and never read
            sock.sendall((b"\x81\x7e\x03\xe8" + b"x" * 1000) * 100)

    # long enough for the flood to fill all that is held, however busy the machine is
    patient = Timeouts(ping_interval=60.0, close=0.2, write_stall=3.0)
    taken: list[str | bytes] = []
    with faulty(flood) as server, connect(server.url, timeouts=patient, deflate=None) as ws:
        with pytest.raises(ConnectionClosed) as caught:
            while True:
                ws.send(bytes(MIB))
        assert caught.value.code in (1006, 4008)
        with pytest.raises(ConnectionClosed):
            while True:
                taken.append(ws.recv(0))
    ahead = Limits().max_held // (1000 + 64) + 1
    assert 1024 <= len(taken) <= 1024 + ahead


def test_the_size_of_what_waits_is_bounded(
    commanded_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transport, "_MAX_UNREAD_SIZE", 10)
    with connect(commanded_url, limits=Limits(max_held=200)) as ws:
        ws.send("send 100")
        with pytest.raises(BufferError, match="are waiting for recv"):
            ws.ping(PATIENCE)
        assert [ws.recv(PATIENCE) for _ in range(100)] == [str(number) for number in range(100)]
        assert ws.ping(PATIENCE) > 0


def test_frames_that_follow_a_close_or_a_mistake_do_not_take_the_answers_with_them() -> None:
    """The client answers earlier messages before it parses the mistake."""
    with faulty(Accepted(b"\x81\x01a\x81\x01b\xff\x00")) as server, connect(server.url) as ws:
        for expected in ("a", "b"):
            message = ws.recv(PATIENCE)
            assert message == expected
            ws.send(message * 3)
        with pytest.raises(ConnectionClosed, match="1002"):
            ws.recv(PATIENCE)
    frames = unmasked(server.received)
    assert frames[:2] == [b"\x81aaa", b"\x81bbb"]
    assert frames[2][:3] == b"\x88\x03\xea"
