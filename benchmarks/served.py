"""Cases that put load on servers: echo, fan-out, connecting.

All servers of a case stay up for all its rounds, on one core; a server without connections
costs nothing. The load runs on another core, against one server at a time.
"""

import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import trustme

from . import load
from .cases import Case, Ready
from .machine import cores
from .measure import WARM_UP, Measure, Reading, Unit
from .peers import Nodes, Server
from .subjects import obstacle, options_of, speaks_tls, start

_CPU_CLOCK = 2  # CPUCLOCK_SCHED of Linux
_QUIET = 0.05  # seconds without a tick of CPU time
_PATIENCE = 3.0  # seconds within which a server should come to rest


@dataclass(frozen=True, kw_only=True)
class Served(Case):
    """Servers under load.

    Args:
        mode: of the servers.
        command: of the load generator, and its options.
        deflate: servers and clients compress.
        tls: the subjects that can speak TLS 1.3 do; see `subjects.speaks_tls`.
    """

    mode: str
    command: tuple[str, ...]
    deflate: bool = False
    tls: bool = False
    saturates: bool = True

    @contextmanager
    def open(self) -> Iterator[Ready]:
        """Start every server that is installed."""
        measures: dict[str, Measure] = {}
        missing: dict[str, str] = {}
        with ExitStack() as stack:
            certificate = stack.enter_context(new_certificate()) if self.tls else None
            for subject in self.subjects:
                if why := self._obstacle(subject):
                    missing[subject] = why
                    continue
                try:
                    server = stack.enter_context(self._started(subject, certificate))
                except Exception as error:
                    measures[subject] = partial(_fail, error)
                else:
                    measures[subject] = partial(self._load_on, server, subject)
            yield Ready(measures, missing)

    def _obstacle(self, subject: str) -> str:
        """Why a subject cannot be measured; empty if it can."""
        return obstacle(subject)

    def _started(
        self, subject: str, certificate: Path | None
    ) -> AbstractContextManager[Server | Nodes]:
        """What a subject has to have running."""
        secured = certificate if speaks_tls(subject) else None
        return start(subject, self.mode, self.deflate, certificate=secured)

    def _load_on(self, server: Server | Nodes, subject: str, seconds: float) -> Reading:
        result = self._loaded(server, subject, seconds)
        _advance_close(server.pids)
        return reading(result, self.unit)

    def _loaded(self, server: Server | Nodes, subject: str, seconds: float) -> dict[str, Any]:
        """What the load generator says."""
        command, *options = self.command
        return load.run(
            load.build().load,
            command,
            *("--port", ",".join(map(str, server.ports))),
            *("--server-pid", ",".join(map(str, server.pids))),
            *("--warmup", WARM_UP),
            *("--seconds", seconds),
            *options,
            *options_of(subject, self.mode, command),
            *(["--tls"] if self.tls and speaks_tls(subject) else []),
            core=cores()[1],
        )


@contextmanager
def new_certificate() -> Iterator[Path]:
    """A file with a certificate for loopback that nobody trusts (ECDSA on P-256), and its key."""
    certificate = trustme.CA().issue_cert("localhost", "127.0.0.1")
    with TemporaryDirectory() as folder:
        path = Path(folder) / "certificate.pem"
        certificate.private_key_and_cert_chain_pem.write_to_path(path)
        yield path


def reading(result: Mapping[str, Any], unit: Unit) -> Reading:
    """The load generator's result in the case's unit: a rate, or nanoseconds for each.

    Raises:
        RuntimeError: it counted nothing.
    """
    messages: int = result["messages"]
    seconds: float = result["seconds"]
    cpu: float = result["server_cpu_seconds"]
    if not messages or not cpu:
        raise RuntimeError(f"{messages} messages in {seconds:.2f} s, {result['errors']} errors")

    def of(taken: float) -> float:
        return taken / messages * 1e9 if unit.less_is_better else messages / taken

    return Reading(
        value=of(cpu),
        wall=of(seconds),
        busy=cpu / seconds,
        load_busy=result["cpu_seconds"] / seconds,
        errors=result["errors"],
    )


def _advance_close(pids: Iterable[int]) -> None:
    """Wait until servers have finished with connections that were just closed."""
    waited_until = time.monotonic() + _PATIENCE
    spent = cpu_ticks(pids)
    while time.monotonic() < waited_until:
        time.sleep(_QUIET)
        before, spent = spent, cpu_ticks(pids)
        if spent == before:
            return


def cpu_ticks(pids: Iterable[int]) -> int:
    """CPU time that these processes have used, in ticks of the kernel's clock."""
    stats = (Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split() for pid in pids)
    return sum(int(user) + int(system) for *_, user, system in (stat[:13] for stat in stats))


def cpu_seconds(pids: Iterable[int]) -> float:
    """The same in seconds, and finer: a process has a clock with a number made of its id."""
    return sum(time.clock_gettime(~pid << 3 | _CPU_CLOCK) for pid in pids)


def _fail(error: Exception, seconds: float) -> Reading:
    """Stands in for the measurement of a server that did not start."""
    raise error
