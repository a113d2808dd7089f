"""Cases that measure a server's memory: with idle connections, and with members that do not read.

Each measurement has a fresh server, because processes seldom give memory back.
"""

import json
import re
import subprocess
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from . import load
from .cases import Case, Ready
from .machine import cores
from .measure import WARM_UP, Reading, Unit
from .peers import Server
from .served import new_certificate
from .subjects import obstacle, options_of, start
from .units import CONNECTION_SIZE, MEMORY

_PRIVATE = re.compile(r"^Private_\w+:\s+(\d+) kB", re.MULTILINE)
_RESIDENT = re.compile(r"^VmRSS:\s+(\d+) kB", re.MULTILINE)
_PEAK = re.compile(r"^VmHWM:\s+(\d+) kB", re.MULTILINE)
_FILLING = 2.0  # seconds until queues have filled as well as the kernel's buffers
_SETTLE = 0.3  # seconds for a server to finish its work after the last handshake


def private(pids: Iterable[int]) -> int:
    """Bytes that these processes have in memory and share with no other process."""
    return sum(_sum(_PRIVATE, f"/proc/{pid}/smaps_rollup") for pid in pids)


def resident(pids: Iterable[int]) -> int:
    """Bytes that these processes have in memory, shared or not."""
    return sum(_sum(_RESIDENT, f"/proc/{pid}/status") for pid in pids)


def peak(pids: Iterable[int]) -> int:
    """The most bytes that these processes ever had in memory."""
    return sum(_sum(_PEAK, f"/proc/{pid}/status") for pid in pids)


def _sum(pattern: re.Pattern[str], path: str) -> int:
    return 1024 * sum(map(int, pattern.findall(Path(path).read_text())))


@dataclass(frozen=True, kw_only=True)
class Weighed(Case):
    """A case that starts a server for each measurement.

    Args:
        mode: of the servers.
        command: of the load generator.
        tls: the connections are over TLS 1.3.
    """

    mode: str
    command: str
    tls: bool = False

    @contextmanager
    def open(self) -> Iterator[Ready]:
        """Nothing runs between measurements."""
        missing = {name: why for name in self.subjects if (why := obstacle(name))}
        there = [name for name in self.subjects if name not in missing]
        yield Ready({name: partial(self._fresh, name) for name in there}, missing)

    def _fresh(self, subject: str, seconds: float) -> Reading:
        options = options_of(subject, self.mode, self.command) + ["--tls"] * self.tls
        with (
            new_certificate() if self.tls else nullcontext() as certificate,
            start(subject, self.mode, certificate=certificate) as server,
        ):
            return self.weigh(server, options, seconds)

    def weigh(self, server: Server, options: list[str], seconds: float) -> Reading:
        """Take one measurement; `options` tell the load generator what the server needs."""
        raise NotImplementedError


@dataclass(frozen=True, kw_only=True)
class Idle(Weighed):
    """The memory of an idle connection."""

    command: str = "idle"
    connections: int
    unit: Unit = CONNECTION_SIZE

    def weigh(self, server: Server, options: list[str], seconds: float) -> Reading:
        """Memory with that many connections, less what it was after the first had come and gone."""
        with idle_connections(server.port, 10, options):
            pass
        before = private(server.pids)
        with idle_connections(server.port, self.connections, options):
            time.sleep(_SETTLE)
            after = private(server.pids)
        return Reading((after - before) / self.connections)


@dataclass(frozen=True, kw_only=True)
class SlowReaders(Weighed):
    """The memory of a fan-out with many members that never read."""

    mode: str = "fanout"
    command: str = "fanout"
    unit: Unit = MEMORY
    slow: int
    size: int

    def weigh(self, server: Server, options: list[str], seconds: float) -> Reading:
        """The most memory that the server took, less what it had before."""
        before = resident(server.pids)
        result = load.run(
            load.build().load,
            self.command,
            f"--port={server.port}",
            f"--slow={self.slow}",
            f"--size={self.size}",
            "--connections=10",
            "--in-flight=4",
            *("--warmup", WARM_UP),
            *("--seconds", max(seconds, _FILLING)),
            *options,
            core=cores()[1],
        )
        return Reading(peak(server.pids) - before, errors=result["errors"])


@contextmanager
def idle_connections(port: int, count: int, options: Iterable[str]) -> Iterator[None]:
    """Connections that stay open and do nothing, for the length of a with statement.

    Raises:
        RuntimeError: some could not be opened, or did not stay open.
    """
    command = [str(load.build().load), "idle", f"--port={port}", f"--connections={count}", *options]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin
        assert process.stdout
        assert process.stderr
        opened = process.stdout.readline()
        if not opened:
            raise RuntimeError(process.stderr.read().strip() or "the load ended")
        try:
            yield
        finally:
            process.stdin.close()
            ended = process.stdout.read()
    left = json.loads(ended)
    if left["open"] != count or left["errors"]:
        raise RuntimeError(f"of {count} idle connections {left['open']} stayed: {ended.strip()}")
