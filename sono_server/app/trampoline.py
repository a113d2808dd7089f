"""One description of what happens, for functions that are called and for those that are awaited.

A generator yields what each function of the application returned, and is sent what that came
to; how it comes to something is decided by who runs the generator.
"""

import contextlib
import inspect
from collections.abc import Callable, Coroutine, Generator
from typing import Any

Steps = Generator[Any, Any, Any]
Describe = Callable[[Any, Any], Steps]


def called(describe: Describe) -> Callable[[Any, Any], Any]:
    """A plain function that runs the steps: what was returned is what it comes to.

    It returns what the steps do. What would have to be awaited is an error, raised in the steps:
    nothing of it would run, and whatever it is to forbid would be allowed.
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
                        result.close()  # so that nothing warns that it was not awaited
                    go_on = steps.throw
                    result = TypeError(f"{result!r} would have to be awaited")
        except StopIteration as end:
            return end.value

    return run


def awaited(describe: Describe) -> Callable[[Any, Any], Coroutine[Any, Any, None]]:
    """A coroutine function that runs the steps: what is returned is awaited, if it can be."""

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
