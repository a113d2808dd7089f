"""Clients in rooms send each other numbered messages through faults, checked by an oracle.

They publish a `message` or a `broadcast`; a client that loses its connection comes back into its
room by itself. At the end the faults stop, and everybody must receive everybody's last messages.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import random
import time
from collections import Counter
from dataclasses import dataclass
from typing import Any

from sono_client import AsyncSonoClient, ConnectionClosed
from sono_core.connect.backoff import Backoff, Reconnection
from tests.faults.oracle import KINDS, Oracle
from tests.faults.proxy import Plan, Proxy
from tests.servers import Address

PLAN = Plan(
    seed=1,
    slices=3000,
    cut=1_500_000,
    reset=1_500_000,
    stall=2_000_000,
    pause=0.05,
    calm=5000,
)
"""Each connection lasts for some hundreds of kilobytes, or thousands of messages."""
_WINDOW = 64  # messages of one client in flight: with more, most would be lost at each close
_PATIENCE = 60.0  # seconds in which the last messages must come
_POLL = 0.001  # seconds between two checks
_BROADCASTS = 0.2  # share of messages that do not come back to their sender


@dataclass
class Outcome:
    """The result of an exchange."""

    oracle: Oracle
    faults: Counter[str]
    connections: int
    refused: list[Any]
    """What the server refused, which should be nothing."""
    complete: bool
    """Whether the last messages came."""
    seconds: float

    @property
    def ok(self) -> bool:
        """Whether nothing was lost without a close, and nothing else went wrong."""
        return self.complete and not self.refused and not self.oracle.finish()

    def figures(self) -> dict[str, Any]:
        """The figures, for people and for JSON."""
        oracle = self.oracle
        oracle.finish()
        return {
            "published": oracle.sent,
            "delivered": oracle.delivered,
            "lost with a close": oracle.excused,
            **{kind: oracle.found[kind] for kind in KINDS},
            "refused": len(self.refused),
            "last words came": self.complete,
            "connections": self.connections,
            "faults": dict(self.faults),
            "seconds": round(self.seconds, 1),
        }


class _Member:
    """A client with a name and a room, over any number of connections."""

    def __init__(self, name: str, room: str, everybody: list[str], oracle: Oracle) -> None:
        self.name = name
        self._room = room
        self._others = tuple(other for other in everybody if other != name)
        self._everybody = tuple(everybody)
        self._oracle = oracle
        self._rng = random.Random(name)
        self._socket: object = None
        self._said = self._back = 0  # numbers of its last message, and of the last one back
        self.refused: list[Any] = []

    async def enter(self, url: str, stack: contextlib.AsyncExitStack) -> None:
        client = AsyncSonoClient(url, dialect="classic")
        # By default, a client that keeps losing its connection waits up to 20 seconds.
        backoff = Backoff(random=self._rng.random, base=0.01, cap=0.1)
        client._reconnection = Reconnection(backoff)
        client.on("message", self._hear)
        client.on("error", self.refused.append)
        client.on_connect(lambda: self._oracle.receives_anew(self.name))
        self.client = await stack.enter_async_context(client)
        self._socket = client.socket
        await client.change_channel(self._room)
        await client.grab("mychannel")

    def _hear(self, payload: Any) -> None:
        publisher, number, _ = payload["message"]
        if publisher == self.name:
            self._back = number
        self._oracle.received(self.name, publisher, number)

    async def publish(self, count: int) -> None:
        """Publish that many messages, including those that a lost connection swallows."""
        for _ in range(count):
            while self.client.socket.closed or self._waits_for_its_own():  # noqa: ASYNC110
                await asyncio.sleep(_POLL)
            await self._say()

    def _waits_for_its_own(self) -> bool:
        """Whether many messages are in flight; a new connection begins with none."""
        return self.client.socket is self._socket and self._said - self._back > _WINDOW

    async def _say(self) -> None:
        client, oracle = self.client, self._oracle
        if client.socket is not self._socket:
            self._socket = client.socket
            self._back = self._said
            oracle.sends_anew(self.name)
        alone = self._rng.random() < _BROADCASTS
        number = oracle.sends(self.name, self._others if alone else self._everybody)
        self._said = number
        said = (self.name, number, "." * self._rng.randrange(60))
        with contextlib.suppress(ConnectionClosed):
            await (client.broadcast if alone else client.message)(said)


async def _exchange(
    proxy: Proxy, oracle: Oracle, messages: int, rooms: int, size: int
) -> tuple[bool, list[Any]]:
    url = f"ws://127.0.0.1:{proxy.address[1]}/ws"
    members = []
    for room in range(rooms):
        names = [f"{room}-{number}" for number in range(size)]
        members += [_Member(name, f"room {room}", names, oracle) for name in names]
    async with contextlib.AsyncExitStack() as stack:
        for member in members:
            await member.enter(url, stack)
        await asyncio.gather(*(member.publish(messages // len(members)) for member in members))
        proxy.calm_down()
        complete = await _last_words(members, oracle)
        return complete, [error for member in members for error in member.refused]


async def _last_words(members: list[_Member], oracle: Oracle) -> bool:
    """Whether everybody receives everybody's last message; clients that are away will return."""
    given_up = time.monotonic() + _PATIENCE
    for looks in itertools.count(250, 250):  # longer each time, for machines that are busy
        if time.monotonic() > given_up:
            break
        await asyncio.gather(*(member.publish(1) for member in members))
        for _ in range(looks):
            if oracle.complete():
                return True
            await asyncio.sleep(_POLL)
    return False


def exchange(
    server: Address,
    messages: int,
    *,
    plan: Plan = PLAN,
    rooms: int = 4,
    size: int = 3,
) -> Outcome:
    """Publish messages to a server that has a Sono with open channels at /ws.

    Args:
        server: its address.
        messages: in all.
        plan: the faults of connections.
        rooms: channels.
        size: clients in each.
    """
    oracle = Oracle()
    began = time.monotonic()
    with Proxy(server, plan) as proxy:
        complete, refused = asyncio.run(_exchange(proxy, oracle, messages, rooms, size))
    seconds = time.monotonic() - began
    return Outcome(oracle, proxy.faults, proxy.connections, refused, complete, seconds)
