"""`AsyncSonoClient` with the real server, and with servers that drop it. No test sleeps."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from sono_client import ConnectError, ConnectionClosed
from sono_core import Close
from sono_core.connect.backoff import Backoff, Reconnection
from sono_server import Client, HTTPRequest, Sono
from tests.async_peers import CLOSE, TEXT, Loop, Peer, eventually, frame, scripted, serving, turns
from tests.client.classic import AsyncClassicClient as AsyncSonoClient


class Server:
    """A Sono server whose clients can be dropped."""

    def __init__(self) -> None:
        self.sono = Sono(open_channels=True)
        self.url = ""
        self.joined: list[Client] = []

    def handle(self, request: HTTPRequest) -> None:
        self.sono.connect(request, self.joined.append)

    def drop(self, code: int, reason: str = "") -> None:
        """Close all connections."""
        for client in list(self.sono.clients.values()):
            client.close(code, reason)

    def cut_off(self) -> None:
        """End all connections without a Close."""
        for client in list(self.sono.clients.values()):
            if client._socket.open:
                client._socket._session.abort()


@contextlib.asynccontextmanager
async def served() -> AsyncIterator[Server]:
    server = Server()
    async with serving(server.handle) as server.url:
        yield server


def patient(client: AsyncSonoClient, draw: Callable[[], float] = lambda: 0.5) -> list[float]:
    """Let a client reconnect without waiting, and record how long it would have waited."""
    delays: list[float] = []

    async def sleep(delay: float) -> None:
        delays.append(delay)
        await asyncio.sleep(0)

    client._sleep = sleep
    client._reconnection = Reconnection(Backoff(random=draw))
    return delays


def packet(event: str, message: object) -> bytes:
    text = json.dumps({"protocol": event, "payload": {"message": message, "from": "x"}})
    return frame(TEXT, text.encode())


# -- events -------------------------------------------------------------------------------------


def test_messages_to_the_channel_to_others_and_to_one(run: Loop) -> None:
    async def main() -> None:
        async with (
            served() as server,
            AsyncSonoClient(server.url) as one,
            AsyncSonoClient(server.url) as two,
        ):
            [id_of_two] = await two.grab("myid")
            events_of_one, events_of_two = aiter(one), aiter(two)
            await one.message({"a": [1]}, "greeting")
            assert (await anext(events_of_one)).payload["message"] == {"a": [1]}
            assert (await anext(events_of_two)).event == "greeting"
            await one.broadcast("others")
            assert (await anext(events_of_two)).payload["message"] == "others"
            await two.change_channel("elsewhere")
            assert await two.grab("mychannel") == ["elsewhere"]
            await one.direct_message("you", id_of_two)
            while (incoming := await anext(events_of_two)).event == "grab":
                pass
            assert incoming.payload["message"] == "you"
            with pytest.raises(ValueError):
                await one.message("x", "grab")
            with pytest.raises(TypeError):
                await one.grab(5)  # type: ignore[arg-type]

    run(main())


def test_callbacks_of_both_kinds_are_called_in_order_and_one_after_the_other(run: Loop) -> None:
    seen: list[Any] = []

    async def main() -> None:
        async with served() as server, AsyncSonoClient(server.url) as client:

            async def slow(payload: Any) -> None:
                seen.append(("begins", payload["message"]))
                await turns(5)
                seen.append(("ends", payload["message"]))

            client.on("message", lambda payload: seen.append(("plain", payload["message"])))
            client.on("message", slow)
            for number in range(3):
                await client.message(number)
            await eventually(lambda: len(seen) == 9)
            client.off("message", slow)
            await client.message(3)
            await eventually(lambda: len(seen) == 10)

    run(main())
    kinds = ("plain", "begins", "ends")
    assert seen == [*((kind, n) for n in range(3) for kind in kinds), ("plain", 3)]


@pytest.mark.parametrize("how", ["plain", "coroutine", "cancelled"])
def test_a_callback_that_fails_is_logged_and_the_next_is_called(
    run: Loop, how: str, caplog: pytest.LogCaptureFixture
) -> None:
    seen: list[Any] = []

    async def main() -> None:
        async with served() as server, AsyncSonoClient(server.url) as client:

            def fail(payload: object) -> None:
                raise RuntimeError("oops")

            async def fail_later(payload: object) -> None:
                await turns(1)
                if how == "coroutine":
                    raise RuntimeError("oops")
                raise asyncio.CancelledError

            client.on("message", fail if how == "plain" else fail_later)
            client.on("message", lambda payload: seen.append(payload["message"]))
            await client.message("x")
            await client.message("y")
            await eventually(lambda: len(seen) == 2)

    with caplog.at_level(logging.ERROR, "sono"):
        run(main())
    assert seen == ["x", "y"]
    assert caplog.text.count("RuntimeError: oops") == (0 if how == "cancelled" else 2)


def test_a_listing_may_be_asked_for_inside_a_callback_however_much_waits(run: Loop) -> None:
    ids: list[Any] = []

    async def main() -> None:
        async with served() as server, AsyncSonoClient(server.url) as client:

            async def ask(payload: Any) -> None:
                await turns(1)
                if payload["message"] == 0:
                    transport = client.socket._client_transport
                    # The client takes no more, and some wait in the transport.
                    await eventually(lambda: len(client._callbacks) == 1024)
                    await eventually(lambda: len(transport.messages) > 10)
                ids.extend(await client.grab("myid"))

            client.on("message", ask)
            for number in range(1500):
                await client.message(number)
            await eventually(lambda: len(ids) == 1500)

    run(main())
    assert len(set(ids)) == 1


def test_several_questions_get_their_own_answers(run: Loop) -> None:
    async def main() -> None:
        async with served() as server, AsyncSonoClient(server.url) as client:
            kinds = ("mychannel", "channels", "myid", "mychannelclients") * 5
            answers = await asyncio.gather(*map(client.grab, kinds))
            assert answers[0] == ["Home"]
            assert answers[2] == answers[3]
            for cancelled in range(3):
                task = asyncio.ensure_future(client.grab("myid"))
                await turns(cancelled)
                task.cancel()
            await client.change_channel("x")
            assert await client.grab("mychannel") == ["x"]
            assert await client.grab("myid") == answers[2]

    run(main())


# -- iteration ----------------------------------------------------------------------------------


def test_each_iteration_gets_all_events_from_its_beginning_on(run: Loop) -> None:
    async def main() -> None:
        async with served() as server, AsyncSonoClient(server.url) as client:
            first, second = aiter(client), aiter(client)
            await client.message("a")
            assert [(await anext(it)).payload["message"] for it in (first, second)] == ["a"] * 2

    run(main())


def test_an_iteration_that_was_left_holds_nothing_up(run: Loop) -> None:
    seen: list[Any] = []

    async def main() -> None:
        async with served() as server, AsyncSonoClient(server.url) as client:
            client.on("message", seen.append)
            await client.message("a")
            async for _ in client:
                break
            events = aiter(client)
            for number in range(3000):
                await client.message(number)
            await eventually(lambda: len(seen) >= 1024)
            await asyncio.sleep(0.02)
            assert len(seen) < 1100  # held up by `events`, which nobody reads
            del events
            await eventually(lambda: len(seen) == 3001)

    run(main())


@pytest.mark.parametrize(("code", "raises"), [(1000, False), (1008, True), (4001, True)])
def test_iteration_and_run_end_as_the_connection_did(run: Loop, code: int, raises: bool) -> None:
    async def main() -> None:
        async with served() as server, AsyncSonoClient(server.url) as client:
            delays = patient(client)

            async def iterate() -> None:
                async for _ in client:
                    pass

            tasks = [asyncio.ensure_future(f()) for f in (iterate, client.run)]
            await turns(3)
            server.drop(code, "because")
            results = await asyncio.gather(*tasks, return_exceptions=True)
            if raises:
                assert [str(result) for result in results] == [f"closed with {code}: because"] * 2
                with pytest.raises(ConnectionClosed):
                    await client.run()
            else:
                assert results == [None, None]
            assert delays == []
            with pytest.raises(ConnectionClosed):
                await client.message("x")
            with pytest.raises(ConnectionClosed):
                await client.grab("myid")

    run(main())


# -- coming back --------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["cut off", 1001, 1011, 1012])
def test_a_lost_client_comes_back_into_its_channel(run: Loop, how: Any) -> None:
    seen: list[Any] = []

    async def main() -> None:
        async with served() as server, AsyncSonoClient(server.url) as client:
            delays = patient(client)
            client.on_disconnect(lambda close: seen.append(close.code))

            @client.on_connect
            async def connected() -> None:
                seen.append(await client.grab("mychannel"))

            await client.change_channel("news")
            [before] = await client.grab("myid")
            if how == "cut off":
                server.cut_off()
            else:
                server.drop(how)
            await eventually(lambda: len(seen) == 2)
            assert await client.grab("myid") != [before]
            await client.message("here")
            assert delays == [0.75]

    run(main())
    assert seen == [1006 if how == "cut off" else how, ["news"]]


def test_a_question_on_a_connection_that_is_lost_raises(run: Loop) -> None:
    async def main() -> None:
        async def script(peer: Peer) -> None:
            await peer.accept()
            await peer.frame()

        async with scripted(script) as url, AsyncSonoClient(url, reconnect=False) as client:
            with pytest.raises(ConnectionClosed):
                await client.grab("myid")
            with pytest.raises(ConnectionClosed):
                await client.run()

    run(main())


@pytest.mark.parametrize("status", ["403 Forbidden", "404 Not Found"])
def test_a_refusal_ends_the_attempts_and_run_raises_it(run: Loop, status: str) -> None:
    visits: list[int] = []

    async def script(peer: Peer) -> None:
        visits.append(1)
        if len(visits) == 1:
            await peer.accept()
        elif len(visits) < 5:
            await peer.answer("503 Busy", "Retry-After: 3")
        else:
            await peer.answer(status)

    async def main() -> None:
        async with scripted(script) as url, AsyncSonoClient(url) as client:
            delays = patient(client)
            with pytest.raises(ConnectError, match=f"status {status[:3]}"):
                await client.run()
            assert delays == [0.75, 4.0, 4.5, 5.5]

    run(main())


def test_a_first_attempt_that_fails_is_the_only_one(run: Loop) -> None:
    visits: list[int] = []

    async def script(peer: Peer) -> None:
        visits.append(1)
        await peer.answer("503 Busy")

    async def main() -> None:
        async with scripted(script) as url:
            client = AsyncSonoClient(url)
            with pytest.raises(ConnectError, match="503"):
                await client.__aenter__()
            await client.close()

    run(main())
    assert visits == [1]


def test_many_that_are_dropped_at_once_come_back_apart(run: Loop) -> None:
    async def main() -> None:
        async with served() as server, contextlib.AsyncExitStack() as stack:
            clients = [AsyncSonoClient(server.url) for _ in range(10)]
            backoffs = [client._reconnection for client in clients]
            for client in clients:
                await stack.enter_async_context(client)
            delays = [patient(client) for client in clients]
            for client, backoff in zip(clients, backoffs, strict=True):
                client._reconnection = backoff  # as shipped: with the system's randomness
            server.cut_off()
            await eventually(lambda: len(server.joined) == 20)
            taken = sorted(delay for [delay] in delays)
            assert len(set(taken)) == 10
            assert taken[0] >= 0.5
            assert 0.05 < taken[-1] - taken[0] <= 0.5

    run(main())


def test_a_server_that_accepts_and_fails_at_once_is_asked_ever_more_rarely(run: Loop) -> None:
    visits: list[int] = []

    async def script(peer: Peer) -> None:
        visits.append(1)
        code = 1013 if len(visits) < 9 else 1000
        await peer.accept(frame(CLOSE, code.to_bytes(2, "big")))
        await peer.frame()

    async def main() -> None:
        async with scripted(script) as url, AsyncSonoClient(url) as client:
            delays = patient(client)
            await client.run()
            assert delays == [0.75, 1, 1.5, 2.5, 4.5, 8.5, 10.25, 10.25]

    run(main())


@pytest.mark.parametrize("inside", ["sleep", "connect"])
def test_close_while_it_comes_back(run: Loop, inside: str) -> None:
    async def script(peer: Peer) -> None:
        if not visits:
            visits.append(1)
            await peer.accept()
        else:
            await peer.head()
            waiting.set()
            await peer.gone()

    visits: list[int] = []
    waiting = asyncio.Event()

    async def main() -> None:
        async with scripted(script) as url, AsyncSonoClient(url) as client:

            async def sleep(delay: float) -> None:
                if inside == "sleep":
                    waiting.set()
                    await asyncio.Event().wait()

            client._sleep = sleep
            running = asyncio.ensure_future(client.run())
            await waiting.wait()
            await client.close()
            await running  # raises nothing, because this side asked for it
            assert [event async for event in client] == []

    run(main())


# -- the end ------------------------------------------------------------------------------------


@pytest.mark.parametrize("tasks", ["", "eager_task_factory"])
def test_close_may_be_called_inside_a_callback(run: Loop, tasks: str) -> None:
    if tasks and not hasattr(asyncio, tasks):
        pytest.skip("needs Python 3.12")
    if tasks and run.name == "uvloop":
        pytest.skip("uvloop calls the factory with an argument that Python 3.13's does not take")
    factory = getattr(asyncio, tasks) if tasks else None
    seen: list[Any] = []

    async def main() -> None:
        asyncio.get_running_loop().set_task_factory(factory)
        async with served() as server, AsyncSonoClient(server.url) as client:

            async def leave(payload: Any) -> None:
                seen.append(payload["message"])
                await client.close()
                seen.append(client.socket.closed)

            client.on("message", leave)
            client.on_disconnect(seen.append)
            await client.message(1)
            await client.message(2)
            await client.run()

    run(main())
    assert seen == [1, Close(1000, "", True)]


def test_close_cancels_a_callback_under_way_and_waits_for_it(run: Loop) -> None:
    seen: list[str] = []

    async def main() -> None:
        async with served() as server, AsyncSonoClient(server.url) as client:

            async def linger(payload: object) -> None:
                seen.append("begins")
                try:
                    await asyncio.Event().wait()
                finally:
                    await turns(3)
                    seen.append("ends")

            client.on("message", linger)
            await client.message(1)
            await eventually(lambda: seen)
            await asyncio.gather(client.close(), client.close())
            assert seen == ["begins", "ends"]

    run(main())


def test_cancelled_after_any_number_of_turns_nothing_is_left(run: Loop) -> None:
    async def life(url: str) -> None:
        async with AsyncSonoClient(url) as client:
            patient(client)
            client.on("message", lambda payload: client.grab("myid"))
            await client.message("x")
            await client.grab("clients")
            async for incoming in client:
                if incoming.event == "grab":
                    break
                await client.message("more")

    async def main() -> None:
        async with served() as server:
            for number in range(60):
                task = asyncio.ensure_future(life(server.url))
                await turns(number)
                if number % 3 == 0:
                    server.cut_off()
                task.cancel()
                await asyncio.wait([task])
                assert task.cancelled() or not task.exception()

    run(main())


def test_an_end_that_nobody_asks_for_makes_no_noise(run: Loop) -> None:
    async def main() -> None:
        async with served() as server, AsyncSonoClient(server.url) as client:
            server.drop(4000)
            await eventually(lambda: client.ended)

    run(main())


def test_what_is_no_failure_to_connect_is_raised_by_run(
    run: Loop, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def main() -> None:
        async with served() as server, AsyncSonoClient(server.url) as client:
            patient(client)

            async def fail() -> Any:
                raise RuntimeError("oops")

            client._connect = fail  # type: ignore[assignment]
            server.cut_off()
            with pytest.raises(RuntimeError, match="oops"):
                await client.run()

    run(main())


def test_wrong_arguments_raise_at_once() -> None:
    with pytest.raises(ValueError):
        AsyncSonoClient("http://localhost/")
    with pytest.raises(TypeError):
        AsyncSonoClient("ws://localhost/", on_message=print)


def test_what_never_began_ends_at_once(run: Loop) -> None:
    async def main() -> None:
        client = AsyncSonoClient("ws://localhost/")
        await client.run()
        await client.close()
        assert [event async for event in client] == []

    run(main())


def test_packets_that_are_none_are_passed_over(run: Loop) -> None:
    async def script(peer: Peer) -> None:
        await peer.accept(frame(TEXT, b"nonsense") + frame(2, b"x") + packet("message", 1))
        peer.writer.write(frame(CLOSE, (1000).to_bytes(2, "big")))
        await peer.frame()

    async def main() -> None:
        async with scripted(script) as url, AsyncSonoClient(url) as client:
            assert [event.payload["message"] async for event in client] == [1]

    run(main())
