"""Promises: settled before somebody waits, meanwhile, or never heard of."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable

import pytest

from sono_core.errors import SonoError
from sono_server import Promise
from tests.servers import PATIENCE


class BrokenError(SonoError):
    """What a promise fails with."""


def succeed(promise: Promise[int]) -> None:
    promise.complete(1)


def fail(promise: Promise[int]) -> None:
    promise.fail(BrokenError())


@pytest.mark.parametrize("settle", [succeed, fail])
@pytest.mark.parametrize("late", [False, True])
def test_it_is_settled_before_and_after_somebody_waits(
    settle: Callable[[Promise[int]], None], late: bool
) -> None:
    promise: Promise[int] = Promise()
    heard: list[Promise[int]] = []
    if late:
        promise.then(heard.append)
        assert not promise.done
    settle(promise)
    assert promise.done
    promise.complete(2)  # what comes second changes nothing
    promise.fail(ValueError())
    if not late:
        promise.then(heard.append)
    assert heard == [promise]
    for _ in range(2):
        if settle is succeed:
            assert promise.result(0) == 1
        else:
            with pytest.raises(BrokenError):
                promise.result(0)


def test_it_is_waited_for_in_many_threads_while_it_is_settled() -> None:
    for number in range(50):
        promise: Promise[int] = Promise()
        found: list[int] = []
        begin = threading.Barrier(5)

        def wait(promise: Promise[int] = promise, begin: threading.Barrier = begin) -> None:
            begin.wait(PATIENCE)
            found.append(promise.result(PATIENCE))  # noqa: B023 - it is joined in the same round

        threads = [threading.Thread(target=wait) for _ in range(4)]
        for thread in threads:
            thread.start()
        begin.wait(PATIENCE)
        promise.complete(number)
        for thread in threads:
            thread.join(PATIENCE)
        assert found == [number] * 4


def test_it_may_be_settled_after_whoever_waited_was_cancelled() -> None:
    async def cancelled() -> Promise[int]:
        promise: Promise[int] = Promise()

        async def wait() -> int:
            return await promise

        task = asyncio.ensure_future(wait())
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        promise.complete(1)
        return promise

    assert asyncio.run(cancelled()).done
