"""An option of `connect` is defined once: signatures and docstrings show what its field says."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from typing import Any, get_type_hints

import pytest

from sono_client import AsyncSonoClient, SonoClient, connect, connect_async
from sono_client.options import ConnectOptions, Options
from sono_server import Sono
from tests.client.blocking_peers import serving, url_of

OPTIONS = inspect.signature(Options).parameters
TYPES = get_type_hints(Options)
DESCRIPTIONS = {
    name: hint.__metadata__[0]
    for name, hint in get_type_hints(Options, include_extras=True).items()
}
OPENERS: dict[Callable[..., object], list[str]] = {
    connect: ["url", *OPTIONS],
    connect_async: ["url", "on_message", *OPTIONS],
}


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with serving(Sono().connect) as server:
        yield url_of(server)


def test_type_checkers_know_the_names_and_types_of_all_options() -> None:
    assert get_type_hints(ConnectOptions) == TYPES
    assert ConnectOptions.__optional_keys__ == set(OPTIONS)


@pytest.mark.parametrize("function", OPENERS)
def test_a_signature_has_the_address_and_all_options(function: Callable[..., object]) -> None:
    assert list(inspect.signature(function).parameters) == OPENERS[function]


@pytest.mark.parametrize("function", OPENERS)
@pytest.mark.parametrize("name", OPTIONS)
def test_a_signature_and_a_docstring_show_each_option(
    name: str, function: Callable[..., object]
) -> None:
    shown = inspect.signature(function).parameters[name]
    assert shown.kind is shown.KEYWORD_ONLY
    assert shown.annotation == TYPES[name]
    assert shown.default is OPTIONS[name].default
    words = " ".join((inspect.getdoc(function) or "").split())
    assert f" {name}: {DESCRIPTIONS[name]} " in words


@pytest.mark.parametrize("opened", [connect, SonoClient])
@pytest.mark.parametrize("name", OPTIONS)
def test_each_option_is_accepted_with_its_default(
    name: str, opened: Callable[..., Any], url: str
) -> None:
    opened(url, **{name: OPTIONS[name].default}).close()


@pytest.mark.parametrize("opened", [connect_async, AsyncSonoClient])
@pytest.mark.parametrize("name", OPTIONS)
def test_each_option_is_accepted_with_its_default_on_asyncio(
    name: str, opened: Callable[..., object]
) -> None:
    opened("ws://localhost/", **{name: OPTIONS[name].default})


@pytest.mark.parametrize(
    ("opened", "named"),
    [
        (connect, "connect"),
        (SonoClient, "connect"),
        (connect_async, "connect_async"),
        (AsyncSonoClient, "connect_async"),
    ],
)
def test_an_unknown_option_is_named(opened: Callable[..., object], named: str) -> None:
    with pytest.raises(TypeError) as error:
        opened("ws://localhost/", time_out=1.0)
    assert str(error.value) == f"{named}() got an unexpected keyword argument 'time_out'"


def test_a_client_of_sono_keeps_the_callback_of_its_connection_to_itself() -> None:
    options: Any = {"on_message": print}
    with pytest.raises(TypeError, match="on_message"):
        SonoClient("ws://localhost/", **options)
    with pytest.raises(TypeError, match="on_message"):
        AsyncSonoClient("ws://localhost/", **options)
