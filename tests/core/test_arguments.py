"""What an application gives to be called back: wrong ones are refused when they are given."""

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from sono_client import AsyncSonoClient, SonoClient, connect_async
from sono_core.arguments import is_coroutine_function, require_callable, require_plain
from sono_server import Sono
from sono_server.serving.requests import HTTPRequest
from tests.client.blocking_peers import serving, url_of
from tests.servers import Wire, running

URL = "ws://localhost/"


async def later(*arguments: object) -> None:
    """Nothing of it runs until it is awaited."""


class Later:
    async def __call__(self, *arguments: object) -> None:
        """Nor of this."""

    async def method(self, *arguments: object) -> None:
        """Nor of this."""


AWAITED = [later, Later(), Later().method, partial(later, 1)]
PLAIN: list[Callable[..., object]] = [print, str, Later, lambda: later(), [].append]


@pytest.mark.parametrize("function", AWAITED)
def test_what_is_to_be_awaited_is_known_before_it_is_called(function: Any) -> None:
    assert is_coroutine_function(function)
    require_callable("callback", function)
    with pytest.raises(TypeError, match=r"^callback must be a plain function"):
        require_plain("callback", function)


@pytest.mark.parametrize("function", PLAIN)
def test_all_else_that_can_be_called_is_plain(function: Callable[..., object]) -> None:
    assert not is_coroutine_function(function)
    require_plain("callback", function)


@pytest.mark.parametrize("value", [None, 5, "print"])
@pytest.mark.parametrize("require", [require_callable, require_plain])
def test_what_cannot_be_called_is_refused_by_name(
    require: Callable[[str, Any], None], value: object
) -> None:
    name = type(value).__name__
    with pytest.raises(TypeError, match=f"^callback must be callable, not of type {name}$"):
        require("callback", value)


@pytest.mark.parametrize("function", [5, None])
def test_a_server_takes_functions_alone(function: Any) -> None:
    sono = Sono()
    for register in (sono.on("x"), sono.on_connect, sono.on_disconnect, sono.authenticate):
        with pytest.raises(TypeError, match="function must be callable"):
            register(function)
    assert sono._functions == []
    sono.authenticate(print)  # the wrong one was not kept


def test_a_request_is_accepted_with_functions_alone() -> None:
    wrong: Any = 0
    refused: list[TypeError] = []

    def handle(request: HTTPRequest) -> None:
        calls: list[Callable[[], object]] = [
            lambda: request.accept(wrong),
            lambda: request.accept(on_close=wrong),
            lambda: Sono().connect(request, wrong),
        ]
        for call in calls:
            with pytest.raises(TypeError, match="callback must be callable") as error:
                call()
            refused.append(error.value)
        request.accept(lambda ws, message: ws.send(message))

    with running(handle) as server, Wire(server.address) as wire:
        server.turn()
        assert len(refused) == 3
        wire.send("still to be answered, and answered")
        server.turn()
        assert wire.message() == "still to be answered, and answered"


@pytest.mark.parametrize("function", [5, *AWAITED])
def test_the_quickest_way_on_asyncio_takes_plain_functions(function: Any) -> None:
    with pytest.raises(TypeError, match=r"^on_message must be"):
        connect_async(URL, on_message=function)


@pytest.mark.parametrize("function", [5, None])
def test_a_client_on_asyncio_takes_functions_alone(function: Any) -> None:
    client = AsyncSonoClient(URL)
    for register in (client.on_connect, client.on_disconnect, partial(client.on, "x")):
        with pytest.raises(TypeError, match="must be callable"):
            register(function)
    assert client._on_connect == client._on_disconnect == client._state.callbacks("x") == []


@pytest.mark.parametrize("function", [5, None, *AWAITED])
def test_a_blocking_client_takes_plain_functions_alone(function: Any) -> None:
    with serving(Sono().connect) as server, SonoClient(url_of(server)) as client:
        for register in (client.on_connect, client.on_disconnect, partial(client.on, "x")):
            with pytest.raises(TypeError, match="must be"):
                register(function)
        assert client._on_connect == client._on_disconnect == client._state.callbacks("x") == []
