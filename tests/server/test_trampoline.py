"""The application's steps, called or awaited, with the same results."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from sono_server import Promise
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


# -- promises of plain functions ------------------------------------------------------------------


class Held:
    """Pauses whose loop is this thread, and what they did."""

    def __init__(self) -> None:
        self.log: list[Any] = []
        self.soon: list[Callable[[], object]] = []
        self.pauses = steps.Pauses(
            self.soon.append,
            lambda subject: self.log.append(f"hold {subject}"),
            lambda subject: self.log.append(f"release {subject}"),
            lambda subject, error: self.log.append(f"{subject} failed: {error}"),
        )
        self.promises: list[Promise[Any]] = []

    def turn(self) -> None:
        functions, self.soon[:] = self.soon[:], []
        for function in functions:
            function()

    def describe(self, subject: str, word: str) -> steps.Steps:
        self.log.append(f"{word} began")
        for _ in range(2):
            promise: Promise[Any] = Promise()
            self.promises.append(promise)
            try:
                self.log.append((yield promise))
            except ValueError as error:
                self.log.append(str(error))
        return word

    def run(self) -> Callable[[Any, Any], Any]:
        return steps.called(self.describe, self.pauses)


def test_steps_wait_for_promises_and_others_of_their_subject_behind_them() -> None:
    held = Held()
    run = held.run()
    assert run("a", "one") is None
    assert run("a", "two") is None
    assert run("b", "three") is None
    assert held.log == ["one began", "hold a", "three began", "hold b"]
    held.log.clear()
    held.promises[0].complete("first")
    assert held.log == []  # it is not this thread's turn
    held.turn()
    assert held.log == ["first"]
    held.promises[2].fail(ValueError("no second"))
    held.turn()
    assert held.log == ["first", "no second", "two began"]
    held.log.clear()
    for number in (3, 4):
        held.promises[number].complete(number)
        held.turn()
    assert held.log == [3, 4, "release a"]
    assert list(held.pauses.held) == ["b"]
    assert run("a", "four") is None
    assert held.log[3:] == ["four began", "hold a"]


def test_promises_that_are_done_are_waited_for_at_once() -> None:
    held = Held()

    def describe(subject: str, promise: Promise[Any]) -> steps.Steps:
        first = yield promise
        return first + (yield promise)

    run = steps.called(describe, held.pauses)
    done: Promise[Any] = Promise()
    done.complete(2)
    assert run("a", done) == 4
    failed: Promise[Any] = Promise()
    failed.fail(ValueError("no"))
    with pytest.raises(ValueError, match=r"^no$"):
        run("a", failed)
    assert held.log == []


def test_steps_that_fail_later_are_told_and_the_next_begin() -> None:
    held = Held()

    def describe(subject: str, error: Exception | None) -> steps.Steps:
        promise: Promise[Any] = Promise()
        held.promises.append(promise)
        yield promise
        if error:
            raise error

    run = steps.called(describe, held.pauses)
    run("a", KeyError("x"))
    run("a", None)
    held.promises[0].complete(None)
    held.turn()
    held.promises[1].complete(None)
    held.turn()
    assert held.log == ["hold a", "a failed: 'x'", "release a"]
    assert held.pauses.held == {}


def test_what_else_would_have_to_be_awaited_is_an_error_also_later() -> None:
    held = Held()

    def describe(subject: str, _: object) -> steps.Steps:
        promise: Promise[Any] = Promise()
        held.promises.append(promise)
        yield promise
        yield asyncio.sleep(0)

    steps.called(describe, held.pauses)("a", None)
    held.promises[0].complete(None)
    held.turn()
    assert held.log[1:] == ["a failed: sleep would have to be awaited", "release a"]
    with pytest.raises(TypeError, match="Promise would have to be awaited"):
        steps.called(describe)("a", None)
