"""`authenticate` decides before the 101 who may become a client."""

from __future__ import annotations

import asyncio
import json
import logging
import threading
from typing import Any

import pytest

from sono_core import Headers, Reject, Timeouts
from sono_core.events import Accept
from sono_core.websocket.frames import encode_frame
from sono_core.websocket.opcodes import TEXT
from sono_server import Client, HTTPRequest, Refused, Sono
from tests.servers import PATIENCE, Wire, running

COOKIE = "session=ann; theme=dark; session=other; broken; empty="


def packet(event: str, message: object) -> str:
    payload = {"message": message}
    return json.dumps({"protocol": "message", "event": event, "payload": payload})


def answer(server: Any, **headers: str) -> Any:
    """The response to an upgrade: `Accept` or `Reject`."""
    with Wire(server.address, "/ws?room=1", headers=Headers(headers)) as wire:
        return wire.answer


def by_cookie(request: HTTPRequest) -> object:
    return request.cookies.get("session")


@pytest.mark.usefixtures("each_server")
def test_what_it_returns_is_the_clients_identity() -> None:
    sono = Sono()
    sono.authenticate(by_cookie)

    @sono.on("who")
    def who(client: Client, message: object) -> bool:
        client.send("who", client.identity)
        return False

    with running(sono.connect) as server:
        with Wire(server.address, headers=Headers({"cookie": COOKIE})) as wire:
            wire.send(packet("who", ""))
            assert json.loads(wire.message())["message"] == "ann"
        refused = answer(server)
        assert (refused.status, refused.body) == (403, b"not allowed\n")
        assert isinstance(answer(server, cookie="session=bob"), Accept)


@pytest.mark.usefixtures("each_server")
def test_it_may_refuse_with_another_status() -> None:
    sono = Sono()

    @sono.authenticate
    def ask(request: HTTPRequest) -> object:
        assert request.query == "room=1"
        raise Refused(401, "who are you?", {"www-authenticate": "Bearer"})

    with running(sono.connect) as server:
        refused = answer(server)
    assert isinstance(refused, Reject)
    assert (refused.status, refused.body) == (401, b"who are you?")
    assert refused.headers["www-authenticate"] == "Bearer"


@pytest.mark.usefixtures("each_server")
def test_if_it_fails_the_request_is_refused_and_the_server_goes_on(
    caplog: pytest.LogCaptureFixture,
) -> None:
    sono = Sono()

    @sono.authenticate
    def fail(request: HTTPRequest) -> object:
        if "cookie" in request.headers:
            return "somebody"
        raise RuntimeError("secret")

    with caplog.at_level(logging.CRITICAL, "sono"), running(sono.connect) as server:
        refused = answer(server)
        assert (refused.status, refused.body) == (500, b"internal error\n")
        assert isinstance(answer(server, cookie="x=y"), Accept)


@pytest.mark.usefixtures("each_server")
@pytest.mark.parametrize(
    "refused", [Refused(1000), Refused(302, headers={"location": "/\r\nset-cookie: a"})]
)
def test_a_refusal_that_cannot_be_sent_is_a_failure_and_the_server_goes_on(
    refused: Refused, caplog: pytest.LogCaptureFixture
) -> None:
    sono = Sono()

    @sono.authenticate
    def ask(request: HTTPRequest) -> object:
        if "cookie" in request.headers:
            return "somebody"
        raise refused

    with caplog.at_level(logging.CRITICAL, "sono"), running(sono.connect) as server:
        assert answer(server).status == 500
        assert isinstance(answer(server, cookie="x=y"), Accept)


@pytest.mark.usefixtures("each_server")
@pytest.mark.parametrize("nobody", [None, False])
def test_neither_none_nor_false_is_anybody(nobody: object) -> None:
    sono = Sono()
    sono.authenticate(lambda request: nobody)
    with running(sono.connect) as server:
        assert answer(server).status == 403


@pytest.mark.usefixtures("each_server")
def test_what_would_have_to_be_awaited_and_does_not_look_so_lets_nobody_in(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def ask(request: HTTPRequest) -> object:
        raise Refused(401)

    sono = Sono()
    sono.authenticate(lambda request: ask(request))
    with caplog.at_level(logging.CRITICAL, "sono"), running(sono.connect) as server:
        assert answer(server).status == 500


def test_an_object_that_is_called_as_a_coroutine_function_is_awaited(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("tests.servers.kind", "asyncio")

    class Ask:
        async def __call__(self, request: HTTPRequest) -> object:
            await asyncio.sleep(0)
            return by_cookie(request)

    sono = Sono()
    sono.authenticate(Ask())
    with running(sono.connect) as server:
        assert answer(server).status == 403
        assert isinstance(answer(server, cookie="session=bob"), Accept)


def test_it_has_the_time_of_the_handshake(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.servers.kind", "asyncio")
    sono = Sono()
    cancelled = threading.Event()

    @sono.authenticate
    async def never(request: HTTPRequest) -> object:
        try:
            return await asyncio.Event().wait()
        finally:
            cancelled.set()

    with (
        running(sono.connect, timeouts=Timeouts(handshake=0.2)) as server,
        Wire(server.address, upgrade=False) as wire,
    ):
        wire.flush()
        assert cancelled.wait(PATIENCE)


@pytest.mark.usefixtures("each_server")
def test_nobody_is_asked_in_vain() -> None:
    asked: list[HTTPRequest] = []
    sono = Sono()
    sono.authenticate(asked.append)
    with running(sono.connect) as server:
        assert answer(server, origin="https://evil.example").status == 403
    assert asked == []


def test_a_coroutine_function_is_awaited_and_what_comes_meanwhile_is_not_looked_at(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("tests.servers.kind", "asyncio")
    sono = Sono()
    gates: list[asyncio.Event] = []
    log: list[object] = []

    @sono.authenticate
    async def ask(request: HTTPRequest) -> object:
        gates.append(asyncio.Event())
        await gates[-1].wait()
        log.append("let in")
        return by_cookie(request)

    @sono.on("join")
    def join(client: Client, message: object) -> bool:
        log.append(client.identity)
        client.send("joined", message)
        return False

    with running(sono.connect) as server:
        headers = Headers({"cookie": COOKIE})
        with Wire(server.address, upgrade=False, headers=headers) as wire:
            upgrade = wire.connection.data_to_send()
            wire.sock.sendall(upgrade + masked(packet("join", "now")))
            while not gates:
                pass
            assert log == []
            server.call(gates[0].set)
            assert isinstance(wire.next(), Accept)
            assert json.loads(wire.message())["message"] == "now"
    assert log == ["let in", "ann"]


def masked(text: str) -> bytes:
    return encode_frame(TEXT, text.encode(), mask=b"abcd")


def test_a_server_of_plain_functions_says_so() -> None:
    sono = Sono()

    @sono.authenticate
    async def ask(request: HTTPRequest) -> object:
        return "x"

    with pytest.raises(TypeError, match="coroutine function"):
        sono.run(port=0)


def test_there_is_one_such_function() -> None:
    sono = Sono()
    sono.authenticate(by_cookie)
    with pytest.raises(ValueError, match="before"):
        sono.authenticate(by_cookie)


def test_cookies() -> None:
    seen: list[dict[str, str]] = []

    def look(request: HTTPRequest) -> None:
        seen.append(request.cookies)
        request.respond(204)

    lines = Headers([("cookie", COOKIE), ("cookie", "theme=light; more=1")])
    with running(look) as server, Wire(server.address, headers=lines) as wire:
        assert isinstance(wire.answer, Reject)
    assert seen == [{"session": "ann", "theme": "dark", "empty": "", "more": "1"}]
