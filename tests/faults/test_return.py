"""Clients that were all dropped at once come back, and not all at once (D9)."""

from __future__ import annotations

import asyncio
import heapq
import random
import time
from collections import Counter

import pytest

from sono_client import AsyncSonoClient
from sono_core import Close
from sono_core.connect.backoff import Backoff, Reconnection
from sono_core.errors import ConnectError
from tests.faults.victims import KINDS, Victim, victim

LOST = Close(1006, "", False)


def returns(clients: int, away: float, rate: int) -> tuple[list[float], int]:
    """When each client is back, on a fake clock, and how many attempts that took.

    Args:
        clients: all dropped at 0.
        away: seconds for which the server refuses connections.
        rate: connections a second that it takes then; it answers the others with 503.
    """
    rng = random.Random(clients)
    plans = [Reconnection(Backoff(random=rng.random)) for _ in range(clients)]
    attempts: list[tuple[float, int]] = []
    for number, plan in enumerate(plans):
        plan.opened(-3600.0)
        delay = plan.after(LOST, 0.0)
        assert delay is not None
        attempts.append((delay, number))
    heapq.heapify(attempts)
    back: list[float] = []
    taken: Counter[int] = Counter()  # in each tenth of a second
    tried = 0
    while attempts:
        now, number = heapq.heappop(attempts)
        tried += 1
        tenth = int(now * 10)
        if now >= away and taken[tenth] < rate / 10:
            taken[tenth] += 1
            back.append(now)
            continue
        failure = ConnectError("refused", None if now < away else 503)
        delay = plans[number].after(failure, now)
        assert delay is not None
        heapq.heappush(attempts, (now + delay, number))
    return back, tried


def test_d09_ten_thousand_that_were_dropped_at_once_return_evenly() -> None:
    back, tried = returns(10_000, away=0.0, rate=1_000_000)
    assert tried == len(back) == 10_000
    assert min(back) >= 0.5
    assert max(back) < 1.0
    busiest = max(Counter(int(at * 100) for at in back).values())
    assert busiest < 2 * 10_000 / 50  # of the 50 hundredths of a second in which they may come


@pytest.mark.parametrize("away", [0.0, 5.0, 60.0])
def test_d09_a_server_that_takes_a_thousand_a_second_is_not_overrun(away: float) -> None:
    """However long the server was away, everybody is back in minutes, after a few attempts each."""
    back, tried = returns(10_000, away, rate=1000)
    assert len(back) == 10_000
    assert max(back) < away + 120
    assert tried / 10_000 < 25


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_d09_hundreds_whose_server_is_killed_all_come_back_apart(kind: str) -> None:
    count = 200
    arrivals: list[float] = []
    delays: list[float] = []

    async def patient(seconds: float) -> None:
        delays.append(seconds)
        await asyncio.sleep(seconds)

    async def connected(server: Victim) -> None:
        host, port = server.address
        clients = [AsyncSonoClient(f"ws://{host}:{port}/ws") for _ in range(count)]
        try:
            for client in clients:
                client._sleep = patient
                client.on_connect(lambda: arrivals.append(time.monotonic()))
                await client.__aenter__()
            server.program.process.kill()
            server.program.process.wait()
            with victim(kind, f"--port={port}") as again:
                await asyncio.wait_for(all_back(again), 30)
        finally:
            await asyncio.gather(*(client.close() for client in clients))

    async def all_back(server: Victim) -> None:
        while len(arrivals) < count:  # noqa: ASYNC110 - nothing tells
            await asyncio.sleep(0.01)
        assert server.stats()["clients"] == count

    with victim(kind) as server:
        asyncio.run(connected(server))
    assert len(arrivals) == count  # each once
    assert len(set(delays)) == len(delays)  # no two delays are equal
    # The planned delays: on a busy machine all clients are late, in the same turn of their loop.
    first = delays[:count]
    assert max(first) - min(first) > 0.2
    assert max(Counter(int(delay * 20) for delay in first).values()) < count / 2
