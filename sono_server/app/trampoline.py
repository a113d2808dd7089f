"""Runs one generator for both kinds of applications: plain functions and coroutine functions.

The generator yields whatever each function of the application returned, and is sent the result.
For plain functions that is the value itself, or what a `Promise` becomes; for coroutine functions
it is awaited first.
"""

import contextlib
import inspect
from collections import deque
from collections.abc import Callable, Coroutine, Generator
from functools import partial
from typing import Any

from sono_core.arguments import name_of

from .receipts import Promise

Steps = Generator[Any, Any, Any]
Describe = Callable[[Any, Any], Steps]


class Pauses:
    """Steps of plain functions that wait for a promise, and what waits behind them.

    What they are for, their subject, is held meanwhile: its later steps come after these.

    Args:
        soon: calls a function in the loop's thread.
        hold, release: called with the subject when it begins to wait, and when nothing waits.
        failed: called with the subject and what its steps raised later.
    """

    __slots__ = ("_failed", "_hold", "_release", "_soon", "held")

    def __init__(
        self,
        soon: Callable[[Callable[[], object]], object],
        hold: Callable[[Any], object],
        release: Callable[[Any], object],
        failed: Callable[[Any, Exception], object],
    ) -> None:
        self.held: dict[Any, deque[Callable[[], bool]]] = {}
        """By subject: what is still to run. Each returns False if it waits itself."""
        self._soon = soon
        self._hold = hold
        self._release = release
        self._failed = failed

    def wait(
        self, subject: Any, promise: Promise[Any], go_on: Callable[[Promise[Any]], bool]
    ) -> None:
        """Go on, in the loop's thread, when the promise is done."""
        if subject not in self.held:
            self.held[subject] = deque()
            self._hold(subject)
        promise.then(lambda it: self._soon(partial(self._go_on, subject, partial(go_on, it))))

    def _go_on(self, subject: Any, run: Callable[[], bool]) -> None:
        waiting = self.held[subject]
        while True:
            try:
                if not run():
                    return
            except Exception as error:
                self._failed(subject, error)
            if not waiting:
                break
            run = waiting.popleft()
        del self.held[subject]
        self._release(subject)


def called(describe: Describe, pauses: Pauses | None = None) -> Callable[[Any, Any], Any]:
    """A plain function that runs the steps, and takes each returned value as the result.

    It returns what the steps return; None, if they wait for a promise. Any other value that would
    have to be awaited is an error, raised in the steps: it would never run, and whatever it should
    forbid would be allowed.
    """
    held = pauses.held if pauses else {}

    def run(subject: Any, argument: Any) -> Any:
        if held and subject in held:
            held[subject].append(partial(begin, subject, argument))
            return None
        steps = describe(subject, argument)
        go_on, result = steps.send, None
        try:
            while True:
                result = go_on(result)
                go_on = steps.send
                if inspect.isawaitable(result):
                    go_on, result = outcome(subject, steps, result)
                    if go_on is None:
                        return None
        except StopIteration as end:
            return end.value

    def begin(subject: Any, argument: Any) -> bool:
        steps = describe(subject, argument)
        return resume(subject, steps, steps.send, None)

    def resume(subject: Any, steps: Steps, go_on: Any, result: Any) -> bool:
        """The same for steps that have waited; False if they wait again."""
        with contextlib.suppress(StopIteration):
            while go_on is not None:
                result = go_on(result)
                go_on = steps.send
                if inspect.isawaitable(result):
                    go_on, result = outcome(subject, steps, result)
            return False
        return True

    def outcome(subject: Any, steps: Steps, awaitable: Any) -> tuple[Any, Any]:
        """How to go on, and with what; None: later."""
        if pauses and isinstance(awaitable, Promise):
            if awaitable.done:
                return settled(steps, awaitable)
            pauses.wait(subject, awaitable, lambda it: resume(subject, steps, *settled(steps, it)))
            return None, None
        if inspect.iscoroutine(awaitable):
            awaitable.close()  # so that Python does not warn that it was never awaited
        return steps.throw, TypeError(f"{name_of(awaitable)} would have to be awaited")

    return run


def settled(steps: Steps, promise: Promise[Any]) -> tuple[Callable[[Any], Any], Any]:
    """How steps go on with a promise that is done."""
    try:
        return steps.send, promise.result()
    except Exception as error:
        return steps.throw, error


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
