"""What several processes and their Redis cost by themselves: `python -m benchmarks.scale`.

What compares Sono with others, or several workers with one process, is in the rows B1, B2 and N1.
"""

import argparse
import asyncio
import contextlib
import math
import sys
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import AsyncExitStack
from typing import TypeVar

from sono_client import AsyncJoinedChannel, AsyncSonoClient

from . import load
from .machine import describe
from .memory import idle_connections, private
from .nodes import together
from .one_redis import KINDS, flooded
from .peers import Nodes, Server
from .peers.common import more_descriptors
from .report import circumstances, line
from .served import cpu_seconds
from .subjects import obstacle, options_of, start, versions
from .targets import BROKER, SONO_V2
from .units import duration, number, size

FOLLOWERS = (0, 2, 10)
"""Nodes that follow each of the channels in which is published."""
CHANNELS = 20_000
CONNECTIONS = 5000
EACH = 125
"""Channels of a client; 128 are the most."""
_PATIENCE = 60.0  # seconds
_SETTLE = 2.0  # seconds
_AT_ONCE = 16  # joins and publications of a client that wait for their answers

T = TypeVar("T")
R = TypeVar("R")
Rows = Iterator[Sequence[str]]


def one_redis(seconds: float) -> Rows:
    """Where one Redis ends: 100 B in 100 channels, by 8 connections"""
    yield "what", "nodes that follow", "CPU for each", "a second of CPU", "busy", "memory a channel"
    for name, kind in KINDS.items():
        for followers in FOLLOWERS:
            with start(BROKER, "nodes") as broker:
                url = f"redis://127.0.0.1:{broker.port}"
                taken = flooded(broker, kind(url), followers, seconds)
            cost, full = duration(taken.cost), number(1e9 / taken.cost)
            yield name, str(followers), cost, full, f"{taken.busy:.0%}", size(taken.held)


def absent(seconds: float) -> Rows:
    """A node that has no member for what is published"""
    yield "publications a second", "its CPU, idle", "its CPU meanwhile", "for a publication"
    with together(SONO_V2, "nodes", 2) as nodes:
        here, there = nodes.servers
        idle, busy, rate = asyncio.run(_publish_past(here, there, seconds))
    cost = duration((busy - idle) / rate * 1e9)
    yield number(rate), f"{idle:.2%} of a core", f"{busy:.2%}", cost


async def _publish_past(here: Server, there: Server, seconds: float) -> tuple[float, float, float]:
    program, port = load.build().load, f"--port={here.port}"
    shape = "--connections=2", "--in-flight=64", "--size=128", f"--seconds={seconds}"
    options = options_of(SONO_V2, "nodes", "fanout")
    async with AsyncSonoClient(f"ws://127.0.0.1:{there.port}/ws") as apart:
        await apart.change_channel("apart")
        await asyncio.sleep(_SETTLE)
        meter = Meter([there.pids])
        await asyncio.sleep(seconds)
        [idle] = meter.shares()
        meter = Meter([there.pids])
        result = await asyncio.to_thread(load.run, program, "fanout", port, *shape, *options)
        [busy] = meter.shares()
    return idle, busy, result["published"] / result["seconds"]


def connections(seconds: float) -> Rows:
    """5,000 connections of sono.v2 to one node, in one channel"""
    yield "what", "the node", "Redis"
    options = options_of(SONO_V2, "nodes", "idle")
    with together(SONO_V2, "nodes", 1) as nodes:
        processes = [nodes.servers[0].pids, nodes.broker.pids]
        port = nodes.ports[0]
        with idle_connections(port, 10, options):
            pass
        empty, meter = [private(pids) for pids in processes], Meter(processes)
        with idle_connections(port, CONNECTIONS, options):
            time.sleep(_SETTLE)
            spent = [duration(s / CONNECTIONS * 1e9) for s in meter.seconds()]
            held = [private(pids) - was for pids, was in zip(processes, empty, strict=True)]
            meter = Meter(processes)
            time.sleep(seconds)
            idle = [f"{share:.2%}" for share in meter.shares()]
    yield "CPU until one is welcome", *spent
    yield "memory of one", *(size(part / CONNECTIONS) for part in held)
    yield "CPU when nothing happens, of a core", *idle


def many_channels(seconds: float) -> Rows:
    """20,000 channels, each with a member on both of two nodes"""
    yield "what", "one node", "the other", "Redis"
    with together(SONO_V2, "nodes", 2) as nodes:
        yield from asyncio.run(_join_all(nodes, seconds))


async def _join_all(nodes: Nodes, seconds: float) -> list[Sequence[str]]:
    processes = [one.pids for one in (*nodes.servers, nodes.broker)]
    heard: set[str] = set()
    all_heard = asyncio.Event()
    rows: list[Sequence[str]] = []

    def add(what: str, values: Sequence[object]) -> None:
        rows.append((what, *map(str, values)))

    def hear(data: object, about: object) -> None:
        heard.add(str(data))
        if len(heard) == CHANNELS:
            all_heard.set()

    async with AsyncExitStack() as stack:
        clients = [await _clients(stack, server) for server in nodes.servers]
        await asyncio.sleep(_SETTLE)
        empty, meter = [private(pids) for pids in processes], Meter(processes)
        rooms = [await _join(some) for some in clients]
        add("to follow them, in all", (f"{meter.passed:.1f} s", "", ""))
        add("CPU meanwhile", [f"{spent:.2f} s" for spent in meter.seconds()])
        await asyncio.sleep(_SETTLE)
        held = [private(pids) - was for pids, was in zip(processes, empty, strict=True)]
        add("memory of a channel", [size(bytes_ / CHANNELS) for bytes_ in held])
        meter = Meter(processes)
        await asyncio.sleep(seconds)
        add("CPU when nothing happens, of a core", [f"{share:.2%}" for share in meter.shares()])
        for room in rooms[1]:
            room.on("news", hear)
        meter = Meter(processes)
        await _each(rooms[0], lambda room: room.publish("news", room.name))
        with contextlib.suppress(asyncio.TimeoutError):  # how many came is told
            await asyncio.wait_for(all_heard.wait(), _PATIENCE)
        add("to publish in each, in all", (f"{meter.passed:.1f} s", "", ""))
        add("CPU of a publication", [duration(s / CHANNELS * 1e9) for s in meter.seconds()])
        add("publications that arrived", ("", f"{len(heard):,}", ""))
    return rows


async def _clients(stack: AsyncExitStack, server: Server) -> list[AsyncSonoClient]:
    url, count = f"ws://127.0.0.1:{server.port}/ws", math.ceil(CHANNELS / EACH)
    return [await stack.enter_async_context(AsyncSonoClient(url)) for _ in range(count)]


async def _join(clients: Sequence[AsyncSonoClient]) -> list[AsyncJoinedChannel]:
    wanted = [(clients[at // EACH], f"channel-{at}") for at in range(CHANNELS)]
    return await _each(wanted, lambda one: one[0].join(one[1]))


async def _each(items: Sequence[T], work: Callable[[T], Awaitable[R]]) -> list[R]:
    """Do it to all, in some tasks beside each other."""
    results: list[R] = []
    left = iter(items)

    async def some() -> None:
        for item in left:
            results.append(await work(item))

    await asyncio.gather(*(some() for _ in range(_AT_ONCE)))
    return results


class Meter:
    """The CPU time of groups of processes from now on.

    Args:
        groups: process ids.
    """

    def __init__(self, groups: Sequence[Sequence[int]]) -> None:
        self._groups = groups
        self._began = time.monotonic()
        self._spent = [cpu_seconds(pids) for pids in groups]

    @property
    def passed(self) -> float:
        """Seconds by the clock."""
        return time.monotonic() - self._began

    def seconds(self) -> list[float]:
        """Of CPU time of each group."""
        return [cpu_seconds(g) - was for g, was in zip(self._groups, self._spent, strict=True)]

    def shares(self) -> list[float]:
        """Of a core, of each group."""
        return [spent / self.passed for spent in self.seconds()]


PARTS = {
    "redis": one_redis,
    "absent": absent,
    "connections": connections,
    "channels": many_channels,
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; the exit status."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scale", description=__doc__)
    add = parser.add_argument
    add("parts", nargs="*", metavar="PART", help=f"of {', '.join(PARTS)}; all by default")
    add("--seconds", type=float, default=5.0, help="of each measurement (default: %(default)s)")
    options = parser.parse_args(arguments)
    if unknown := set(options.parts) - set(PARTS):
        parser.error(f"{min(unknown)!r} is no part; there are {', '.join(PARTS)}")
    for subject in (BROKER, SONO_V2):
        if why := obstacle(subject):
            print(f"benchmarks: {subject} is missing: {why}", file=sys.stderr)
            return 2
    more_descriptors()
    print("\n".join(circumstances(describe({BROKER: versions()[BROKER]}))))
    for name in options.parts or PARTS:
        part = PARTS[name]
        print(f"\n## {part.__doc__}\n")
        for at, cells in enumerate(part(options.seconds)):
            print(line(cells), flush=True)
            if at == 0:
                print(line("---" for _ in cells))
    return 0


if __name__ == "__main__":
    sys.exit(main())
