"""The backplane on a Redis of the tests' own, with the test's thread as its loop."""

from __future__ import annotations

import contextlib
import queue
from collections.abc import Callable
from typing import Any, TypeVar

import msgspec

from sono_core.messaging.lossless.backplane import BackplaneError, Receipt
from sono_server.backplane import UnreadableError
from sono_server.backplane.redis import RedisBackplane
from tests.backplane.each_backplane import Clock
from tests.servers import PATIENCE

T = TypeVar("T")


class Plain:
    """Writes any value of msgpack."""

    garbles = False
    """Whether it writes what cannot be read."""

    def encode(self, body: Any) -> bytes:
        if self.garbles:
            return b"\xc1"
        return msgspec.msgpack.encode(body)

    def decode(self, content: bytes) -> Any:
        try:
            return msgspec.msgpack.decode(content)
        except msgspec.DecodeError:
            raise UnreadableError("it is not msgpack") from None


class OnRedis:
    """A node's backplane.

    Args:
        url: of the server.
        prefix: another for each test; None: as the URL says.
    """

    def __init__(self, url: str, prefix: str | None = None, **options: Any) -> None:
        self.clock = Clock()
        self.codec = Plain()
        named = {} if prefix is None else {"prefix": prefix}
        self._calls: queue.SimpleQueue[Callable[[], object]] = queue.SimpleQueue()
        self._given: list[Receipt[Any]] = []
        self.backplane = RedisBackplane(
            url,
            self._calls.put,
            self.codec,
            **named,
            clock=self.clock,
            **options,
        )
        self.backplane.start()

    def step(self, timeout: float = PATIENCE) -> None:
        """Make one call of those that the backplane wants to make."""
        self._calls.get(timeout=timeout)()

    def wait(self, receipt: Receipt[T]) -> T:
        while not receipt.done:
            self.step()
        return receipt.value

    def settle(self) -> None:
        """A probe comes back behind all that is told; one that is asked then, behind replies."""
        back = 0
        while back < 2:
            probe = self.backplane.probe()
            if probe.done:  # no server is known yet
                self.step()
                continue
            with contextlib.suppress(BackplaneError):  # nothing was heard yet
                self.wait(probe)
                back += 1

    def close(self) -> None:
        self.backplane.close()
