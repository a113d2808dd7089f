"""Programs that tests start: what they print, and how they end."""

from __future__ import annotations

import contextlib
import json
import os
import re
import select
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from tests.servers import PATIENCE, Address

ROOT = Path(__file__).parent.parent


def uncovered() -> dict[str, str]:
    """The environment for programs that coverage must not slow down."""
    return {k: v for k, v in os.environ.items() if not k.startswith("COVERAGE_")}


_watchdog = re.compile(
    r"^[^\n]*(?:a handler blocks the event loop|the event loop goes on after)[^\n]*\n"
    r"(?:(?:Stack | )[^\n]*\n)*",
    re.MULTILINE,
)


def complaints(errors: bytes | str) -> str:
    """A program's standard error, but for its watchdog: it is right about a busy machine."""
    return _watchdog.sub("", errors if isinstance(errors, str) else errors.decode())


class Program:
    """A running Python program whose standard output is read line by line.

    Args:
        cwd: its current directory.
        timed: what it takes is measured, so its coverage is not.
    """

    def __init__(self, *arguments: str, cwd: Path = ROOT, timed: bool = False) -> None:
        self.process = subprocess.Popen(
            [sys.executable, *arguments],
            cwd=cwd,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**(uncovered() if timed else os.environ), "PYTHONPATH": str(ROOT)},
            bufsize=0,
        )

    def line(self) -> str:
        """The next line that it prints."""
        assert self.process.stdout is not None
        deadline = time.monotonic() + PATIENCE
        text = b""
        while not text.endswith(b"\n"):
            ready, _, _ = select.select([self.process.stdout], [], [], deadline - time.monotonic())
            assert ready, "it prints nothing"
            part = self.process.stdout.read(1)
            assert part, "it has ended"
            text += part
        return text.decode().rstrip()

    def address(self) -> Address:
        """The loopback address with the port in the line that it prints."""
        line = self.line()
        match = re.search(r"://[^/]+:(\d+)/", line)
        assert match, line
        return "127.0.0.1", int(match[1])

    def end(self, number: int) -> tuple[int, str]:
        """Its exit status and standard error after that signal."""
        self.process.send_signal(number)
        _, errors = self.process.communicate(timeout=PATIENCE)
        return self.process.returncode, complaints(errors)

    def logged(self) -> dict[str, str]:
        """The next line of its log, which is JSON."""
        assert self.process.stderr is not None
        text = ""
        while not text:
            ready, _, _ = select.select([self.process.stderr], [], [], PATIENCE)
            assert ready, "nothing is logged"
            line = self.process.stderr.readline()
            assert line, "it has ended"
            text = complaints(line)
        found: dict[str, str] = json.loads(text)
        return found


class Log:
    """Standard error of a program, read as it comes."""

    def __init__(self, started: Program) -> None:
        assert started.process.stderr is not None
        self._stream = started.process.stderr
        self._lines: list[str] = []
        self._news = threading.Condition()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        for line in self._stream:
            with self._news:
                self._lines.append(line.decode().rstrip())
                self._news.notify_all()

    def wait_for(self, pattern: str, times: int = 1) -> None:
        """Until so many lines match."""

        def enough() -> bool:
            return sum(bool(re.search(pattern, line)) for line in self._lines) >= times

        with self._news:
            assert self._news.wait_for(enough, PATIENCE), self._lines

    def having(self, pattern: str) -> list[str]:
        return [line for line in self._lines if re.search(pattern, line)]


@contextlib.contextmanager
def program(*arguments: str, cwd: Path = ROOT) -> Iterator[Program]:
    """A program that is killed at the end of the with statement, if it still runs."""
    started = Program(*arguments, cwd=cwd)
    try:
        yield started
    finally:
        if started.process.poll() is None:
            started.process.kill()
        started.process.communicate(timeout=PATIENCE)  # a child may live on and have its pipes


def run(*arguments: str) -> tuple[int, str, str]:
    """Exit status, standard output and standard error of a program that ends by itself."""
    with program(*arguments) as started:
        output, errors = started.process.communicate(timeout=PATIENCE)
        return started.process.returncode, output.decode(), complaints(errors)
