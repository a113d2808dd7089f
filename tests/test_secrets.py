"""No secret is in a log, an error or a repr, on any server and client.

Every request carries the same secret wherever one may be; all that is written is searched for it.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import pytest

from sono_client import ConnectError, ConnectionClosed, SonoClient, connect, connect_async
from sono_client.options import Options
from sono_core import Limits, LocalProtocolError
from sono_core.tls import server_context
from sono_server import HTTPRequest, Sono, WebSocket
from tests import certificates
from tests.processes import run
from tests.servers import Wire, accept_echo, read_all, running

SECRET = "s3cr3t"
HEADERS = {
    "Authorization": f"Bearer {SECRET}",
    "Cookie": f"session={SECRET}",
    "X-Api-Key": SECRET,
    "Referer": f"https://h/?{SECRET}",
}
QUERY = f"?token={SECRET}"
PACKET = json.dumps({"protocol": "message", "payload": {"message": SECRET}})
OFFER: dict[str, Any] = {"subprotocols": [SECRET], "headers": HEADERS, "proxy": None}


@pytest.fixture
def written(
    caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> Iterator[Callable[[], str]]:
    """What has been written: the log, from DEBUG on, and both standard streams."""
    with caplog.at_level(logging.DEBUG):
        yield lambda: "".join((caplog.text, *capfd.readouterr()))


def reprs(root: object) -> Iterator[str]:
    """The repr of an object, and of all of Sono's that its public attributes lead to."""
    found, waiting = {id(root)}, [root]
    while waiting:
        here = waiting.pop()
        if type(here).__module__.startswith("sono_"):
            yield repr(here)
            names = [name for name in dir(here) if not name.startswith("_")]
            inside: Iterable[object] = [getattr(here, name, None) for name in names]
        elif isinstance(here, Mapping):
            inside = here.values()
        elif isinstance(here, (list, tuple, set)):
            inside = here
        else:
            continue
        for each in inside:
            if id(each) not in found and not isinstance(each, (str, bytes, type)):
                found.add(id(each))
                waiting.append(each)


def assert_discreet(root: object) -> None:
    shown = list(reprs(root))
    assert shown
    assert not [text for text in shown if SECRET in text]


def error_of(call: Callable[[], object], kind: Any = ConnectError) -> str:
    """All that an exception says: its text, its repr and its traceback."""
    with pytest.raises(kind) as raised:
        call()
    lines = traceback.format_exception(raised.type, raised.value, raised.tb)
    code = [line for line in lines if not line.startswith("  File")]
    return "".join((str(raised.value), repr(raised.value), *code))


# -- servers --------------------------------------------------------------------------------------


@pytest.mark.usefixtures("each_server")
def test_what_a_server_logs_and_shows(written: Callable[[], str]) -> None:
    sono = Sono(open_channels=True, limits=Limits(max_queue=10_000))
    seen: list[object] = []

    @sono.on("message")
    def on_message(client: object, message: object) -> None:
        raise RuntimeError("of the application")

    @sono.on_connect
    def on_connect(client: object) -> None:
        seen.append(client)

    def fails(request: HTTPRequest) -> None:
        raise RuntimeError("of the application")

    def answer(request: HTTPRequest) -> None:
        seen.append(request)
        if request.path == "/ws":
            sono.connect(request)
        elif request.path == "/fails":
            sono.connect(request, lambda: 1 / 0)
        elif request.path == "/slow":
            ws = request.accept()
            while ws.send(b"x" * 100_000):
                pass
        elif request.path == "/plain":
            seen.append(request.accept(lambda ws, message: fails(request)))
        else:
            request.respond(403)

    limits = Limits(max_queue=10_000, max_message=1000)
    with running(answer, limits=limits) as server:
        url = f"ws://127.0.0.1:{server.address[1]}"
        for path in ("/ws", "/fails", "/plain"):
            with connect(f"{url}{path}{QUERY}", **OFFER) as ws, contextlib.suppress(Exception):
                ws.send(f'{{"protocol": "{SECRET}"}}')
                ws.send(PACKET)
                ws.recv(10)
                ws.recv(10)
            assert ws.closed
            assert SECRET not in ws.closed.reason
            assert_discreet(ws)
        with Wire(server.address, f"/slow{QUERY}") as wire, contextlib.suppress(OSError):
            read_all(wire.sock)
        server.server.call_soon(lambda: 1 / 0)
        error = error_of(lambda: connect(f"{url}/else{QUERY}", **OFFER))
        foreign = {**HEADERS, "Origin": f"https://{SECRET}.example"}
        error += error_of(lambda: connect(f"{url}/ws{QUERY}", headers=foreign, proxy=None))
        server.call(lambda: [assert_discreet(each) for each in (*seen, sono)])
        assert_discreet(server.server)
    log = written()
    assert SECRET not in log + error
    for said in ("/slow closed with 4008", "connect callback failed", "call from another thread"):
        assert said in log


def test_what_an_application_of_asgi_and_a_stream_log(written: Callable[[], str]) -> None:
    sono = Sono()
    seen: list[object] = []
    sono.on_connect(seen.append)
    sono.on("message")(lambda client, message: 1 / 0)
    fields = [(name.lower().encode(), value.encode()) for name, value in HEADERS.items()]
    scope = {
        "type": "websocket",
        "path": "/ws",
        "query_string": QUERY[1:].encode(),
        "headers": [*fields, (b"host", b"h")],
        "subprotocols": [SECRET],
        "client": ("127.0.0.1", 1),
    }
    events = iter(({"type": "websocket.connect"}, {"type": "websocket.receive", "text": PACKET}))

    async def receive() -> Any:
        for event in events:
            return event
        raise OSError("the server's own")

    async def send(event: Any) -> None:
        if event["type"] == "websocket.send":
            raise OSError("the server's own")

    async def main() -> None:
        await sono.asgi()(scope, receive, send)
        async with await asyncio.start_server(sono.handle_stream, "127.0.0.1") as server:
            port = server.sockets[0].getsockname()[1]
            async with connect_async(f"ws://127.0.0.1:{port}/ws{QUERY}", **OFFER) as ws:
                await ws.send(PACKET)
                with pytest.raises(ConnectionClosed):
                    await ws.recv()
                assert_discreet(ws)

    asyncio.run(main(), debug=True)
    assert len(seen) == 2
    assert_discreet(seen)
    log = written()
    assert "a handler failed" in log
    assert "failed to receive" in log
    assert SECRET not in log


# -- clients --------------------------------------------------------------------------------------


def opened(url: str, **options: Any) -> None:
    connect(url, **options).close()


def opened_async(url: str, **options: Any) -> None:
    async def main() -> None:
        async with connect_async(url, **options):
            pass

    asyncio.run(main())


CLIENTS = pytest.mark.parametrize("client", [opened, opened_async])


@CLIENTS
@pytest.mark.parametrize(
    "location",
    [
        f"https://alice:{SECRET}@h/{QUERY}",
        f"ftp://h/{QUERY}",
        f"ws://h:port/{QUERY}",
        f"ws://alice:{SECRET}/@h",
        f"//alice:{SECRET}@/{QUERY}#{SECRET}",
    ],
)
def test_what_an_error_says_of_a_redirect(client: Callable[..., None], location: str) -> None:
    with running(lambda request: request.respond(302, b"", {"Location": location})) as server:
        url = f"ws://127.0.0.1:{server.address[1]}/{QUERY}"
        error = error_of(lambda: client(url, **OFFER))
        error += error_of(lambda: client(url, **OFFER, max_redirects=0))
    assert SECRET not in error


@CLIENTS
def test_what_an_error_says_when_nobody_answers(client: Callable[..., None]) -> None:
    url = f"ws://127.0.0.1:1/{QUERY}"
    error = error_of(lambda: client(url, **OFFER))
    through = {**OFFER, "proxy": f"http://alice:{SECRET}@127.0.0.1:1"}
    error += error_of(lambda: client(url, **through))
    error += error_of(lambda: client(f"wss://127.0.0.1:1/{QUERY}", **through))
    with running(accept_echo) as server:  # no proxy, and no TLS
        port = server.address[1]
        through["proxy"] = f"http://alice:{SECRET}@127.0.0.1:{port}"
        error += error_of(lambda: client(url, **through))
        error += error_of(lambda: client(f"wss://127.0.0.1:{port}/{QUERY}", **OFFER))
    assert SECRET not in error


@CLIENTS
@pytest.mark.parametrize(
    ("url", "options"),
    [
        (f"ws://alice:{SECRET}@h/", {}),
        (f"ws://h:80x/{QUERY}", {}),
        (f"ws://alice:{SECRET}/@h/", {}),
        (f"http://h/{QUERY}", {}),
        (f"ws://h/{QUERY}#{SECRET}", {}),
        (f"ws://a..b/{QUERY}", {}),
        (f"ws://h/{QUERY}", {"ssl": server_context}),
        (f"ws://h/{QUERY}", {"subprotocols": [f"a {SECRET}"]}),
        (f"ws://h/{QUERY}", {"headers": {"Authorization": f"{SECRET}\n"}}),
        (f"ws://h/{QUERY}", {"headers": {f"Authorization: {SECRET}": ""}}),
        (f"ws://h/{QUERY}", {"proxy": [SECRET]}),
        (f"ws://h/{QUERY}", {"proxy": f"ftp://alice:{SECRET}@h"}),
        (f"ws://h/{QUERY}", {"proxy": f"http://alice:{SECRET}@h/path"}),
    ],
)
def test_what_an_error_says_of_an_argument(
    client: Callable[..., None], url: str, options: dict[str, Any]
) -> None:
    kinds = (ValueError, TypeError, LocalProtocolError)
    assert SECRET not in error_of(lambda: client(url, **options), kinds)


def test_what_options_and_a_client_show() -> None:
    assert_discreet(Options(**{**OFFER, "proxy": f"http://alice:{SECRET}@h"}))
    sono = Sono()
    with running(sono.connect) as server:
        url = f"ws://127.0.0.1:{server.address[1]}/{QUERY}"
        with SonoClient(url, **OFFER) as client:
            client.message(SECRET)
            assert_discreet(client)
            for incoming in client:
                assert_discreet(incoming)
                break


def test_what_an_error_says_of_a_key(tmp_path: Any) -> None:
    chain, key = certificates.save(tmp_path)
    with open(key, "wb") as file:
        file.write(SECRET.encode())
    assert SECRET not in error_of(lambda: server_context(chain, key, SECRET), ValueError)


# -- the command line ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    "arguments",
    [
        ["connect", f"ws://alice:{SECRET}@h/{QUERY}"],
        ["connect", f"ws://127.0.0.1:1/{QUERY}", "--header", f"Cookie: {SECRET}"],
        ["connect", f"ws://127.0.0.1:1/{QUERY}", "--header", SECRET],
        ["connect", f"ws://127.0.0.1:1/{QUERY}", f"ws://127.0.0.1:1/{QUERY}"],
        ["connect", f"ws://127.0.0.1:1/{QUERY}", "--token", SECRET],
        ["connect", f"ws://127.0.0.1:1/{QUERY}", f"--token={SECRET}"],
        ["emit", f"ws://127.0.0.1:1/{QUERY}", SECRET],
        ["emit", f"ws://127.0.0.1:1/{QUERY}", f"{{{SECRET}", "--json"],
        ["listen", f"ws://127.0.0.1:1/{QUERY}"],
    ],
)
def test_what_a_command_says(arguments: list[str]) -> None:
    status, output, errors = run("-m", "sono_server", *arguments)
    assert status in (1, 2)
    assert errors
    assert SECRET not in output + errors


def test_what_a_command_says_of_a_connection() -> None:
    def answer(request: HTTPRequest) -> None:
        ws: WebSocket = request.accept()
        ws.close(4000, "enough")

    with running(answer) as server, Wire(server.address):
        url = f"ws://127.0.0.1:{server.address[1]}/{QUERY}"
        _, output, errors = run("-m", "sono_server", "connect", "--raw", url)
    assert "closed with 4000: enough" in errors
    assert SECRET not in output + errors
