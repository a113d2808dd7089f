"""What fails in one connection, in whatever way, ends that connection and nothing else."""

from __future__ import annotations

import contextlib
import logging
import ssl
from collections.abc import Callable
from typing import Any

import pytest

from sono_client import connect, connect_async
from sono_core import Deflate, Session, Timeouts, native_available
from sono_core.connect import Connector
from sono_core.lifecycle import Driver
from sono_core.tls import Certificates, SecureSession, client_context
from sono_core.websocket.frames import encode_frame
from sono_core.websocket.opcodes import BINARY
from sono_server import serve, serve_async
from sono_server.aio.server import _AsyncTransport
from sono_server.selector.transport import SelectorTransport
from sono_server.serving import Options
from sono_server.serving.base import BaseServer
from tests.certificates import client_side, server_side
from tests.server.selector_helpers import assert_gone, until
from tests.servers import PATIENCE, Wire, dial, read_all, running

pytestmark = pytest.mark.usefixtures("each_server")

REQUEST = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"


class Planted:
    """Raises once, the first time that a method is called, after `armed` is set."""

    def __init__(self, error: Exception, function: Callable[..., Any], after: bool) -> None:
        self.error: Exception | None = error
        self.function = function
        self.after = after

    def __get__(self, owner: Any, kind: Any = None) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            error, self.error = self.error, None
            if error and not self.after:
                raise error
            result = self.function(owner, *arguments, **options)
            if error:
                raise error
            return result

        return call


STEPS = [
    (BaseServer, "_connection"),
    (BaseServer, "admit"),
    (Session, "receive"),
    (Session, "pump"),
    *([(Session, "fast_path")] if native_available else []),
    (Session, "_dispatch"),
    (Session, "_advance_close"),
    (Session, "_drop"),
    (Session, "written"),
]


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("error", [MemoryError(), ValueError("planted"), OSError(5, "planted")])
@pytest.mark.parametrize(("owner", "name"), STEPS, ids=[name for _, name in STEPS])
def test_a_failure_at_any_step_ends_that_connection_alone(
    owner: type,
    name: str,
    error: Exception,
    after: bool,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    planted = Planted(error, getattr(owner, name), after)
    with caplog.at_level(logging.CRITICAL), running() as server, Wire(server.address) as other:
        server.turn()  # the 101 has been written
        with monkeypatch.context() as patch:
            patch.setattr(owner, name, planted)
            with dial(server.address) as victim, contextlib.suppress(OSError):
                victim.sendall(REQUEST)
                read_all(victim)  # ends, with an answer or without
            until(lambda: planted.error is None)
        other.send("unharmed")
        assert other.message() == "unharmed"
        with Wire(server.address) as later:
            later.send("served")
            assert later.message() == "served"
        other.close()
        assert_gone(server, 0)


@pytest.mark.parametrize("error", [MemoryError(), ValueError("planted")])
def test_a_failure_in_the_loop_itself_ends_that_connection_alone(
    each_server: str,
    error: Exception,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    owner, name = (
        (SelectorTransport, "ready_fallback")
        if each_server == "selector"
        else (_AsyncTransport, "updated_fallback")
    )
    planted = Planted(error, getattr(owner, name), False)
    with caplog.at_level(logging.CRITICAL), running() as server, dial(server.address) as sock:
        assert_gone(server, 1)  # it is there, and its first read was in vain
        with monkeypatch.context() as patch:
            patch.setattr(owner, name, planted)
            sock.sendall(REQUEST)
            with contextlib.suppress(ConnectionResetError):  # the request was never read
                assert read_all(sock) == b""
        assert planted.error is None
        with Wire(server.address) as later:
            later.send("served")
            assert later.message() == "served"


@pytest.mark.parametrize("error", [MemoryError(), ValueError("planted")])
def test_whatever_fails_in_a_call_comes_to_the_driver_once(
    error: Exception, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Also what fails where C does the work."""
    told: list[Exception] = []
    call_failed = Driver.call_failed

    def record(driver: Driver, error: Exception) -> None:
        told.append(error)
        call_failed(driver, error)

    with caplog.at_level(logging.CRITICAL), running() as server, Wire(server.address) as other:
        server.turn()
        with monkeypatch.context() as patch, Wire(server.address) as victim:
            server.turn()
            patch.setattr(Driver, "call_failed", record)
            patch.setattr(Session, "settle", Planted(error, Session.settle, False))
            victim.sock.sendall(encode_frame(BINARY, bytes(8192), mask=b"mask")[:-1])
            with contextlib.suppress(ConnectionResetError):
                assert read_all(victim.sock) == b""
        assert told == [error]
        other.send("unharmed")
        assert other.message() == "unharmed"
        other.close()
        assert_gone(server, 0)


TLS_STEPS = ["__init__", "receive", "_read", "_fill", "_drain", "_say_goodbye", "abort", "close"]


@pytest.mark.parametrize("error", [MemoryError(), ValueError("planted")])
@pytest.mark.parametrize("name", TLS_STEPS)
def test_a_failure_in_tls_ends_that_connection_alone(
    name: str, error: Exception, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    planted = Planted(error, getattr(SecureSession, name), False)
    with caplog.at_level(logging.CRITICAL), running(ssl=server_side()) as server:
        with monkeypatch.context() as patch:
            patch.setattr(SecureSession, name, planted)
            with (
                contextlib.suppress(OSError),
                dial(server.address) as sock,
                client_side().wrap_socket(sock, server_hostname="localhost") as victim,
            ):
                victim.sendall(REQUEST)
                while victim.recv(1000):
                    pass
            until(lambda: planted.error is None)
        url = f"wss://localhost:{server.address[1]}/"
        with connect(url, ssl=client_side()) as ws:
            ws.send("served")
            assert ws.recv(PATIENCE) == "served"


def test_a_peer_that_says_nothing_is_told_so_at_the_deadline() -> None:
    timeouts = Timeouts(handshake=0.05)
    with running(timeouts=timeouts) as server, dial(server.address) as sock:
        assert read_all(sock).startswith(b"HTTP/1.1 408 ")


def test_a_failure_when_a_deadline_comes_ends_that_connection_alone(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    planted = Planted(MemoryError(), Session.tick, False)
    timeouts = Timeouts(handshake=0.05)
    with caplog.at_level(logging.CRITICAL), running(timeouts=timeouts) as server:
        with monkeypatch.context() as patch:
            patch.setattr(Session, "tick", planted)
            with dial(server.address) as victim:
                assert read_all(victim) == b""
        with dial(server.address) as later:
            assert read_all(later).startswith(b"HTTP/1.1 408 ")


def test_a_failure_when_the_server_stops_ends_that_connection_alone(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    planted = Planted(MemoryError(), Session.go_away, False)
    with (
        caplog.at_level(logging.CRITICAL),
        running() as server,
        Wire(server.address) as one,
        Wire(server.address) as two,
    ):
        monkeypatch.setattr(Session, "go_away", planted)
        server.server.stop()
        ends = []
        for wire in (one, two):
            with contextlib.suppress(OSError):
                ends.append(wire.closed().code)
        assert sorted(ends, key=int) == [1001, 1006] or ends == [1001]


# -- a caller's mistake -----------------------------------------------------------------------


def test_a_servers_context_must_be_one() -> None:
    for start in (serve, serve_async):
        with pytest.raises(ValueError, match=r"^ssl must be a server's context, and is a client's"):
            start("127.0.0.1", 0, ssl=client_context())
        with pytest.raises(TypeError, match=r"^ssl must be an ssl\.SSLContext, not str"):
            start("127.0.0.1", 0, ssl="chain.pem")  # type: ignore[arg-type]


def test_a_context_that_no_server_can_use_is_refused() -> None:
    checks_names = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    checks_names.check_hostname = True
    with contextlib.suppress(ValueError), serve("127.0.0.1", 0, ssl=checks_names):
        pass  # from some version on OpenSSL asks for a name; before, it does not matter


def test_certificates_must_be_a_servers() -> None:
    with pytest.raises(ValueError, match="must be a server's context"):
        Certificates(client_context)


def test_a_clients_context_must_be_one() -> None:
    for start in (connect, connect_async):
        with pytest.raises(ValueError, match=r"^ssl must be a client's context, and is a server's"):
            start("wss://localhost:1/", ssl=server_side())
        with pytest.raises(TypeError, match=r"^ssl must be an ssl\.SSLContext"):
            start("wss://localhost:1/", ssl=True)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"^proxy_tls must be a client's context"):
        Connector("wss://a/", random=bytes, proxy="https://p", proxy_tls=server_side())


@pytest.mark.parametrize(
    "options", [{"limits": None}, {"timeouts": 5.0}, {"deflate": True}, {"limits": Deflate()}]
)
def test_an_option_of_the_wrong_type_is_named(options: dict[str, Any]) -> None:
    with pytest.raises(TypeError, match=f"^{next(iter(options))} must be "):
        Options(**options)
