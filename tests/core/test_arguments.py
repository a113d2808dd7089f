"""The arguments of an application: wrong callbacks are refused at once, and options are shown."""

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any, TypedDict

import pytest

from sono_client import AsyncSonoClient, SonoClient, connect_async
from sono_core.arguments import (
    Unpack,
    is_coroutine_function,
    name_of,
    require_callable,
    require_plain,
    takes_options,
)
from sono_server import Sono
from sono_server.serving.requests import HTTPRequest
from tests.client.blocking_peers import serving, url_of
from tests.servers import Wire, running

URL = "ws://localhost/"


async def later(*arguments: object) -> None:
    """No part of it runs until it is awaited."""


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


def registers(client: AsyncSonoClient | SonoClient) -> list[Any]:
    """All that takes a function."""
    kinds = ("connect", "disconnect", "status", "session", "gap", "join")
    decorators = [getattr(client, f"on_{kind}") for kind in kinds]
    return [*decorators, client.on_request("x"), partial(client.on, "x")]


def nothing_is_registered(client: AsyncSonoClient | SonoClient) -> bool:
    return not (client._hooks._by_kind or client._state.callbacks("x") or client._handlers.of("x"))


@pytest.mark.parametrize("function", [5, None])
def test_a_client_on_asyncio_takes_functions_alone(function: Any) -> None:
    client = AsyncSonoClient(URL)
    for register in registers(client):
        with pytest.raises(TypeError, match="must be callable"):
            register(function)
    assert nothing_is_registered(client)


@pytest.mark.parametrize("function", [5, None, *AWAITED])
def test_a_blocking_client_takes_plain_functions_alone(function: Any) -> None:
    with serving(Sono().connect) as server, SonoClient(url_of(server)) as client:
        for register in registers(client):
            with pytest.raises(TypeError, match="must be"):
                register(function)
        assert nothing_is_registered(client)


# -- options --------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Options:
    colour: Annotated[str, "of the line, as `rgb(0, 0, 0)`."] = "black"
    width: Annotated[
        float | None,
        "millimetres, up to what a pen of the chosen kind can draw in one stroke, which is often "
        "less; None for a hair-line.",
    ] = 0.5


class DrawOptions(TypedDict, total=False):
    colour: str
    width: float | None


@takes_options(Options)
def draw(start: int, *, dotted: bool = False, **options: Unpack[DrawOptions]) -> tuple[Any, ...]:
    """Draw a line.

    Args:
        start: where.
        options: all that
            `Options` has.

    Raises:
        ValueError: it is too long.
    """
    return start, dotted, Options(**options)


def test_a_signature_shows_each_option_with_its_type_and_default() -> None:
    def expected(
        start: int,
        *,
        dotted: bool = False,
        colour: str = "black",
        width: float | None = 0.5,
    ) -> tuple[Any, ...]:
        raise NotImplementedError

    assert inspect.signature(draw) == inspect.signature(expected)


def test_a_docstring_describes_each_option_in_lines_that_fit() -> None:
    expected = """\
        Draw a line.

        Args:
            start: where.
            colour: of the line, as `rgb(0, 0, 0)`.
            width: millimetres, up to what a pen of the chosen kind can draw in one stroke, which is
                often less; None for a hair-line.

        Raises:
            ValueError: it is too long.
        """
    assert inspect.getdoc(draw) == inspect.cleandoc(expected)


def test_a_function_without_a_docstring_is_given_none() -> None:
    @takes_options(Options)
    def bare(**options: Unpack[DrawOptions]) -> Options:
        return Options(**options)

    assert bare.__doc__ is None
    assert bare(width=None) == Options(width=None)


def test_arguments_are_passed_on() -> None:
    assert draw(1) == (1, False, Options())
    assert draw(start=1, dotted=True, colour="red") == (1, True, Options(colour="red"))


def undecorated(start: int) -> None:
    """A function with a signature of its own."""


@pytest.mark.parametrize("function", [draw, undecorated])
def test_an_unexpected_argument_is_refused_as_python_does(function: Callable[..., object]) -> None:
    expected = rf"^{function.__name__}\(\) got an unexpected keyword argument 'color'"
    with pytest.raises(TypeError, match=expected):
        function(1, color="red")


def test_an_error_names_a_function_without_its_arguments() -> None:
    async def coroutine(secret: str) -> None: ...

    with pytest.raises(TypeError, match="nobody would await partial") as raised:
        require_plain("callback", partial(coroutine, "s3cret"))
    assert "s3cret" not in str(raised.value)
    assert name_of(coroutine).endswith("coroutine")
