"""A TCP proxy on loopback that spoils connections by a plan: the same seed, the same faults.

It delays, slices, stalls, closes and resets. The plan alone decides where in the stream that
happens, however the bytes arrive.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket
import struct
import threading
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

Address = tuple[str, int]
_NOW = struct.pack("ii", 1, 0)  # SO_LINGER: closing discards what waits, and resets
_PATIENCE = 10.0


@dataclass(frozen=True, kw_only=True)
class Plan:
    """The faults of connections, on average. By default there are none.

    Args:
        seed: of all random choices.
        slices: each slice is passed on by itself; it has from 1 to this many bytes.
        latency: the longest time in seconds that a slice is held.
        cut, reset, stall: bytes, in each direction, until a connection is closed, reset or not
            read from for a while; 0 for never.
        pause: seconds that a stall takes.
        calm: bytes at the beginning without any of the last three faults.
    """

    seed: int = 0
    slices: int = 65536
    latency: float = 0.0
    cut: int = 0
    reset: int = 0
    stall: int = 0
    pause: float = 0.1
    calm: int = 0

    def steps(self, connection: int, direction: str) -> Iterator[tuple[int, str]]:
        """The number of bytes to pass on next, and the fault after them; without end."""
        rng = random.Random(f"{self.seed} {connection} {direction}")
        rates = {name: getattr(self, name) for name in ("cut", "reset", "stall")}
        passed = 0
        while True:
            size = rng.randint(1, self.slices)
            passed += size
            fault = ""
            for name, mean in rates.items():
                if mean and rng.random() < size / mean and passed > self.calm:
                    fault = name
            yield size, fault


class Proxy:
    """Stands in front of a server, in its own thread, for a with statement.

    Args:
        target: address of the server.
        plan: the faults.
        limit: connections in all; later ones are closed at once.
    """

    def __init__(self, target: Address, plan: Plan, limit: int = 100_000) -> None:
        self._target = target
        self._plan = plan
        self._limit = limit
        self._calm = False
        self._loop = asyncio.new_event_loop()
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
        self.address: Address = self._listener.getsockname()
        self.connections = 0
        """Connections so far."""
        self.faults: Counter[str] = Counter()
        """The faults so far."""
        self._thread = threading.Thread(target=self._run, name="proxy")

    def calm_down(self) -> None:
        """Pass everything on unchanged from now on. May be called from any thread."""
        self._calm = True

    def __enter__(self) -> Proxy:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(_PATIENCE)
        assert not self._thread.is_alive(), "the proxy does not end"

    def _run(self) -> None:
        loop = self._loop
        loop.create_task(self._accept())
        try:
            loop.run_forever()
            tasks = asyncio.all_tasks(loop)
            for task in tasks:
                task.cancel()
            loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
            loop.run_until_complete(asyncio.sleep(0))  # transports close their sockets
        finally:
            self._listener.close()
            loop.close()

    async def _accept(self) -> None:
        server = await asyncio.start_server(self._link, sock=self._listener, limit=1 << 16)
        async with server:
            await server.serve_forever()

    async def _link(self, near: asyncio.StreamReader, to_near: asyncio.StreamWriter) -> None:
        number, self.connections = self.connections, self.connections + 1
        writers = [to_near]
        try:
            if number >= self._limit:
                return
            far, to_far = await asyncio.open_connection(*self._target, limit=1 << 16)
            writers.append(to_far)
            ways = ((near, to_far, "up"), (far, to_near, "down"))
            tasks = [
                asyncio.ensure_future(self._pass_on(reader, writer, number, direction))
                for reader, writer, direction in ways
            ]
            try:
                await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
            finally:
                for task in tasks:
                    task.cancel()
                results = await asyncio.gather(*tasks, return_exceptions=True)
            if any(isinstance(result, _Reset) for result in results):
                _reset_when_closed(writers)
        except (OSError, asyncio.CancelledError):  # The server is gone, or the proxy is to end.
            pass
        finally:
            for writer in writers:
                writer.transport.abort()

    async def _pass_on(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        number: int,
        direction: str,
    ) -> None:
        """Pass on one direction, up to its end; raises for a fault that ends both."""
        plan = self._plan
        held = random.Random(f"{plan.seed} {number} {direction} held")
        for size, fault in plan.steps(number, direction):
            left = size
            while left:
                data = await reader.read(left)
                if not data:
                    with contextlib.suppress(OSError):
                        writer.write_eof()
                    return
                left -= len(data)
                if plan.latency and not self._calm:
                    await asyncio.sleep(plan.latency * held.random())
                writer.write(data)
                await writer.drain()
            if fault and not self._calm:
                self.faults[fault] += 1
                if fault == "stall":
                    await asyncio.sleep(plan.pause)
                else:
                    raise _Reset if fault == "reset" else _Cut


class _Cut(Exception):  # noqa: N818 - nothing went wrong
    """Closes the connection."""


class _Reset(Exception):  # noqa: N818
    """Resets the connection."""


def _reset_when_closed(writers: list[asyncio.StreamWriter]) -> None:
    for writer in writers:
        sock = writer.get_extra_info("socket")
        with contextlib.suppress(OSError):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NOW)
