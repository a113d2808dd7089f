"""Long runs: `python -m benchmarks.soak [WHAT] [--minutes M] [--clients N] [--json FILE]`.

churn         clients come, talk and leave; measures what the server's process keeps of them
idle          10,000 connections that only answer pings: memory, CPU, false time-outs
slow-readers  a fan-out to 1,000 members, of whom 100 never read: p99 of the others
slowloris     2,000 half-handshakes at a byte a second: p99 of honest clients that connect
flood         one member sends 2,000 messages at once to 2,000: the longest wait of another
messages      a million messages through closes, resets and slices, checked by an oracle
returns       1,000 clients of sono.v2 that lose 20 connections each while 200 messages a second are
              published: inside history nothing may be lost, doubled or out of order; --nodes=3
              spreads them over three servers that share a Redis
faults        60 clients of sono.v2 on three servers while Redis, the network or one of them fails,
              in one way after the other (--fault): what was lost, and when that was noticed
storm         10,000 clients of sono.v2 are cut at once and resume: how long it takes

Linux only. The exit status is 1 if a run missed a bar, 2 if it could not begin.
"""

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.load import LoadError
from benchmarks.peers.common import more_descriptors
from tests.backplane.brokers import broker
from tests.faults.victims import victim

from . import bars, faults, returns
from .churn import DEADLINES, churn
from .outcome import Outcome

_SPARE = 200  # descriptors of a process besides those of its clients
_AWAY = 0.75  # seconds for which a client is away, on average
_LEAST_STAY = 0.3  # seconds that a connection lasts on average, at least


class _Run(NamedTuple):
    run: Callable[[argparse.Namespace], Outcome]
    minutes: float
    clients: int


def _churn(chosen: argparse.Namespace) -> Outcome:
    with victim(chosen.kind, **DEADLINES) as server:
        return churn(server, chosen.minutes * 60, chosen.clients)


def _returns(chosen: argparse.Namespace) -> Outcome:
    stay = max(_LEAST_STAY, chosen.minutes * 60 / chosen.drops - _AWAY)
    with ExitStack() as stack:
        options: list[str] = []
        if chosen.nodes > 1:
            options = ["--backplane", stack.enter_context(broker()).url]
        nodes = [stack.enter_context(victim(chosen.kind, *options)) for _ in range(chosen.nodes)]
        return returns.returns(nodes, chosen.clients, chosen.drops, chosen.rate, stay)


def _faults(chosen: argparse.Namespace) -> Outcome:
    whole = Outcome()
    for name in chosen.fault or faults.FAULTS:
        print(f"{name}: {faults.FAULTS[name].what}", flush=True)
        outcome = faults.run(name, chosen.kind, chosen.clients, chosen.rate)
        _show(outcome.figures)
        whole.figures[name] = outcome.figures
        whole.failures += [f"{name}: {failure}" for failure in outcome.failures]
    return whole


_RUNS = {
    "churn": _Run(_churn, 30, 50),
    "idle": _Run(lambda c: bars.idle(c.kind, c.minutes * 60, c.clients), 2, 10_000),
    "slow-readers": _Run(lambda c: bars.slow_readers(c.kind, c.minutes * 60, c.clients), 0.5, 1000),
    "slowloris": _Run(lambda c: bars.slowloris(c.kind, c.minutes * 60, c.clients), 0.5, 2000),
    "flood": _Run(lambda c: bars.flood(c.kind, c.clients), 0, 2000),
    "messages": _Run(lambda c: bars.messages(c.kind, c.messages), 0, 12),
    "returns": _Run(_returns, 3, 1000),
    "faults": _Run(_faults, 0, 60),
    "storm": _Run(lambda c: returns.storm(c.kind, c.clients), 0, 10_000),
}


def _show(figures: dict[str, Any]) -> None:
    for name, value in figures.items():
        print(f"  {name}: {value}", flush=True)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.soak",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("what", nargs="?", choices=_RUNS, default="churn", metavar="WHAT", help="default: churn")
    lengths = ", ".join(f"{name} {run.minutes:g}" for name, run in _RUNS.items() if run.minutes)
    crowds = ", ".join(f"{name} {run.clients}" for name, run in _RUNS.items() if name != "messages")
    add("--minutes", type=float, help=f"how long ({lengths})")
    add("--clients", type=int, help=f"how many at a time ({crowds})")
    add("--messages", type=int, default=1_000_000, help="how many in all (default: %(default)s)")
    add("--drops", type=int, default=20, help="of each client of returns (default: %(default)s)")
    add("--rate", type=float, default=200.0, help="messages a second (default: 200)")
    add("--nodes", type=int, default=1, help="servers of returns, which share a Redis (default: 1)")
    add("--fault", choices=faults.FAULTS, action="append", help="one of faults; default: all")
    add("--kind", choices=("selector", "asyncio"), default="selector", help="kind of server")
    add("--json", type=Path, metavar="FILE", help="also write the figures to FILE")
    return parser


def _missing(clients: int) -> str:
    """Why that many clients are impossible; empty if they are not."""
    import resource

    more_descriptors()
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = clients + _SPARE
    if soft != resource.RLIM_INFINITY and soft < needed:
        return f"{clients} clients need {needed} descriptors a process: ulimit -Hn says {soft}"
    return ""


def main(arguments: Sequence[str] | None = None) -> int:
    """Perform one run; returns the exit status."""
    parser = _parser()
    chosen = parser.parse_args(arguments)
    run = _RUNS[chosen.what]
    chosen.minutes = run.minutes if chosen.minutes is None else chosen.minutes
    chosen.clients = run.clients if chosen.clients is None else chosen.clients
    if not sys.platform.startswith("linux"):
        parser.error("only Linux tells what is needed here")
    if chosen.minutes < 0 or chosen.clients < 10 or chosen.messages < 100:
        parser.error("--minutes from 0, --clients from 10, --messages from 100 on")
    if chosen.drops < 1 or not chosen.rate > 0 or chosen.nodes < 1:
        parser.error("--drops from 1, --rate above 0, --nodes from 1 on")
    if missing := _missing(chosen.clients):
        parser.error(missing)
    try:
        outcome = run.run(chosen)
    except LoadError as error:
        parser.error(str(error))
    print(f"{chosen.what} on {chosen.kind}")
    if run.run is not _faults:  # which shows each as it comes
        _show(outcome.figures)
    for failure in outcome.failures:
        print(f"  FAILED: {failure}")
    if chosen.json:
        shown = {"what": chosen.what, "kind": chosen.kind, "minutes": chosen.minutes}
        report = {**shown, "figures": outcome.figures, "failures": outcome.failures}
        chosen.json.write_text(json.dumps(report, indent=2) + "\n")
    return 1 if outcome.failures else 0


if __name__ == "__main__":
    sys.exit(main())
