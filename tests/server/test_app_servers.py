"""`Sono` on a server: other threads, `run`, and what `run` serves besides clients."""

from __future__ import annotations

import json
import queue
import threading
from collections.abc import Callable
from typing import Any

import pytest

from sono_core import Reject
from sono_server import Client, HTTPRequest, Sono, serve
from sono_server.app import sono as app
from sono_server.serving.browser_client import browser_client
from tests.server.sono_packets import message, packet
from tests.servers import PATIENCE, Running, Wire, get, running, status


def sono_at(sono: Sono) -> Callable[[HTTPRequest], object]:
    return lambda request: sono.connect(request)


def test_other_threads_emit_send_close_and_create_channels() -> None:
    sono = Sono()
    connected: queue.Queue[Client] = queue.Queue()
    sono.on_connect(connected.put)
    with running(sono_at(sono)) as server, Wire(server.address) as wire:
        client = connected.get(timeout=PATIENCE)
        sono.emit("one")
        sono.channel("Home").emit("two")
        assert client.send("message", "three")
        news = sono.channel("news")
        server.turn()
        assert "news" in sono.channels
        assert news.members == []
        assert [packet(wire)["payload"]["message"] for _ in range(3)] == ["one", "two", "three"]
        for call in (lambda: sono.emit(object()), lambda: sono.channel("")):
            with pytest.raises((TypeError, ValueError)):
                call()
        assert client.close(4000)
        assert wire.closed().code == 4000


def test_clients_come_and_go_while_other_threads_look() -> None:
    sono = Sono()
    done = threading.Event()
    failures: list[BaseException] = []

    def look() -> None:
        try:
            while not done.is_set():
                for client in list(sono.clients.values()):
                    channel = client.channel
                    assert channel is None or channel.name == "Home"
                assert all(sono.channel("Home").members)
                sono.emit("x")
                # Wait for the server, which is slower than this.
                sono.channel("Home").publish("x", None).result(PATIENCE)
        except BaseException as error:
            failures.append(error)

    with running(sono_at(sono)) as server:
        thread = threading.Thread(target=look)
        thread.start()
        for _ in range(50):
            Wire(server.address).reset()
        done.set()
        thread.join()
    assert failures == []


def test_serve_client_answers_with_the_browser_client() -> None:
    sono = Sono()
    with running(lambda request: sono.serve_client(request)) as server:
        response = get(server.address, "/sono.js")
    assert status(response) == 200
    head, _, source = response.partition(b"\r\n\r\n")
    assert b"text/javascript" in head
    assert b"export class SonoClient" in source
    assert source == browser_client()


def test_run_serves_clients_the_browser_client_and_nothing_else(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    started: queue.Queue[Any] = queue.Queue()
    original = serve

    def noted(*arguments: Any, **options: Any) -> Any:
        server = original(*arguments, **options)
        started.put(server)
        return server

    monkeypatch.setattr(app, "serve", noted)
    sono = Sono()
    thread = threading.Thread(
        target=lambda: sono.run("127.0.0.1", 0, path="/chat", origins=["https://a.example"])
    )
    thread.start()
    server = started.get(timeout=PATIENCE)
    with Wire(server.address, "/chat?room=1") as wire:
        wire.send(json.dumps(message("hello")))
        assert packet(wire)["payload"]["message"] == "hello"
        assert status(get(server.address, "/sono.js")) == 200
        assert status(get(server.address, "/")) == 404
        server.stop()
        assert wire.closed().code == 1001
    thread.join(PATIENCE)
    assert not thread.is_alive()


def test_run_raises_what_listening_raises() -> None:
    with pytest.raises(OSError):
        Sono().run("192.0.2.1", 0)


def test_a_sono_can_be_served_again() -> None:
    sono = Sono()
    for _ in range(2):
        server = Running(sono_at(sono))
        with Wire(server.address) as wire:
            wire.send(json.dumps(message("x")))
            assert packet(wire)["payload"]["message"] == "x"
            server.server.stop()
            assert wire.closed().code == 1001
        server.join()
        assert server.error is None
        assert sono.clients == {}


def test_a_sono_belongs_to_one_running_server() -> None:
    sono = Sono()
    failures: list[Exception] = []

    def other(request: HTTPRequest) -> None:
        try:
            sono.connect(request)
        except RuntimeError as error:
            failures.append(error)

    with running(sono_at(sono)) as first, Wire(first.address):
        first.turn()
        with running(other) as second, Wire(second.address) as wire:
            assert isinstance(wire.answer, Reject)
            assert wire.answer.status == 500
        assert len(sono.clients) == 1
    assert len(failures) == 1


def test_after_the_servers_end_channels_are_still_created_and_nothing_piles_up() -> None:
    sono = Sono()
    with running(sono_at(sono)) as server, Wire(server.address):
        server.turn()
    sono.emit("to nobody")
    assert sono.channel("late").name in sono.channels
    assert not server.server.call_soon(print)


@pytest.mark.usefixtures("each_server")
def test_health() -> None:
    sono = Sono()
    with running(sono._answer) as server:
        answer = get(server.address, "/healthz")
    assert status(answer) == 200
    assert answer.endswith(b"ok\n")
