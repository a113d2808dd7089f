"""An option of `serve` is defined once: signatures and docstrings show what its field says."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable
from typing import Any, get_type_hints

import pytest

from sono_server import AsyncServer, Server, Sono, serve, serve_async
from sono_server.serving import ASGIOptions, Options, ServeOptions

OPTIONS = inspect.signature(Options).parameters
TYPES = get_type_hints(Options)
DESCRIPTIONS = {
    name: hint.__metadata__[0]
    for name, hint in get_type_hints(Options, include_extras=True).items()
}


def served(**options: Any) -> None:
    with serve("127.0.0.1", 0, **options) as server:
        assert isinstance(server, Server)


def served_async(**options: Any) -> None:
    server = serve_async("127.0.0.1", 0, **options)
    assert isinstance(server, AsyncServer)
    asyncio.run(server.close())


def test_type_checkers_know_the_names_and_types_of_all_options() -> None:
    assert get_type_hints(ServeOptions) == TYPES
    assert ServeOptions.__optional_keys__ == set(OPTIONS)


@pytest.mark.parametrize("function", [serve, serve_async])
def test_a_signature_has_the_address_and_all_options(function: Callable[..., object]) -> None:
    names = ["host", "port", "sock", "unix", *OPTIONS]
    assert list(inspect.signature(function).parameters) == names


@pytest.mark.parametrize("function", [serve, serve_async])
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


@pytest.mark.parametrize("start", [served, served_async])
@pytest.mark.parametrize("name", OPTIONS)
def test_each_option_is_accepted_with_its_default(name: str, start: Callable[..., None]) -> None:
    start(**{name: OPTIONS[name].default})


@pytest.mark.parametrize("function", [serve, serve_async])
def test_an_unknown_option_is_named(function: Callable[..., object]) -> None:
    with pytest.raises(TypeError) as error:
        function(port=0, drains=1.0)
    expected = f"{function.__name__}() got an unexpected keyword argument 'drains'"
    assert str(error.value) == expected


@pytest.mark.parametrize("name", OPTIONS)
def test_an_asgi_application_takes_what_is_not_its_servers_business(name: str) -> None:
    options: Any = {name: OPTIONS[name].default}
    if name in ASGIOptions.__optional_keys__:
        assert Sono().asgi(**options)
    else:
        with pytest.raises(TypeError, match=f"^{name} is the ASGI server's business$"):
            Sono().asgi(**options)
