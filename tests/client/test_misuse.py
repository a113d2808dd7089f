"""Connections used where they do not belong: another event loop, thread or process."""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import pytest

from sono_client import AsyncSonoClient, AsyncWebSocket, SonoClient, connect, connect_async
from sono_server import Sono
from tests.async_peers import PATIENCE, Loop, new_loop
from tests.client.blocking_peers import serving, url_of

OTHER = "belongs to (another event loop|the event loop of another thread)"


class Pair(NamedTuple):
    """Connections that belong to a loop which does not run now."""

    ws: AsyncWebSocket
    client: AsyncSonoClient
    loop: asyncio.AbstractEventLoop


@contextlib.contextmanager
def pair(kind: str) -> Iterator[Pair]:
    sono = Sono()
    loop = new_loop(kind)

    async def begin(url: str) -> Pair:
        client = AsyncSonoClient(url, proxy=None)
        return Pair(await connect_async(url, proxy=None), await client.__aenter__(), loop)

    async def end(both: Pair) -> None:
        await both.ws.close()
        await both.client.close()

    with serving(sono.connect) as server:
        both = loop.run_until_complete(begin(url_of(server)))
        try:
            yield both
            loop.run_until_complete(end(both))
        finally:
            loop.close()


COROUTINES: dict[str, Callable[[Pair], Any]] = {
    "recv": lambda both: both.ws.recv(),
    "send": lambda both: both.ws.send("x"),
    "ping": lambda both: both.ws.ping(),
    "close": lambda both: both.ws.close(),
    "drain": lambda both: both.ws.drain(),
    "wait_closed": lambda both: both.ws.wait_closed(),
    "anext": lambda both: both.ws.__anext__(),
    "aenter": lambda both: both.ws.__aenter__(),
    "aexit": lambda both: both.ws.__aexit__(),
    "client grab": lambda both: both.client.grab("myid"),
    "client message": lambda both: both.client.message("x"),
    "client broadcast": lambda both: both.client.broadcast("x"),
    "client direct_message": lambda both: both.client.direct_message("x", "y"),
    "client change_channel": lambda both: both.client.change_channel("x"),
    "client run": lambda both: both.client.run(),
    "client anext": lambda both: both.client.__aiter__().__anext__(),
    "client close": lambda both: both.client.close(),
    "client aexit": lambda both: both.client.__aexit__(),
}
FUNCTIONS: dict[str, Callable[[Pair], object]] = {
    "send_nowait": lambda both: both.ws.send_nowait("x"),
    "send_nowait of another kind": lambda both: both.ws.send_nowait(bytearray(b"x")),
    "close_nowait": lambda both: both.ws.close_nowait(),
    "cut_off": lambda both: both.ws.cut_off(),
}


@pytest.fixture(params=["asyncio", "uvloop"])
def both(request: pytest.FixtureRequest) -> Iterator[Pair]:
    """Connections that must be as they were after the test."""
    with pair(request.param) as made:
        yield made

        async def works() -> None:
            assert await made.ws.ping() > 0
            assert await made.client.grab("myid")

        made.loop.run_until_complete(asyncio.wait_for(works(), PATIENCE))


async def call(function: Callable[[Pair], Any], both: Pair) -> None:
    result = function(both)
    if asyncio.iscoroutine(result):
        await asyncio.wait_for(result, PATIENCE)


@pytest.mark.parametrize("name", [*COROUTINES, *FUNCTIONS])
def test_another_event_loop_is_refused_at_once(both: Pair, run: Loop, name: str) -> None:
    with pytest.raises(RuntimeError, match=OTHER):
        run(call({**COROUTINES, **FUNCTIONS}[name], both))


@pytest.mark.parametrize("name", [*COROUTINES, *FUNCTIONS])
def test_another_thread_is_refused_at_once(both: Pair, name: str) -> None:
    caught: list[BaseException] = []

    def use() -> None:
        loop = asyncio.new_event_loop()
        try:
            if name in FUNCTIONS:  # without any loop
                FUNCTIONS[name](both)
            else:
                loop.run_until_complete(call(COROUTINES[name], both))
        except RuntimeError as error:
            caught.append(error)
        finally:
            loop.close()

    thread = threading.Thread(target=use)
    thread.start()
    thread.join(PATIENCE)
    assert len(caught) == 1
    assert "belongs to" in str(caught[0])


def test_a_message_that_waits_is_not_given_to_another_loop(run: Loop) -> None:
    with pair("asyncio") as both:

        async def ask() -> None:
            await both.ws.send('{"protocol":"grab","payload":{"request":"myid"}}')
            transport = both.ws._client_transport
            while not transport.messages:
                await transport.changed()

        both.loop.run_until_complete(asyncio.wait_for(ask(), PATIENCE))
        with pytest.raises(RuntimeError, match=OTHER):
            run(call(COROUTINES["recv"], both))
        assert len(both.ws._client_transport.messages) == 1


def test_a_client_is_entered_once_at_a_time(run: Loop) -> None:
    async def main(url: str) -> None:
        client = AsyncSonoClient(url, proxy=None)
        async with client:
            with pytest.raises(RuntimeError, match="in use already"):
                await client.__aenter__()
            assert await client.grab("myid")
        async with client:  # again, after its end
            assert await client.grab("myid")

    with serving(Sono().connect) as server:
        run(main(url_of(server)))


# -- the blocking clients in a child --------------------------------------------------------------


IN_A_CHILD: dict[str, Callable[[Any], object]] = {
    "send": lambda ws: ws.send("x"),
    "recv": lambda ws: ws.recv(0),
    "ping": lambda ws: ws.ping(PATIENCE),
    "close": lambda ws: ws.close(),
    "cut_off": lambda ws: ws.cut_off(),
}


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_a_child_that_was_forked_is_refused() -> None:
    sono = Sono()
    with serving(sono.connect) as server:
        url = url_of(server)
        with connect(url, proxy=None) as ws, SonoClient(url, proxy=None) as client:
            uses = [lambda use=use: use(ws) for use in IN_A_CHILD.values()]
            uses += [lambda: client.message("x"), lambda: client.run(0), client.close]
            child = os.fork()
            if not child:
                os._exit(sum(_refused(use) for use in uses))
            _, status = os.waitpid(child, 0)
            assert os.waitstatus_to_exitcode(status) == len(uses)
            assert ws.ping(PATIENCE) > 0
            assert client.grab("myid", PATIENCE)


def _refused(use: Callable[[], object]) -> bool:
    try:
        use()
    except RuntimeError as error:
        return "belongs to the process" in str(error)
    return False
