"""Socket calls that fail, resets in mid-frame, partial writes: one connection ends (D6)."""

from __future__ import annotations

import contextlib
import errno
import queue
import socket
from collections.abc import Iterator

import pytest

from sono_core import BinaryMessage, Close, LocalProtocolError, Ping, TextMessage, Timeouts
from sono_server import HTTPRequest, WebSocket
from tests.descriptors import open_descriptors
from tests.faults.sockets import Fault, FaultyListener, FaultySocket, faulty_listener
from tests.faults.victims import until
from tests.servers import PATIENCE, Running, Wire, echo, running

TRANSIENT = (errno.EAGAIN, errno.EINTR)
FATAL = (errno.ECONNRESET, errno.EPIPE, errno.ENOBUFS)
CALLS = ("send", "recv_into", "shutdown", "getpeername")
LARGE = bytes(range(256)) * 512


class Application:
    """An echo that records how connections ended."""

    def __init__(self) -> None:
        self.closes: queue.Queue[Close] = queue.Queue()
        self.opened = 0

    def __call__(self, request: HTTPRequest) -> None:
        self.opened += request.accept(echo, self._closed).open

    def _closed(self, ws: WebSocket, close: Close) -> None:
        self.closes.put(close)


class Stage:
    """A server, a bystander on it, and a listener that hands out faults."""

    def __init__(self, server: Running, sock: FaultyListener, application: Application) -> None:
        self.server = server
        self.listener = sock
        self.application = application
        self.bystander = Wire(server.address)
        self.descriptors = open_descriptors()

    def converse(self, fault: Fault) -> bool:
        """Whether a whole conversation succeeds on a connection with that fault."""
        self.listener.fault = fault
        spoiled = contextlib.suppress(OSError, AssertionError, LocalProtocolError)
        with spoiled, Wire(self.server.address) as wire:
            wire.send("one", Ping(b"?"))
            assert wire.message() == "one"
            wire.next()
            wire.send(LARGE)
            assert wire.message() == LARGE
            wire.send(Close(1000))
            assert wire.closed().code == 1000
            wire.wait_for_end()
            return True
        return False

    def check(self) -> None:
        """The bystander is served, its neighbour has left no trace, and others may connect."""
        self.bystander.send("unharmed")
        assert self.bystander.message() == "unharmed"
        until(lambda: self.server.call(lambda: len(self.server.server._transports)) == 1)
        until(lambda: open_descriptors() <= self.descriptors, what="closing its socket")
        application = self.application
        assert application.closes.qsize() == application.opened - 1  # each heard of its end, once


@pytest.fixture(params=["selector", "asyncio"])
def stage(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Stage]:
    monkeypatch.setattr("tests.servers.kind", request.param)
    # C would write past the socket
    monkeypatch.setattr("sono_io.asyncio_protocol.loop", None)
    application = Application()
    sock = faulty_listener(16 * 1024)  # so that a large message takes several writes
    with running(application, sock=sock, timeouts=Timeouts(close=2.0)) as server:
        stage = Stage(server, sock, application)
        try:
            yield stage
        finally:
            stage.bystander.close()


def calls_of_a_whole_conversation(stage: Stage) -> dict[str, int]:
    fault = Fault()
    assert stage.converse(fault)
    stage.check()
    return {call: fault.calls[call] for call in CALLS}


@pytest.mark.parametrize("number", TRANSIENT, ids=errno.errorcode.get)
def test_d06_a_call_that_may_be_repeated_harms_nobody(stage: Stage, number: int) -> None:
    calls = calls_of_a_whole_conversation(stage)
    assert calls["send"] > 3
    assert calls["recv_into"] > 3
    hits = 0
    for call in ("send", "recv_into"):
        for nth in range(1, calls[call] + 1):
            fault = Fault(call, nth, number)
            assert stage.converse(fault), (call, nth)
            hits += fault.hit  # the number of calls varies a little
            stage.check()
    assert hits > 6


@pytest.mark.parametrize("number", FATAL, ids=errno.errorcode.get)
def test_d06_the_nth_call_failing_ends_that_connection_alone(
    stage: Stage, number: int, caplog: pytest.LogCaptureFixture
) -> None:
    """Nor does the event loop log anything."""
    calls = calls_of_a_whole_conversation(stage)
    ended = hits = 0
    for call in CALLS:
        for nth in range(1, calls[call] + 1):
            fault = Fault(call, nth, number)
            ended += not stage.converse(fault)
            hits += fault.hit
            stage.check()
    assert hits > 6
    assert ended > 3
    assert "Exception in callback" not in caplog.text


@pytest.mark.parametrize(
    "number",
    [errno.ECONNABORTED, errno.EAGAIN, errno.EINTR, errno.ECONNRESET, errno.EPROTO],
    ids=errno.errorcode.get,
)
def test_d06_accept_failing_is_not_the_end_of_accepting(stage: Stage, number: int) -> None:
    fault = Fault("accept", 1, number)
    assert stage.converse(fault)
    assert fault.hit
    stage.check()


def test_d06_a_reset_after_any_byte_of_a_frame_ends_that_connection_alone(stage: Stage) -> None:
    frame = b"\x81\xfe\x00\x80" + bytes(4 + 128)
    for cut in (*range(1, 12), len(frame) - 1):
        wire = Wire(stage.server.address)
        wire.sock.sendall(frame[:cut])
        wire.reset()
        assert stage.application.closes.get(timeout=PATIENCE).code == 1006
        stage.application.opened -= 1
        stage.check()


def test_d06_writes_of_a_byte_at_a_time_deliver_everything(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = socket.socket.send
    monkeypatch.setattr(
        FaultySocket, "send", lambda self, data, flags=0: whole(self, data[:1], flags)
    )
    with Wire(stage.server.address) as wire:
        wire.send(TextMessage("x" * 2000), BinaryMessage(b"y" * 2000))
        assert wire.message() == "x" * 2000
        assert wire.message() == b"y" * 2000
    stage.check()
