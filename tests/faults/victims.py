"""Servers and clients in their own processes, and their view of themselves."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.processes import Program
from tests.servers import PATIENCE, Address, Wire, get

KINDS = ("selector", pytest.param("asyncio", marks=pytest.mark.slow))


class Victim:
    """A running `tests.faults.server`."""

    def __init__(self, kind: str, *options: str, **settings: float) -> None:
        assigned = [f"--set={name}={value}" for name, value in settings.items()]
        self.program = Program("-m", "tests.faults.server", kind, *options, *assigned, timed=True)
        try:
            self.address: Address = self.program.address()
        except BaseException:
            self.program.process.kill()
            self.program.process.communicate()
            raise

    @property
    def pid(self) -> int:
        return self.program.process.pid

    def stats(self, collect: bool = False) -> dict[str, Any]:
        """Its statistics, over a connection of their own."""
        response = get(self.address, "/stats?collect" if collect else "/stats")
        stats: dict[str, Any] = json.loads(response.partition(b"\r\n\r\n")[2])
        return stats

    def closed(self) -> dict[str, int]:
        """How many connections ended with each code."""
        closed: dict[str, int] = self.stats()["closed"]
        return closed

    def resident(self) -> int:
        """Bytes of memory that it has now; 0 if the system does not tell."""
        try:
            pages = int(Path(f"/proc/{self.pid}/statm").read_text().split()[1])
        except OSError:
            return 0
        return pages * os.sysconf("SC_PAGE_SIZE")

    def wire(self, target: str = "/echo", **options: Any) -> Wire:
        """A WebSocket to it."""
        return Wire(self.address, target, **options)

    def signal(self, number: int) -> None:
        self.program.process.send_signal(number)


@contextlib.contextmanager
def victim(kind: str, *options: str, **settings: float) -> Iterator[Victim]:
    """A server with these time-outs and limits; killed at the end if it still runs."""
    started = Victim(kind, *options, **settings)
    process = started.program.process
    try:
        yield started
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGCONT)
            process.kill()
        process.communicate()


def until(condition: Callable[[], bool], patience: float = PATIENCE, what: str = "it") -> float:
    """Wait for a condition that has no event; returns the seconds that it took."""
    started = time.monotonic()
    while not condition():
        assert time.monotonic() - started < patience, f"{what} does not happen"
        time.sleep(0.005)
    return time.monotonic() - started


def p99(values: list[float]) -> float:
    """The value that one in a hundred exceeds."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, len(ordered) * 99 // 100)]
