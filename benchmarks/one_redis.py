"""Where one Redis ends: the publications that it takes when it has no time left.

The commands are those that a `Publisher` sends, recorded and sent again by hand, since no node
could fill a core of Redis from one other core.
"""

import multiprocessing
import os
import selectors
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from multiprocessing.synchronize import Event
from typing import Any, NamedTuple
from unittest import mock

from .machine import cores
from .measure import WARM_UP
from .peers import Server
from .served import cpu_seconds

SIZE = 100
"""Bytes of what is published."""
CHANNELS = 100
"""So few that their histories are soon full, as those of a busy server are."""
CONNECTIONS, BATCH = 8, 16
"""As many nodes, which send so many commands together when there is much to say."""
_ROOM, _KEY = "room-{:04}", "key-{:016}"
_PATIENCE = 30.0  # seconds


class Kind(NamedTuple):
    """What is sent to Redis over and over.

    Args:
        template: a command, with a room and a key in it.
        name: of the command, as Redis counts it.
        reply: how each reply begins, and nothing else in it.
        channel: where followers of a room hear it.
    """

    template: bytes
    name: str
    reply: bytes
    channel: Callable[[str], str]


def publication(url: str) -> Kind:
    """What a `Publisher` sends for a publication."""
    from redis.connection import Connection

    from sono_server import Publisher
    from sono_server.backplane.redis.servers import Link

    said: list[tuple[Any, ...]] = []
    send = Link.send

    def recorded(link: Link, *commands: Any) -> None:
        said.extend(commands)
        send(link, *commands)

    with mock.patch.object(Link, "send", recorded), Publisher(url) as publisher:
        publisher.publish(_ROOM.format(0), "message", "x" * SIZE, key=_KEY.format(0))
    [command] = (words for words in said if words[0] == "EVALSHA" and _KEY.format(0) in words)
    [name, *_] = command[3:]  # the first of its KEYS, which is the channel as well
    packed = b"".join(Connection().pack_command(*command))
    return Kind(packed, "evalsha", b"*2\r\n", lambda room: name.replace(_ROOM.format(0), room))


def publish_alone(url: str) -> Kind:
    """`PUBLISH` of as many bytes, which keeps nothing."""
    from redis.connection import Connection

    words = ("PUBLISH", _ROOM.format(0), "x" * SIZE)
    return Kind(b"".join(Connection().pack_command(*words)), "publish", b":", str)


KINDS = {"publication": publication, "PUBLISH alone": publish_alone}


def _batches(kind: Kind, number: int) -> Iterator[bytes]:
    """Commands to send together, without end: each for another room, with another key."""
    pieces = kind.template.split(_ROOM.format(0).encode())
    while True:
        commands = []
        for _ in range(BATCH):
            number += CONNECTIONS
            command = _ROOM.format(number % CHANNELS).encode().join(pieces)
            commands.append(command.replace(_KEY.format(0).encode(), _KEY.format(number).encode()))
        yield b"".join(commands)


class Taken(NamedTuple):
    """What Redis took while it was flooded."""

    rate: float
    """A second."""
    busy: float
    """The share of its core."""
    held: float
    """Bytes of its memory for each channel, with a full history, and the keys of publications."""

    @property
    def cost(self) -> float:
        """Nanoseconds of CPU time for each."""
        return self.busy / self.rate * 1e9


def flooded(broker: Server, kind: Kind, followers: int, seconds: float) -> Taken:
    """Flood a Redis on a core of its own, with so many connections that follow every room.

    Raises:
        RuntimeError: Redis took nothing, or cut off a connection that read too slowly.
    """
    from redis import Redis

    def taken() -> tuple[float, float, float]:
        stats = client.info("commandstats").get(f"cmdstat_{kind.name}", {"calls": 0})
        return time.monotonic(), float(stats["calls"]), cpu_seconds(broker.pids)

    with Redis(port=broker.port) as client:
        empty = client.info("memory")["used_memory"]
        with ExitStack() as stack:
            if followers:
                stack.enter_context(Beside(_follow, broker.port, kind.channel, followers))
            stack.enter_context(Beside(_flood, broker.port, kind))
            time.sleep(WARM_UP)
            before = taken()
            time.sleep(seconds)
            passed, count, spent = (b - a for a, b in zip(before, taken(), strict=True))
            [(_, left)] = client.pubsub_numsub(kind.channel(_ROOM.format(0)))
        held = client.info("memory")["used_memory"] - empty
    if not count or left != followers:
        raise RuntimeError(f"{count} commands were taken, {left} of {followers} followers are left")
    return Taken(count / passed, spent / passed, held / CHANNELS)


class Beside(ExitStack):
    """A function in a process of its own on the load's core, for the length of a with statement."""

    def __init__(self, function: Callable[..., None], *arguments: object) -> None:
        super().__init__()
        ready = multiprocessing.Event()
        process = multiprocessing.Process(target=_run, args=(function, ready, *arguments))
        process.start()
        self.callback(process.join)
        self.callback(process.kill)
        if not ready.wait(_PATIENCE):
            self.close()
            raise RuntimeError("the load does not start")


def _run(function: Callable[..., None], ready: Event, *arguments: object) -> None:
    os.sched_setaffinity(0, {cores()[1]})
    function(ready, *arguments)


def _flood(ready: Event, port: int, kind: Kind) -> None:
    with ExitStack() as stack:
        ends = []
        for number in range(CONNECTIONS):
            sock = stack.enter_context(socket.create_connection(("127.0.0.1", port)))
            batches = _batches(kind, number)
            sock.sendall(next(batches))
            ends.append((sock, batches))
        ready.set()
        while True:
            for sock, batches in ends:
                _take_replies(sock, kind.reply)
                sock.sendall(next(batches))


def _take_replies(sock: socket.socket, reply: bytes) -> None:
    replies, rest = 0, b""
    while replies < BATCH:
        got = sock.recv(1 << 16)
        if not got or got.startswith(b"-"):
            raise RuntimeError(f"Redis refuses: {got[:200]!r}")
        got = rest + got
        replies += got.count(reply)
        rest = got[len(got) - len(reply) + 1 :]


def _follow(ready: Event, port: int, channel: Callable[[str], str], count: int) -> None:
    names = " ".join(channel(_ROOM.format(room)) for room in range(CHANNELS))
    with selectors.DefaultSelector() as selector:
        for _ in range(count):
            sock = socket.create_connection(("127.0.0.1", port))
            sock.sendall(f"SUBSCRIBE {names}\r\n".encode())
            selector.register(sock, selectors.EVENT_READ)
        ready.set()
        while True:
            for key, _ in selector.select():
                if not os.read(key.fd, 1 << 18):
                    raise ConnectionError("Redis cuts a follower off")
