"""`handle_stream` and `stream_handler` do what the servers do."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import logging
import os
import socket
import ssl
import threading
from pathlib import Path
from typing import Any

import pytest

from sono_client import connect
from sono_core import Accept, Close, Headers, Limits, Reject, Timeouts
from sono_server import HTTPRequest, Sono
from sono_server.serving import Options, StreamOptions
from sono_server.serving.base import BaseServer
from tests.certificates import client_side, server_side
from tests.server.selector_helpers import until
from tests.server.stream_server import streaming
from tests.server.test_connection_failures import STEPS, Planted
from tests.servers import PATIENCE, Wire, dial, get, read_all, status

CLOSE = Timeouts(close=3600.0)
"""Who waits for the deadline of a close fails the test."""


@pytest.fixture(params=["asyncio", "uvloop"])
def loop(request: pytest.FixtureRequest) -> str:
    kind: str = request.param
    if kind == "uvloop":
        pytest.importorskip("uvloop")
    return kind


def talk_in_tls(port: int) -> ssl.SSLSocket:
    return client_side().wrap_socket(dial(("127.0.0.1", port)), server_hostname="localhost")


def test_a_close_in_tls_ends_the_connection_at_once(loop: str) -> None:
    """RFC 6455, section 7.1.1: what cannot be half closed is closed."""
    handler = Sono().stream_handler(timeouts=CLOSE)
    with streaming(handler, tls=server_side(), kind=loop) as (_, port):
        url = f"wss://localhost:{port}/ws"
        with connect(url, ssl=client_side(), timeouts=CLOSE) as ws:
            ws.close()
            assert ws.closed == Close(1000, "")


@pytest.mark.parametrize("target", ["/healthz", "/sono.js", "/ws"])
def test_a_plain_answer_in_tls_ends_the_connection_at_once(loop: str, target: str) -> None:
    handler = Sono().stream_handler(timeouts=CLOSE)
    with (
        streaming(handler, tls=server_side(), kind=loop) as (_, port),
        talk_in_tls(port) as sock,
    ):
        sock.sendall(f"GET {target} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
        response = read_all(sock)  # up to TLS's own end
        length = int(response.lower().partition(b"content-length: ")[2].split(b"\r\n")[0])
        assert len(response.partition(b"\r\n\r\n")[2]) == length


def test_who_never_answers_the_end_of_tls_is_cut_off(loop: str) -> None:
    handler = Sono().stream_handler(timeouts=Timeouts(close=0.05))
    with streaming(handler, tls=server_side(), kind=loop) as (_, port), talk_in_tls(port) as sock:
        sock.sendall(b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n")
        with socket.socket(fileno=os.dup(sock.fileno())) as raw:
            raw.settimeout(PATIENCE)
            with contextlib.suppress(ConnectionResetError):
                read_all(raw)  # encrypted, and never answered, up to the end of TCP


def test_a_peer_that_says_nothing_is_told_so_at_the_deadline(loop: str) -> None:
    handler = Sono().stream_handler(timeouts=Timeouts(handshake=0.05))
    with streaming(handler, kind=loop) as address, dial(address) as sock:
        assert status(read_all(sock)) == 408


def test_the_client_of_a_trusted_proxy(loop: str) -> None:
    seen: list[tuple[Any, str]] = []
    sono = Sono()

    @sono.authenticate
    def who(request: HTTPRequest) -> object:
        seen.append((request.client, request.scheme))
        return "x"

    headers = Headers(
        {
            "x-forwarded-for": "192.0.2.7",
            "x-forwarded-proto": "WSS",
            "x-forwarded-host": "example.com",
            "origin": "https://example.com",
        }
    )
    for proxies in (["127.0.0.1"], []):
        with (
            streaming(sono.stream_handler(trusted_proxies=proxies), kind=loop) as address,
            Wire(address, "/ws", headers=headers) as wire,
        ):
            assert isinstance(wire.answer, Accept if proxies else Reject)
    assert seen == [(("192.0.2.7", 0), "https")]


def test_origins_path_and_limits(loop: str) -> None:
    sono = Sono(limits=Limits(max_message=10))
    options: StreamOptions = {"origins": ["https://a.example"], "deflate": None}
    with streaming(sono.stream_handler("/chat", **options), kind=loop) as address:
        for origin, answer in (("https://a.example", Accept), ("https://b.example", Reject)):
            with Wire(address, "/chat", headers=Headers({"origin": origin})) as wire:
                assert isinstance(wire.answer, answer)
        assert status(get(address, "/ws")) == 404
        with Wire(address, "/chat") as wire:
            wire.send("x" * 11)
            assert wire.closed().code == 1009


def test_connections_beyond_the_maximum_are_told_503(loop: str) -> None:
    with (
        streaming(Sono().stream_handler(max_connections=1), kind=loop) as address,
        Wire(address, "/ws"),
        dial(address) as second,
    ):
        assert status(read_all(second)) == 503


@pytest.mark.watchdog
def test_a_handler_that_blocks_the_loop_is_logged(
    loop: str, caplog: pytest.LogCaptureFixture
) -> None:
    sono = Sono()
    reported = threading.Event()

    class Listen(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            reported.set()

    @sono.on_connect
    def block(client: Any) -> None:
        reported.wait(PATIENCE)

    listening = Listen()
    logging.getLogger("sono").addHandler(listening)
    try:
        handler = sono.stream_handler(watchdog=0.02)
        with streaming(handler, kind=loop) as address, Wire(address, "/ws"):
            assert reported.wait(PATIENCE)
    finally:
        logging.getLogger("sono").removeHandler(listening)
    until(lambda: "sono-watchdog" not in [thread.name for thread in threading.enumerate()])


@pytest.mark.skipif(not hasattr(asyncio, "start_unix_server"), reason="needs Unix sockets")
@pytest.mark.parametrize("tls", [False, True])
def test_a_unix_socket(loop: str, tls: bool, tmp_path: Path) -> None:
    path = str(tmp_path / "sono")
    context = server_side() if tls else None
    with streaming(Sono().handle_stream, unix=path, tls=context, kind=loop):
        url = f"ws{'s' * tls}://localhost/ws"
        with connect(url, unix=path, ssl=client_side() if tls else None) as ws:
            assert ws.ping(PATIENCE) >= 0


def test_a_connection_that_cannot_be_served_is_closed(
    loop: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*arguments: Any) -> None:
        raise MemoryError

    sono = Sono()
    with caplog.at_level(logging.CRITICAL), streaming(sono.handle_stream, kind=loop) as address:
        with monkeypatch.context() as patch:
            patch.setattr(BaseServer, "_connection", fail)
            with dial(address) as sock:
                assert read_all(sock) == b""
        assert status(get(address, "/healthz")) == 200


@pytest.mark.parametrize("error", [MemoryError(), ValueError("planted")])
@pytest.mark.parametrize(("owner", "name"), STEPS, ids=[name for _, name in STEPS])
def test_a_failure_at_any_step_ends_that_connection_alone(
    loop: str,
    owner: type,
    name: str,
    error: Exception,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    if name == "fast_path":
        pytest.skip("streams have none")
    planted = Planted(error, getattr(owner, name), False)
    handler = Sono().handle_stream
    with caplog.at_level(logging.CRITICAL + 1), streaming(handler, kind=loop) as address:
        with monkeypatch.context() as patch:
            patch.setattr(owner, name, planted)
            with dial(address) as victim, contextlib.suppress(OSError):
                victim.sendall(b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n")
                read_all(victim)
            until(lambda: planted.error is None)
        assert status(get(address, "/healthz")) == 200


# -- mistakes ---------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["ssl", "drain", "close_code", "port"])
def test_what_is_the_business_of_others_is_refused(name: str) -> None:
    options: Any = {name: None}
    with pytest.raises(TypeError, match=f"^{name} is the business of who accepts connections$"):
        Sono().stream_handler(**options)


def test_every_other_option_of_serve_is_taken() -> None:
    names = set(inspect.signature(Options).parameters) - {"ssl", "drain", "close_code"}
    assert set(StreamOptions.__optional_keys__) == names
    for name in names:
        default: Any = {name: inspect.signature(Options).parameters[name].default}
        assert Sono().stream_handler(**default)


def test_a_wrong_option_raises_at_once() -> None:
    with pytest.raises(ValueError, match="max_connections"):
        Sono().stream_handler(max_connections=0)
