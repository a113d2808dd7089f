"""Cases that measure how long a client waits while others do what costs much.

Run as a program, it is the load: members that read, senders that send as often as they may, or
connections that flood the server with frames; and a client in a channel of its own, whose waits for
an answer count.
"""

import json
import math
import multiprocessing
import os
import selectors
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from sono_core.websocket import encode_frame
from sono_core.websocket.opcodes import CONTINUATION, PING, TEXT

from .machine import cores
from .measure import Reading, Unit
from .memory import Weighed
from .peers import Server
from .subjects import start
from .units import WAIT

_PATIENCE = 30.0  # seconds
_PAUSE = 0.02  # seconds between two questions, and between two rounds of the senders
_AT_ONCE = 50  # packets
_MASK = b"mask"
_FLOODED = 64 * 1024  # bytes that each connection sends at once
_DEFLATE = "Sec-WebSocket-Extensions: permessage-deflate\r\n"


def _compressed_fragments() -> bytes:
    """A compressed message of 1,001 fragments: a byte of blocks that hold nothing in each."""
    data = b"\x00\x00\x00\xff\xff" * 200 + b"\x00"
    first = encode_frame(TEXT, data[:1], fin=False, rsv1=True, mask=_MASK)
    middle = (
        encode_frame(CONTINUATION, data[at : at + 1], fin=False, mask=_MASK)
        for at in range(1, len(data) - 1)
    )
    return b"".join((first, *middle, encode_frame(CONTINUATION, data[-1:], mask=_MASK)))


FLOODS = {
    "pings": encode_frame(PING, b"", mask=_MASK) * 400,
    "fragments": _compressed_fragments(),
    "blocks": encode_frame(TEXT, b"\x03\x00" * 1024, rsv1=True, mask=_MASK),
}
"""What a connection sends over and over, by the name of the flood."""


@dataclass(frozen=True, kw_only=True)
class Crowd(Weighed):
    """The wait of a client while others send to a channel with many members."""

    mode: str = "sono"
    command: str = "fanout"
    unit: Unit = WAIT
    members: int
    senders: int

    def weigh(self, server: Server, options: list[str], seconds: float) -> Reading:
        """The wait that 99 of 100 answers do not exceed."""
        return _wait_beside("crowd", server, seconds, self.members, self.senders)


@dataclass(frozen=True, kw_only=True)
class Flood(Weighed):
    """The wait of a client while connections send frames that cost the server much.

    Args:
        kind: of `FLOODS`.
    """

    mode: str = "sono"
    command: str = "echo"
    unit: Unit = WAIT
    kind: str
    connections: int = 100

    def _fresh(self, subject: str, seconds: float) -> Reading:
        with start(subject, self.mode, deflate=True) as server:
            return _wait_beside("flood", server, seconds, self.kind, self.connections)


def _wait_beside(load: str, server: Server, seconds: float, *what: object) -> Reading:
    """Measure in another process, on the load's core."""
    arguments = load, server.port, max(seconds, 3.0), *what
    result = subprocess.run(
        ["taskset", "-c", str(cores()[1]), sys.executable, "-m", __name__, *map(str, arguments)],
        cwd=Path(__file__).parents[1],
        stdout=subprocess.PIPE,
        check=True,
        text=True,
    )
    return Reading(json.loads(result.stdout)["p99"] * 1e9)


def _connect(port: int, fields: str = "") -> socket.socket:
    sock = socket.create_connection(("127.0.0.1", port), _PATIENCE)
    sock.sendall(
        f"GET /ws HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nUpgrade: websocket\r\n"
        "Connection: Upgrade\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"
        f"Sec-WebSocket-Version: 13\r\n{fields}\r\n".encode()
    )
    while b"\r\n\r\n" not in sock.recv(4096):
        pass
    return sock


def _packet(protocol: str, **payload: str) -> bytes:
    event = "grab" if protocol == "grab" else "message"
    packet = {"protocol": protocol, "event": event, "payload": payload}
    return encode_frame(TEXT, json.dumps(packet).encode(), mask=_MASK)


def _read_all(port: int, count: int, ready: "multiprocessing.synchronize.Event") -> None:
    """Members that read whatever comes, until this process is ended."""
    with selectors.DefaultSelector() as selector:
        for _ in range(count):
            selector.register(_connect(port), selectors.EVENT_READ)
        ready.set()
        while True:
            for key, _ in selector.select():
                os.read(key.fd, 1 << 18)


def _send_all(port: int, count: int, ready: "multiprocessing.synchronize.Event") -> None:
    """Senders, likewise."""
    senders = [_connect(port) for _ in range(count)]
    packets = _packet("message", message="x" * 100) * _AT_ONCE
    for sender in senders:
        sender.setblocking(False)
    ready.set()
    while True:
        for sender in senders:
            try:
                while sender.recv(1 << 20):
                    pass
            except BlockingIOError:
                pass
            try:
                sender.send(packets)
            except BlockingIOError:
                pass
        time.sleep(_PAUSE)


def _waits(port: int, seconds: float) -> list[float]:
    """How long each question of another client waits for its answer, in seconds."""
    waits = []
    with _connect(port) as sock:
        sock.sendall(_packet("changeChannel", to="apart"))
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            asked = time.monotonic()
            sock.sendall(_packet("grab", message="myid"))
            while b'"myid"' not in sock.recv(1 << 20):
                pass
            waits.append(time.monotonic() - asked)
            time.sleep(_PAUSE)
    return sorted(waits)


def _flood(port: int, kind: str, count: int, ready: "multiprocessing.synchronize.Event") -> None:
    """Connections that send one kind of frames without end."""
    data = FLOODS[kind] * max(1, _FLOODED // len(FLOODS[kind]))
    left = {_connect(port, _DEFLATE): memoryview(data) for _ in range(count)}
    for sock in left:
        sock.setblocking(False)
    ready.set()
    while True:
        for sock in left:
            try:
                while sock.recv(1 << 20):
                    pass
            except BlockingIOError:
                pass
            try:
                left[sock] = left[sock][sock.send(left[sock]) :] or memoryview(data)
            except BlockingIOError:
                pass
        time.sleep(_PAUSE)


@contextmanager
def _beside(*functions: Any) -> Iterator[None]:
    """Run functions in processes of their own, for the length of a with statement.

    Args:
        functions: each is called with an event, which it sets once it has begun.
    """
    processes = []
    try:
        for function in functions:
            ready = multiprocessing.Event()
            process = multiprocessing.Process(target=function, args=(ready,), daemon=True)
            process.start()
            processes.append(process)
            ready.wait(_PATIENCE)
        yield
    finally:
        for process in processes:
            process.terminate()


def main(load: str, port: int, seconds: float, *what: str) -> None:
    """Put the load on a server, and print what it measured as JSON."""
    with socket.create_connection(("127.0.0.1", port)):
        pass
    if load == "flood":
        functions = [partial(_flood, port, what[0], int(what[1]))]
    else:
        members, senders = map(int, what)
        functions = [partial(_read_all, port, members), partial(_send_all, port, senders)]
    with _beside(*functions):
        waits = _waits(port, seconds)
    at = min(len(waits) - 1, math.floor(0.99 * len(waits)))
    print(json.dumps({"p99": waits[at], "answers": len(waits)}))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), float(sys.argv[3]), *sys.argv[4:])
