"""Accepting: out of descriptors, beyond the maximum, and listeners of every kind."""

from __future__ import annotations

import errno
import os
import socket
from typing import Any

import pytest

from sono_server import serve
from sono_server.selector import server as selector
from tests.server.selector_helpers import assert_gone, assert_serves, count_turns, held, until
from tests.servers import PATIENCE, Wire, dial, listener, read_all, running, status


class FlakyListener(socket.socket):
    """Fails to accept while `failing` is set."""

    failing: int | None = None
    accepts = 0

    def accept(self) -> tuple[socket.socket, Any]:
        type(self).accepts += 1
        if self.failing:
            raise OSError(self.failing, os.strerror(self.failing))
        return super().accept()


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM])
def test_out_of_descriptors_is_no_busy_loop_and_accepting_resumes(
    number: int, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(selector, "_ACCEPT_PAUSE", 0.02)
    monkeypatch.setattr(FlakyListener, "accepts", 0)
    sock = listener(kind=FlakyListener)
    with running(sock=sock) as server, Wire(server.address) as wire:
        turns = count_turns(server)
        sock.failing = number
        before = FlakyListener.accepts
        with dial(server.address) as waiting:
            until(lambda: FlakyListener.accepts >= before + 4)
            assert turns() <= 20
            wire.send("unharmed")
            assert wire.message() == "unharmed"
            sock.failing = None
            waiting.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            assert status(read_all(waiting)) == 426
    assert "cannot accept connections" in caplog.text


def test_a_descriptor_that_becomes_free_resumes_accepting_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(selector, "_ACCEPT_PAUSE", 3600.0)
    sock = listener(kind=FlakyListener)
    with running(sock=sock) as server:
        wire = Wire(server.address)
        accepts = FlakyListener.accepts
        sock.failing = errno.EMFILE
        with dial(server.address) as waiting:
            until(lambda: FlakyListener.accepts > accepts)
            sock.failing = None
            wire.close()
            waiting.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            assert status(read_all(waiting)) == 426


def test_stopping_while_accepting_is_suspended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(selector, "_ACCEPT_PAUSE", 3600.0)
    sock = listener(kind=FlakyListener)
    with running(sock=sock) as server:
        wire = Wire(server.address)
        accepts = FlakyListener.accepts
        sock.failing = errno.EMFILE
        with dial(server.address):
            until(lambda: FlakyListener.accepts > accepts)
            server.server.stop()
            assert wire.closed().code == 1001
            wire.close()
            server.join()


@pytest.mark.parametrize("number", [errno.ECONNABORTED, errno.EPROTO])
def test_a_connection_that_fails_before_it_is_accepted_harms_nobody(number: int) -> None:
    class Once(socket.socket):
        failed = False

        def accept(self) -> tuple[socket.socket, Any]:
            if not type(self).failed:
                type(self).failed = True
                raise OSError(number, os.strerror(number))
            return super().accept()

    with running(sock=listener(kind=Once)) as server:
        assert_serves(server)
        assert Once.failed


def test_a_socket_that_refuses_its_options_is_served() -> None:
    """macOS reports this for a peer that has already gone."""

    class Stubborn(socket.socket):
        def setsockopt(self, *arguments: Any) -> None:
            raise OSError(errno.EINVAL, "Invalid argument")

    class Listener(socket.socket):
        def accept(self) -> tuple[socket.socket, Any]:
            sock, address = super().accept()
            return Stubborn(fileno=sock.detach()), address

    with running(sock=listener(kind=Listener)) as server:
        assert_serves(server)


def test_connections_beyond_the_maximum_are_told_503() -> None:
    with running(max_connections=2) as server:
        wires = [Wire(server.address), Wire(server.address)]
        with dial(server.address) as third:
            response = read_all(third)
        assert status(response) == 503
        wires[0].send("unharmed")
        assert wires[0].message() == "unharmed"
        wires.pop().close()
        assert_gone(server, 1)
        assert_serves(server)
        wires.pop().close()


def test_connections_far_beyond_the_maximum_are_dropped() -> None:
    with running(max_connections=1) as server, Wire(server.address) as wire:
        refused = [dial(server.address) for _ in range(40)]
        answers = []
        for sock in refused:
            try:
                answers.append(sock.recv(12))
            except ConnectionResetError:
                answers.append(b"")
        assert answers.count(b"HTTP/1.1 503") == 32
        assert answers.count(b"") == 8
        wire.send("unharmed")
        assert wire.message() == "unharmed"
        for sock in refused:
            sock.close()


def test_many_connections_at_once_are_all_accepted() -> None:
    with running(lambda request: request.respond(200)) as server:
        with held(server):
            socks = [dial(server.address) for _ in range(100)]
            for sock in socks:
                sock.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        assert [status(read_all(sock)) for sock in socks] == [200] * 100
        for sock in socks:
            sock.close()


def test_a_socket_that_does_not_listen_is_refused() -> None:
    with socket.socket() as sock, pytest.raises(ValueError, match="listening"):
        serve(sock=sock)


@pytest.mark.skipif(not hasattr(socket, "AF_UNIX"), reason="the platform has no Unix sockets")
def test_a_unix_socket(tmp_path: Any) -> None:
    sock = socket.socket(socket.AF_UNIX)
    path = str(tmp_path / "s")
    sock.bind(path)
    sock.listen()
    with running(lambda request: request.respond(200), sock=sock):
        client = socket.socket(socket.AF_UNIX)
        client.settimeout(PATIENCE)
        client.connect(path)
        client.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        assert status(read_all(client)) == 200
        client.close()
