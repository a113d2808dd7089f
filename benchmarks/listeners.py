"""How connections spread over workers, and what becomes of them while one is killed.

One listener that all workers share, beside a socket with SO_REUSEPORT for each, which the parent
holds: `python -m benchmarks.listeners`. The figures are in docs/scaling.md.
"""

import contextlib
import os
import re
import select
import signal
import socket
import statistics
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from sono_server.operations import supervise
from sono_server.serving import WorkerListeners, listen, spread

CONNECTIONS = 2000
_APPLICATION = """
import os
from sono_server import Sono

sono = Sono()

@sono.on_connect
def greet(client):
    client.send("worker", os.getpid())
"""
_HELLO = (
    b"GET /ws HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)
_worker = re.compile(rb'"message":(\d+)').search
_PERIOD = 0.005  # seconds from one connection to the next while a worker is killed
_LATE = 0.1  # seconds


class Outcome(NamedTuple):
    """What became of one connection."""

    worker: int
    """The process that served it; 0: nobody did."""
    seconds: float


@contextlib.contextmanager
def running(workers: int, make: Callable[[], WorkerListeners]) -> Iterator[int]:
    """Workers behind listeners; the port."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "app.py")
        file.write_text(_APPLICATION)
        listeners = make()
        port: int = listeners.address[1]  # type: ignore[index]
        said, say = os.pipe()
        parent = os.fork()
        if not parent:
            os.close(said)
            # As `sono serve --workers` does; each is told of one, as they need no broker here.
            arguments = ["serve", "--workers=1", "--drain=1", "--log-level=error", str(file)]
            started = lambda: os.write(say, b"1")  # noqa: E731
            os._exit(supervise(arguments, listeners, workers=workers, drain=1, opened=started))
        os.close(say)
        listeners.close()
        try:
            assert os.read(said, 1), "they have not started"
            yield port
        finally:
            os.kill(parent, signal.SIGTERM)
            os.waitpid(parent, 0)
            os.close(said)


class Visitor:
    """One connection, from the first SYN until a worker has said its number."""

    def __init__(self, port: int) -> None:
        self.began = time.monotonic()
        self.sock = socket.socket()
        self.sock.setblocking(False)
        self.sock.connect_ex(("127.0.0.1", port))
        self._text = b""
        self._asked = False

    def go_on(self) -> Outcome | None:
        """Call when something has happened to the socket; what became of it, once that is known."""
        try:
            if not self._asked:
                self._asked = True
                self.sock.sendall(_HELLO)
                return None
            data = self.sock.recv(4096)
        except OSError:
            data = b""
        self._text += data
        if found := _worker(self._text):
            return Outcome(int(found[1]), time.monotonic() - self.began)
        return None if data else Outcome(0, time.monotonic() - self.began)


def visit(port: int, times: list[float], event: Callable[[int, int], object]) -> list[Outcome]:
    """Connect at these times, counted in seconds from now; connections stay until the end.

    Args:
        event: called before each, with its number and the process that served the last one.
    """
    poll = select.poll()
    visitors: dict[int, Visitor] = {}
    outcomes: list[Outcome] = []
    start, begun = time.monotonic(), 0
    kept: list[socket.socket] = []
    while len(outcomes) < len(times):
        now = time.monotonic() - start
        while begun < len(times) and times[begun] <= now:
            event(begun, outcomes[-1].worker if outcomes else 0)
            begun += 1
            one = Visitor(port)
            visitors[one.sock.fileno()] = one
            poll.register(one.sock, select.POLLOUT)
        wait = 1000.0 if begun == len(times) else max(0.0, (times[begun] - now) * 1000)
        for descriptor, _ in poll.poll(wait):
            one = visitors[descriptor]
            outcome = one.go_on()
            poll.modify(descriptor, select.POLLIN)
            if outcome:
                outcomes.append(outcome)
                poll.unregister(descriptor)
                kept.append(one.sock)
                del visitors[descriptor]
    for sock in kept:
        sock.close()
    return outcomes


def spreading(port: int, pace: float) -> str:
    outcomes = visit(port, [n * pace for n in range(CONNECTIONS)], lambda number, worker: None)
    counts = sorted(Counter(outcome.worker for outcome in outcomes).values(), reverse=True)
    return " / ".join(map(str, counts))


def killing(port: int) -> str:
    killed: list[int] = []

    def kill(number: int, worker: int) -> None:
        if number >= 200 and not killed and worker:
            killed.append(worker)
            os.kill(worker, signal.SIGKILL)

    outcomes = visit(port, [n * _PERIOD for n in range(1000)], kill)
    lost = sum(not outcome.worker for outcome in outcomes)
    times = [outcome.seconds for outcome in outcomes if outcome.worker]
    late = sum(seconds > _LATE for seconds in times)
    return (
        f"lost {lost}, later than {_LATE * 1000:.0f} ms {late}, latest {max(times):.2f} s,"
        f" median {statistics.median(times) * 1000:.1f} ms"
    )


def main() -> None:
    """Print the figures."""
    kinds: dict[str, Callable[[int], WorkerListeners]] = {
        "one listener": lambda workers: WorkerListeners(listen("127.0.0.1", 0)),
        "SO_REUSEPORT": lambda workers: spread("127.0.0.1", 0, workers),
    }
    for workers in (2, 4):
        for kind, make in kinds.items():
            for name, measure in (
                ("at once", lambda port: spreading(port, 0.0)),
                ("1 in 2 ms", lambda port: spreading(port, 0.002)),
                ("a worker killed", killing),
            ):
                with running(workers, lambda: make(workers)) as port:  # noqa: B023
                    print(f"{workers} workers, {kind}, {name}: {measure(port)}", flush=True)


if __name__ == "__main__":
    main()
