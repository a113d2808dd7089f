"""The application's steps, called or awaited, with the same results."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from sono_server.app import trampoline as steps


def describe(function: Callable[[Any], Any], log: list[Any]) -> steps.Steps:
    try:
        log.append((yield function("a")))
        log.append((yield function("b")))
    except ValueError as error:
        log.append(str(error))
        log.append((yield function("c")))


def run_both(function: Callable[[Any], Any]) -> list[Any]:
    """The result of the steps; plain functions give the same in both ways."""
    called: list[Any] = []
    steps.called(describe)(function, called)
    awaited: list[Any] = []
    asyncio.run(steps.awaited(describe)(function, awaited))
    assert called == awaited
    return called


def test_what_plain_functions_return_is_what_the_steps_get() -> None:
    assert run_both(str.upper) == ["A", "B"]


def test_what_they_raise_is_raised_in_the_steps() -> None:
    def function(text: str) -> str:
        if text == "b":
            raise ValueError("not b")
        return text

    assert run_both(function) == ["a", "not b", "c"]


def test_what_coroutine_functions_return_or_raise_is_too() -> None:
    async def function(text: str) -> str:
        await asyncio.sleep(0)
        if text == "b":
            raise ValueError("not b")
        return text

    log: list[Any] = []
    asyncio.run(steps.awaited(describe)(function, log))
    assert log == ["a", "not b", "c"]


def test_what_the_steps_do_not_deal_with_is_raised() -> None:
    async def function(text: str) -> str:
        raise KeyError(text)

    def plain(text: str) -> str:
        raise KeyError(text)

    with pytest.raises(KeyError):
        asyncio.run(steps.awaited(describe)(function, []))
    with pytest.raises(KeyError):
        steps.called(describe)(plain, [])
