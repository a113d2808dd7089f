"""Runs one generator for both kinds of applications: plain functions and coroutine functions.

The generator yields whatever each function of the application returned, and is sent the result.
For plain functions that is the value itself; for coroutine functions it is awaited first.
"""

import contextlib
import inspect
from collections.abc import Callable, Coroutine, Generator
from typing import Any

Steps = Generator[Any, Any, Any]
Describe = Callable[[Any, Any], Steps]


def called(describe: Describe) -> Callable[[Any, Any], Any]:
    """A plain function that runs the steps, and takes each returned value as the result.

    It returns what the steps return. A value that would have to be awaited is an error, raised in
    the steps: it would never run, and whatever it should forbid would be allowed.
    """

    def run(subject: Any, argument: Any) -> Any:
        steps = describe(subject, argument)
        go_on, result = steps.send, None
        try:
            while True:
                result = go_on(result)
                go_on = steps.send
                if inspect.isawaitable(result):
                    if inspect.iscoroutine(result):
                        result.close()  # so that Python does not warn that it was never awaited
                    go_on = steps.throw
                    result = TypeError(f"{result!r} would have to be awaited")
        except StopIteration as end:
            return end.value

    return run


def awaited(describe: Describe) -> Callable[[Any, Any], Coroutine[Any, Any, None]]:
    """A coroutine function that runs the steps, and awaits each returned value that can be."""

    async def run(subject: Any, argument: Any) -> None:
        steps = describe(subject, argument)
        go_on, result = steps.send, None
        with contextlib.suppress(StopIteration):
            while True:
                returned = go_on(result)
                try:
                    result = await returned if inspect.isawaitable(returned) else returned
                    go_on = steps.send
                except Exception as error:
                    result, go_on = error, steps.throw

    return run
