"""`Sono.asgi` under an ASGI server in memory."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import threading
import warnings
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from sono_core import Close, Limits, Timeouts
from sono_server import Client, HTTPRequest, Sono
from tests.servers import PATIENCE


class Talk:
    """An ASGI server's side of one connection."""

    def __init__(self) -> None:
        self.sent: asyncio.Queue[Any] = asyncio.Queue()
        self.writable = asyncio.Event()
        self.writable.set()
        self.failure: Exception | None = None
        self._given: asyncio.Queue[Any] = asyncio.Queue()
        self.give("connect")

    def give(self, kind: str, **event: Any) -> None:
        """Let the application receive an event."""
        self._given.put_nowait({"type": f"websocket.{kind}", **event})

    def text(self, event: str, message: object, protocol: str = "message", **rest: Any) -> None:
        payload = {"message": message, **rest}
        packet = {"protocol": protocol, "event": event, "payload": payload}
        self.give("receive", text=json.dumps(packet))

    async def receive(self) -> Any:
        if self.failure:
            raise self.failure
        return await self._given.get()

    async def send(self, event: Any) -> None:
        if self.failure:
            raise self.failure
        await self.writable.wait()
        self.sent.put_nowait(event)

    async def next(self) -> Any:
        """The next event that the application sends."""
        return await asyncio.wait_for(self.sent.get(), PATIENCE)

    async def message(self) -> Any:
        """The message in the next packet that it sends."""
        event = await self.next()
        assert event["type"] == "websocket.send"
        return json.loads(event["text"])["payload"]["message"]


Application = Callable[[Any, Any, Any], Awaitable[None]]


@asynccontextmanager
async def talking(
    application: Application, headers: Any = (), accepted: bool = True, scheme: str = "ws"
) -> AsyncIterator[Talk]:
    """A connection; at the end of the with statement the application has ended."""
    talk = Talk()
    scope = {
        "type": "websocket",
        "path": "/ws",
        "scheme": scheme,
        "headers": [(b"host", b"localhost"), *headers],
        "client": ("127.0.0.1", 1),
    }
    task = asyncio.create_task(application(scope, talk.receive, talk.send))  # type: ignore[arg-type]
    if accepted:
        assert (await talk.next())["type"] == "websocket.accept"
    yield talk
    await asyncio.wait_for(task, PATIENCE)


def run(main: Awaitable[None]) -> None:
    """Anything left open is an error."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        asyncio.run(main)  # type: ignore[arg-type]
        gc.collect()


@pytest.mark.skipif(not hasattr(asyncio, "eager_task_factory"), reason="needs Python 3.12")
def test_tasks_that_begin_at_once() -> None:
    sono = Sono()

    async def main() -> None:
        asyncio.get_running_loop().set_task_factory(asyncio.eager_task_factory)  # type: ignore[attr-defined,unused-ignore]
        async with talking(sono.asgi()) as one, talking(sono.asgi()) as two:
            for number in range(3):
                one.text("message", number)
                assert [await one.message(), await two.message()] == [number, number]
            one.give("disconnect", code=1000)
            two.give("disconnect", code=1000)

    run(main())


def ended(sono: Sono) -> list[Close]:
    """Receives how each client's connection ends."""
    closes: list[Close] = []
    sono.on_disconnect(lambda client, close: closes.append(close))
    return closes


def test_clients_talk_to_each_other() -> None:
    sono = Sono()

    async def main() -> None:
        application = sono.asgi()
        async with talking(application) as one, talking(application) as two:
            one.text("message", "hello")
            assert await one.message() == "hello"
            assert await two.message() == "hello"
            two.text("message", "to others", protocol="broadcast")
            assert await one.message() == "to others"
            sono.emit("to all")
            assert [await one.message(), await two.message()] == ["to all"] * 2
            one.give("receive", bytes=b"packets are text")
            assert "binary-message" in (await one.next())["text"]
            one.give("disconnect", code=1001)
            two.give("disconnect", code=1000)
        assert not sono.clients

    run(main())


def test_who_connects_is_told_to_the_callback() -> None:
    sono = Sono()
    seen: list[object] = []

    async def greet(client: Client) -> None:
        await asyncio.sleep(0)
        seen.append(client.http_request.headers["host"])
        client.send("welcome", "hello")

    async def main() -> None:
        async with talking(sono.asgi(greet)) as talk:
            assert await talk.message() == "hello"
            talk.give("disconnect")

    run(main())
    assert seen == ["localhost"]


@pytest.mark.parametrize(("scheme", "seen"), [("wss", "https"), ("ws", "http")])
def test_who_sends_a_request_is_asked_before_it_is_accepted(scheme: str, seen: str) -> None:
    sono = Sono()
    requests: list[HTTPRequest] = []

    @sono.authenticate
    async def ask(request: HTTPRequest) -> object:
        await asyncio.sleep(0)
        requests.append(request)
        return request.cookies.get("session")

    async def main() -> None:
        application = sono.asgi()
        known = [(b"cookie", b"session=ann")]
        async with talking(application, known, scheme=scheme) as talk:
            assert [client.identity for client in sono.clients.values()] == ["ann"]
            talk.give("disconnect")
        async with talking(application, accepted=False) as talk:
            assert (await talk.next())["type"] == "websocket.close"

    run(main())
    assert [request.scheme for request in requests] == [seen, "http"]
    assert requests[0].client == ("127.0.0.1", 1)


def test_an_option_that_is_the_asgi_servers_is_refused() -> None:
    with pytest.raises(TypeError, match="drain"):
        Sono().asgi(drain=1)


def test_a_foreign_origin_is_refused() -> None:
    async def main() -> None:
        application = Sono().asgi()
        evil = [(b"origin", b"https://evil.example")]
        async with talking(application, evil, accepted=False) as talk:
            assert (await talk.next())["type"] == "websocket.close"

    run(main())


def test_who_is_refused_by_the_server_may_go_on_being_silent() -> None:
    async def main() -> None:
        application = Sono().asgi(max_connections=1)
        async with talking(application) as talk:
            async with talking(application, accepted=False) as other:
                assert (await other.next())["type"] == "websocket.close"
            talk.give("disconnect")

    run(main())


def test_however_many_are_refused_each_is_told() -> None:
    async def main() -> None:
        application = Sono().asgi(max_connections=1)
        async with contextlib.AsyncExitStack() as stack:
            talks = [
                await stack.enter_async_context(talking(application, accepted=not number))
                for number in range(100)
            ]
            for refused in talks[1:]:
                assert (await refused.next())["type"] == "websocket.close"
            talks[0].give("disconnect")

    run(main())


def test_a_close_of_the_application() -> None:
    sono = Sono()
    closes = ended(sono)

    async def main() -> None:
        async with talking(sono.asgi(lambda client: client.close(4000, "go"))) as talk:
            assert await talk.next() == {"type": "websocket.close", "code": 4000, "reason": "go"}
            talk.text("message", "nobody listens")

    run(main())
    assert closes == [Close(4000, "go")]


def test_a_server_that_never_says_that_a_connection_ended() -> None:
    sono = Sono()
    closes = ended(sono)

    async def main() -> None:
        async with talking(sono.asgi(lambda client: client.close(4000, "go"))) as talk:
            assert (await talk.next())["type"] == "websocket.close"

    run(main())
    assert closes == [Close(4000, "go")]


def test_a_function_that_fails_ends_its_connection() -> None:
    sono = Sono()
    closes = ended(sono)

    @sono.on("message")
    def fail(client: Client, message: object) -> None:
        raise RuntimeError("no")

    async def main() -> None:
        async with talking(sono.asgi()) as talk:
            talk.text("message", "x")
            assert (await talk.next())["code"] == 1011
            talk.give("disconnect", code=1011)

    run(main())
    assert [close.code for close in closes] == [1011]


def test_a_slow_coroutine_holds_back_its_own_client() -> None:
    sono = Sono()
    gate = asyncio.Event()
    entered: list[object] = []

    @sono.on("message")
    async def wait(client: Client, message: object) -> None:
        entered.append(message)
        if message == "slow":
            await gate.wait()

    async def main() -> None:
        application = sono.asgi()
        async with talking(application) as one, talking(application) as two:
            one.text("message", "slow")
            one.text("message", "after it")
            two.text("message", "quick")
            assert [await one.message(), await two.message()] == ["quick"] * 2
            assert "after it" not in entered
            gate.set()
            assert [await one.message(), await one.message()] == ["slow", "after it"]
            one.give("disconnect")
            two.give("disconnect")

    run(main())


def test_a_peer_that_reads_nothing_is_given_up_and_the_others_are_not() -> None:
    sono = Sono()
    closes = ended(sono)
    limits = Limits(max_queue=100_000)

    async def main() -> None:
        application = sono.asgi(limits=limits)
        async with talking(application) as slow, talking(application) as quick:
            slow.writable.clear()
            for _ in range(20):
                sono.emit("x" * 10_000)
                assert await quick.message() == "x" * 10_000
            await until(lambda: bool(closes))
            slow.writable.set()
            quick.give("disconnect")
            while (event := await slow.next())["type"] == "websocket.send":
                pass
            assert event == {"type": "websocket.close", "code": 4008}

    run(main())
    assert closes[0].code == 4008


def test_a_peer_that_is_given_up_for_memory_is_told_so() -> None:
    sono = Sono()
    closes = ended(sono)

    async def main() -> None:
        application = sono.asgi(limits=Limits(max_memory=100_000))
        async with talking(application) as talk:
            talk.writable.clear()
            while not closes:
                sono.emit("x" * 10_000)
                await asyncio.sleep(0)
            talk.writable.set()
            while (event := await talk.next())["type"] == "websocket.send":
                pass
            assert event == {"type": "websocket.close", "code": 1013}

    run(main())
    assert closes[0].code == 1013


def test_a_peer_whose_connection_is_aborted_is_told_a_code_that_may_be_sent() -> None:
    sono = Sono()
    closes = ended(sono)

    async def main() -> None:
        async with talking(sono.asgi()) as talk:
            next(iter(sono.clients.values()))._socket._session.abort()
            await until(lambda: bool(closes))
            assert await talk.next() == {"type": "websocket.close", "code": 4008}

    run(main())
    assert closes[0].code == 1006


def test_a_peer_that_reads_nothing_for_long_is_given_up() -> None:
    sono = Sono()
    closes = ended(sono)
    timeouts = Timeouts(write_stall=0.02, close=0.02)

    async def main() -> None:
        async with talking(sono.asgi(timeouts=timeouts)) as talk:
            talk.writable.clear()
            sono.emit("x")

    run(main())
    assert [close.code for close in closes] == [4008]


def test_nothing_is_read_from_a_peer_that_does_not_read() -> None:
    sono = Sono()

    async def main() -> None:
        async with talking(sono.asgi(limits=Limits(pause_reading_at=1000))) as talk:
            talk.writable.clear()
            for number in range(20):
                talk.text("message", f"{number} {'x' * 1000}")
            for _ in range(100):
                await asyncio.sleep(0)
            assert talk._given.qsize() >= 17
            talk.writable.set()
            for number in range(20):
                assert (await talk.message()).startswith(f"{number} ")
            talk.give("disconnect")

    run(main())


@pytest.mark.slow
def test_a_flood_lets_others_have_their_turn() -> None:
    sono = Sono()
    sono.on("message")(lambda client, message: False)

    async def main() -> None:
        async with talking(sono.asgi()) as talk:
            for _ in range(5000):
                talk.text("message", "x")
            turns = 0
            while not talk._given.empty():
                turns += 1
                await asyncio.sleep(0)
            assert turns >= 4
            talk.give("disconnect")

    run(main())


@pytest.mark.parametrize("told", [True, False])
def test_a_server_that_fails_to_send(told: bool) -> None:
    sono = Sono()
    closes = ended(sono)

    async def main() -> None:
        async with talking(sono.asgi()) as talk:
            talk.failure = OSError("gone")
            if told:
                talk.give("disconnect", code=4002)
            sono.emit("x")

    run(main())
    assert [close.code for close in closes] == [4002 if told else 1006]


def test_a_server_that_fails_to_receive() -> None:
    sono = Sono()
    closes = ended(sono)

    async def main() -> None:
        async with talking(sono.asgi()) as talk:
            talk.failure = RuntimeError("no more")
            talk.give("receive", text="x")

    run(main())
    assert [close.code for close in closes] == [1006]


@pytest.mark.parametrize("turns", range(8))
def test_cancelled_it_leaves_nothing(turns: int) -> None:
    sono = Sono()
    closes = ended(sono)
    connected: list[Client] = []
    sono.on_connect(connected.append)

    async def main() -> None:
        talk = Talk()
        scope = {"type": "websocket", "path": "/ws", "headers": []}
        task = asyncio.create_task(sono.asgi()(scope, talk.receive, talk.send))  # type: ignore[arg-type]
        for _ in range(turns):
            await asyncio.sleep(0)
        sono.emit("x")
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert [close.code for close in closes] == [1006] * len(connected)
        assert not sono.clients
        assert len(asyncio.all_tasks()) == 1

    run(main())


def test_other_threads_may_send() -> None:
    sono = Sono()

    async def main() -> None:
        async with talking(sono.asgi()) as talk:
            thread = threading.Thread(target=sono.emit, args=("from a thread",))
            thread.start()
            assert await talk.message() == "from a thread"
            thread.join()
            talk.give("disconnect")

    run(main())


def test_one_loop_after_the_other() -> None:
    sono = Sono()
    application = sono.asgi()

    async def main() -> None:
        async with talking(application) as talk:
            talk.text("message", "x")
            assert await talk.message() == "x"
            talk.give("disconnect")

    run(main())
    thread = threading.Thread(target=run, args=(main(),))
    thread.start()
    thread.join()
    run(main())


# -- other scopes -------------------------------------------------------------------------------


async def answered(method: str, path: str, version: str = "1.1", headers: Any = ()) -> Any:
    """The status, the header fields and the body of the answer to a plain request."""
    sent: list[Any] = []

    async def send(event: Any) -> None:
        sent.append(event)

    scope = {"type": "http", "method": method, "path": path, "http_version": version}
    await Sono().asgi()({**scope, "headers": list(headers)}, Talk().receive, send)
    start, body = sent
    return start["status"], dict(start["headers"]), body["body"]


@pytest.mark.parametrize(
    ("path", "version", "status"),
    [("/sono.js", "1.1", 200), ("/ws", "1.1", 426), ("/ws", "1.0", 426), ("/ws", "2", 400)],
)
def test_a_plain_request(path: str, version: str, status: int) -> None:
    found, headers, body = asyncio.run(answered("GET", path, version))
    assert found == status
    assert int(headers[b"content-length"]) == len(body)
    assert (b"class SonoClient" in body) is (status == 200)
    assert headers.get(b"upgrade") == (b"websocket" if status == 426 else None)


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("OPTIONS", "/ws", 204), ("OPTIONS", "/sono.js", 204), ("POST", "/sono.js", 405)],
)
def test_a_plain_request_of_another_method(method: str, path: str, status: int) -> None:
    found, headers, body = asyncio.run(answered(method, path))
    assert found == status
    assert headers[b"allow"] == b"GET, HEAD, OPTIONS"
    assert (b"content-length" in headers) is bool(body) is (status == 405)


def test_head_gets_what_get_gets_without_the_body() -> None:
    whole, head = (asyncio.run(answered(method, "/sono.js")) for method in ("GET", "HEAD"))
    assert head == (*whole[:2], b"")


def test_who_has_the_browser_client_is_not_sent_it_again() -> None:
    tag = asyncio.run(answered("GET", "/sono.js"))[1][b"etag"]
    again = asyncio.run(answered("GET", "/sono.js", headers=[(b"if-none-match", tag)]))
    assert (again[0], again[1][b"etag"], again[2]) == (304, tag, b"")
    assert b"content-length" not in again[1]


@pytest.mark.parametrize(
    ("server", "options", "refused"),
    [
        (("127.0.0.1", 80), {}, True),
        (["::1", 80], {}, True),
        (("192.0.2.1", 80), {}, False),
        (("testserver", 80), {}, False),
        (("/run/sono", None), {}, False),
        (None, {}, False),
        (("127.0.0.1", 80), {"hosts": ["evil.example"]}, False),
        (("192.0.2.1", 80), {"hosts": ["chat.example"]}, True),
    ],
)
def test_pages_of_names_that_are_not_the_servers_are_foreign(
    server: Any, options: Any, refused: bool
) -> None:
    async def main() -> None:
        talk = Talk()
        headers = [(b"host", b"evil.example"), (b"origin", b"http://evil.example")]
        scope = {"type": "websocket", "path": "/ws", "headers": headers, "server": server}
        task = asyncio.create_task(Sono().asgi(**options)(scope, talk.receive, talk.send))  # type: ignore[arg-type]
        kind = (await talk.next())["type"]
        assert kind == ("websocket.close" if refused else "websocket.accept")
        talk.give("disconnect", code=1000)
        await task

    run(main())


def test_the_life_of_an_application() -> None:
    sent: list[Any] = []
    given = [{"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}]

    async def receive() -> Any:
        return given.pop(0)

    async def send(event: Any) -> None:
        sent.append(event["type"])

    async def main() -> None:
        await Sono().asgi()({"type": "lifespan"}, receive, send)

    run(main())
    assert sent == ["lifespan.startup.complete", "lifespan.shutdown.complete"]


def test_a_scope_that_nobody_knows_is_refused() -> None:
    async def main() -> None:
        with pytest.raises(ValueError, match="mail"):
            await Sono().asgi()({"type": "mail"}, Talk().receive, Talk().send)

    run(main())


async def until(done: Callable[[], bool]) -> None:
    """Wait until something has happened in the loop."""
    for _ in range(5000):
        if done():
            return
        await asyncio.sleep(0.001)
    raise AssertionError("it never happened")
