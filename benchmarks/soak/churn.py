"""Clients that connect, join, talk and leave in every way, for a long time; what stays behind.

The server's process is sampled all the time, and twice after everybody has left: once after a
warm-up, and once at the end. Both times it must hold the same.
"""

import asyncio
import contextlib
import random
import time
from collections import Counter
from typing import Any

from sono_client import AsyncSonoClient, ConnectError, ConnectionClosed
from tests.faults.victims import Victim

from .outcome import Outcome, slope

MIB = 1 << 20
_WARM_UP = 0.2  # share of the time, up to this maximum
_LONGEST_WARM_UP = 120.0  # seconds
_SAMPLES = 200  # in all, but not more often than the next line says
_SHORTEST_INTERVAL = 1.0  # seconds
_PATIENCE = 30.0  # seconds for the server to notice that everybody has left
_POLL = 0.05
DEADLINES = {"handshake": 3.0, "ping_interval": 3.0, "pong": 3.0, "close": 3.0}
"""The server's time-outs: below the defaults, so that many come due, and rest begins soon."""
_SETTLE = 4.0  # seconds from the last client to rest: entries of timers stay until they are due
_ROOMS = 20
_SPARE_OBJECTS = 200  # objects that the interpreter and libraries create and keep now and then
_COUNTED = ("descriptors", "threads", "objects")
_LONG = 600.0  # seconds that a run must last to tell the growth in an hour
_SLOPE = 1.0  # MiB an hour of resident memory, after the warm-up


class _Load:
    """A constant number of clients.

    Args:
        url: of the Sono.
        clients: how many at any time.
    """

    def __init__(self, url: str, clients: int) -> None:
        self._url = url
        self._clients = clients
        self._rng = random.Random(clients)
        self._over = False
        self.done: Counter[str] = Counter()

    async def run(self, seconds: float) -> None:
        """Run for that time, until everybody has left."""
        self._over = False
        tasks = [asyncio.create_task(self._come_and_go()) for _ in range(self._clients)]
        await asyncio.sleep(seconds)
        self._over = True
        await asyncio.gather(*tasks)

    async def _come_and_go(self) -> None:
        while not self._over:
            try:
                await self._visit()
            except (ConnectError, ConnectionClosed) as error:
                self.done[f"failed: {error}"] += 1
                await asyncio.sleep(_POLL)

    async def _visit(self) -> None:
        rng = self._rng
        async with AsyncSonoClient(self._url, reconnect=False) as client:
            client.on("message", self._hear)
            self.done["connects"] += 1
            for _ in range(rng.randrange(1, 4)):
                await client.change_channel(f"room {rng.randrange(_ROOMS)}")
                self.done["joins"] += 1
                for _ in range(rng.randrange(20)):
                    await client.message("x" * rng.choice((10, 100, 1000, 5000)))
                    self.done["messages"] += 1
                    await asyncio.sleep(rng.random() * 0.02)
                if rng.random() < 0.3:
                    await client.grab("mychannelclients")
            if rng.random() < 0.3:  # Some leave without a word; the others close.
                client.socket.cut_off()

    def _hear(self, payload: object) -> None:
        self.done["deliveries"] += 1


class _Samples:
    """Samples of a server's process."""

    def __init__(self, server: Victim) -> None:
        self._server = server
        self._began = time.monotonic()
        self.times: list[float] = []
        self.values: dict[str, list[float]] = {name: [] for name in (*_COUNTED, "resident")}

    def take(self) -> dict[str, float]:
        """Take a sample."""
        stats = {name: float(self._look()[name]) for name in ("open", *_COUNTED)}
        stats["resident"] = float(self._server.resident())
        self.times.append(time.monotonic() - self._began)
        for name, values in self.values.items():
            values.append(stats[name])
        return stats

    def _look(self) -> dict[str, Any]:
        return self._server.stats(collect=True)

    async def take_often(self, interval: float) -> None:
        """Take samples until cancelled."""
        while True:
            await asyncio.sleep(interval)
            await asyncio.to_thread(self.take)

    async def at_rest(self) -> dict[str, float]:
        """A sample taken after everybody has left."""
        given_up = time.monotonic() + _PATIENCE
        while (await asyncio.to_thread(self._look))["open"]:
            if time.monotonic() > given_up:
                break
            await asyncio.sleep(_POLL)
        await asyncio.sleep(_SETTLE)
        return await asyncio.to_thread(self.take)


async def _run(server: Victim, seconds: float, clients: int) -> Outcome:
    load = _Load(f"ws://127.0.0.1:{server.address[1]}/ws", clients)
    warm_up = min(_WARM_UP * seconds, _LONGEST_WARM_UP)
    await load.run(warm_up)
    before = await _Samples(server).at_rest()
    samples = _Samples(server)
    interval = max(_SHORTEST_INTERVAL, seconds / _SAMPLES)
    looking = asyncio.create_task(samples.take_often(interval))
    await load.run(seconds - warm_up)
    looking.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await looking
    under_load = samples.times[:], {name: values[:] for name, values in samples.values.items()}
    after = await samples.at_rest()
    return _judge(load, before, after, under_load)


def _judge(
    load: _Load,
    before: dict[str, float],
    after: dict[str, float],
    under_load: tuple[list[float], dict[str, list[float]]],
) -> Outcome:
    times, values = under_load
    slopes = {name: slope(times, numbers) for name, numbers in values.items()}
    slopes["resident"] /= MIB
    outcome = Outcome()
    outcome.figures = {
        "done": dict(load.done),
        "samples": len(times),
        "an hour (resident: MiB)": {name: round(value, 1) for name, value in slopes.items()},
        "at rest, after the warm-up": before,
        "at rest, at the end": after,
    }
    outcome.require(load.done["messages"] > 0, "nothing was sent")
    outcome.require(after["open"] == 0, f"{after['open']:.0f} clients never left")
    spare = {"descriptors": 0, "threads": 0, "objects": _SPARE_OBJECTS}
    for name in _COUNTED:
        grown = after[name] - before[name]
        outcome.require(grown <= spare[name], f"{grown:.0f} {name} more than at the beginning")
    grows = slopes["resident"]
    long = bool(times) and times[-1] - times[0] >= _LONG
    outcome.require(not long or grows < _SLOPE, f"memory grows by {grows:.1f} MiB an hour")
    failed = sum(count for what, count in load.done.items() if what.startswith("failed"))
    outcome.require(not failed, f"{failed} clients could not connect, or were cut off")
    return outcome


def churn(server: Victim, seconds: float, clients: int) -> Outcome:
    """Let clients come and go, that many at a time."""
    return asyncio.run(_run(server, seconds, clients))
