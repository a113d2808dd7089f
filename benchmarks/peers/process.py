"""Starts a server, waits until it listens, keeps it on one core, and ends it."""

import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from signal import SIGKILL
from typing import IO, NamedTuple

from benchmarks.load import on_core

from .peer import Peer

ROOT = Path(__file__).parents[2]
_LISTENING = re.compile(rb"^listening on (?:.*:)?(\d+)$", re.MULTILINE)
_START = 30.0  # seconds until it must listen: Deno compiles first
_END = 3.0  # seconds from SIGTERM to SIGKILL
_PAUSE = 0.01  # seconds between two checks
_SHOWN = 4096  # the last bytes of a dead server's output, for the error


class ServerError(Exception):
    """A server did not start."""


class Server:
    """A server that listens, on 127.0.0.1."""

    def __init__(self, process: "subprocess.Popen[bytes]", port: int) -> None:
        self._process = process
        self.port = port

    @property
    def ports(self) -> list[int]:
        """Where clients take turns to connect."""
        return [self.port]

    @property
    def pid(self) -> int:
        """The process that was started."""
        return self._process.pid

    @property
    def pids(self) -> list[int]:
        """The process and all its descendants."""
        return [self.pid, *_descendants(self.pid)]


class Nodes(NamedTuple):
    """Servers that serve as one, and what they have in common."""

    servers: Sequence[Server]
    broker: Server

    @property
    def ports(self) -> list[int]:
        """Where clients take turns to connect."""
        return [server.port for server in self.servers]

    @property
    def pids(self) -> list[int]:
        """All processes, those of the broker too."""
        return [pid for one in (*self.servers, self.broker) for pid in one.pids]


def _descendants(pid: int) -> list[int]:
    found = []
    with suppress(OSError):  # They may end during the search; or there is no /proc.
        for task in Path(f"/proc/{pid}/task").iterdir():
            for child in map(int, (task / "children").read_text().split()):
                found += [child, *_descendants(child)]
    return found


@contextmanager
def running(
    peer: Peer,
    mode: str,
    core: int | None = None,
    deflate: bool = False,
    certificate: Path | None = None,
    backplane: str | None = None,
) -> Iterator[Server]:
    """A peer's server, for the length of a with statement.

    Args:
        core: the only one that it may use; None for any.
        certificate: for TLS, with its key; the peer must have `tls`.
        backplane: the URL of the broker that it shares with others.

    Raises:
        OSError: there is no such program.
        ServerError: it did not start; the text contains its output.
    """
    with tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as errors:
        process = subprocess.Popen(
            [
                *peer.command(mode, 0, deflate),
                *([f"--tls={certificate}"] if certificate else []),
                *([f"--backplane={backplane}"] if backplane else []),
            ],
            cwd=ROOT,
            env={**os.environ, **peer.environment},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=errors,
            preexec_fn=on_core(core),  # noqa: PLW1509 - whoever measures has no threads
        )
        try:
            server = Server(process, _port(process, output, errors))
            yield server
            if process.poll() is not None:
                print(f"benchmarks: {peer.name} {_death(process, errors)}", file=sys.stderr)
        finally:
            _end(process)


def _port(process: "subprocess.Popen[bytes]", output: IO[bytes], errors: IO[bytes]) -> int:
    """Wait for the line with its address."""
    given_up = time.monotonic() + _START
    while time.monotonic() < given_up:
        ended = process.poll() is not None
        # Not read(): that would move the file position at which the server writes.
        if said := _LISTENING.search(os.pread(output.fileno(), _SHOWN, 0)):
            return int(said[1])
        if ended:
            raise ServerError(_death(process, errors))
        time.sleep(_PAUSE)
    raise ServerError(f"did not listen within {_START:g} s")


def _death(process: "subprocess.Popen[bytes]", errors: IO[bytes]) -> str:
    size = os.fstat(errors.fileno()).st_size
    said = os.pread(errors.fileno(), _SHOWN, max(0, size - _SHOWN)).decode(errors="replace")
    return f"ended with status {process.returncode}:\n{said.strip()}"


def _end(process: "subprocess.Popen[bytes]") -> None:
    children = _descendants(process.pid)
    process.terminate()
    try:
        process.wait(_END)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    for pid in children:
        with suppress(ProcessLookupError):
            os.kill(pid, SIGKILL)
