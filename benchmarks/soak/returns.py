"""Clients of `sono.v2` whose connections are cut while messages are published, and what they lose.

Inside history they may lose nothing: everything arrives once and in order. What is outside they
must be told. `storm` has very many come back at once.
"""

import math
import os
import subprocess
import sys
import time
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec

from benchmarks import load
from benchmarks.memory import private
from sono_core.messaging.lossless import DEFAULT_HISTORY, Position, stream_of
from tests.faults.victims import Victim, victim

from .outcome import Outcome, percentile
from .returning import Plan, Report, made_at, text_of

SHORT = "short"
"""Channels whose names begin so keep only few entries."""
_FEW = 2
_ROOT = Path(__file__).parents[2]
_CLIENTS_EACH = 250  # of a process
_MEMBERSHIPS = 2  # of each client, beside its home
_MEMBERS = 20  # of a channel, about
_PATIENCE = 120.0  # seconds for all to arrive after the last has come back
_SOON = 10.0  # seconds within which all of a storm must be back
_TICK = 1e-9  # seconds: an amount of CPU that is not 0
_ANSWER = 2000.0  # ms from hello that 99 of 100 may wait for their answer


def returns(nodes: Sequence[Victim], clients: int, drops: int, rate: float, stay: float) -> Outcome:
    """Each client loses its connection so many times.

    Args:
        nodes: servers that serve as one.
        rate: messages a second of all clients.
        stay: seconds for which a connection stays on average.
    """
    began = time.monotonic()
    reports = reports_of([node.address[1] for node in nodes], clients, drops, rate, stay)
    lasted = time.monotonic() - began
    outcome = judge(reports, clients * drops)
    waits = [1000 * wait for report in reports for wait in report.waits]
    used = sum(node.stats()["cpu"] for node in nodes)
    outcome.figures |= {
        "nodes": len(nodes),
        "seconds": round(lasted),
        "ms from a new connection to its welcome, p50 and p99": [
            round(percentile(waits, share), 1) for share in (0.5, 0.99) if waits
        ],
        "cores that the servers used": round(used / lasted, 2),
        "cores that the clients used": round(sum(r.cpu for r in reports) / lasted, 2),
        "memory of the servers in MB": round(private([node.pid for node in nodes]) / 1e6, 1),
    }
    return outcome


def reports_of(
    ports: list[int], clients: int, drops: int, rate: float, stay: float
) -> Sequence[Report]:
    """What clients saw that live as `returns` says, in processes of their own."""
    number = math.ceil(clients / _CLIENTS_EACH)
    rooms = max(2, clients * _MEMBERSHIPS // _MEMBERS)
    channels = [f"{SHORT if room % 4 == 0 else 'room'} {room}" for room in range(rooms)]
    plans = [
        Plan(
            ports=ports,
            path="/ws",
            first=clients * part // number,
            clients=clients * (part + 1) // number - clients * part // number,
            channels=channels,
            memberships=_MEMBERSHIPS,
            drops=drops,
            stay=stay,
            rate=rate / number,
            settle=_PATIENCE,
        )
        for part in range(number)
    ]
    processes = [
        subprocess.Popen(
            [sys.executable, "-m", "benchmarks.soak.returning", msgspec.json.encode(plan).decode()],
            cwd=_ROOT,
            stdout=subprocess.PIPE,
            text=True,
        )
        for plan in plans
    ]
    try:
        return [msgspec.json.decode(process.communicate()[0], type=Report) for process in processes]
    finally:
        for process in processes:
            process.kill()
            process.wait()


def judge(reports: Sequence[Report], drops: int) -> Outcome:
    """What the clients of all processes saw, taken together."""
    outcome = Outcome()
    wrong = [what for report in reports for what in report.wrong]
    entries: dict[tuple[str, str], str] = {}
    for report in reports:
        for stream, heard in report.entries.items():
            for at, message in heard.items():
                if entries.setdefault((stream, at), message) != message:
                    wrong.append(f"{at} of {stream} is not the same for all")
    times = Counter(entries.values())
    wrong += [
        f"message {message} has {count} places" for message, count in times.items() if count > 1
    ]
    published: dict[str, tuple[str, Position]] = {}
    for report in reports:
        published |= report.published
    for message, (channel, place) in published.items():
        if entries.get((stream_of(channel), text_of(place)), message) != message:
            wrong.append(f"message {message} is not where its publisher was told")
    told = [gap for report in reports for gap in report.told]
    pushed = _made({(stream_of(c), text_of(at)): m for m, (c, at) in published.items()} | entries)
    for stream, last, first, when in told:
        if pushed(stream, last.epoch, last.offset + _kept(stream)) > when:
            text = f"{first} to {text_of(last)} of {stream}"
            wrong.append(f"{text} was told to be missing, inside history")
    outcome.figures = {
        "drops": sum(report.drops for report in reports),
        "resumed": sum(report.resumed for report in reports),
        "published": len(published),
        "heard": sum(report.heard for report in reports),
        **{
            f"told to be missing, history of {kept}": sum(
                last.offset - first + 1 for stream, last, first, _ in told if _kept(stream) == kept
            )
            for kept in (_FEW, DEFAULT_HISTORY.count)
        },
        "asked for again within a connection": sum(report.reads for report in reports),
        "wrong": len(wrong),
    }
    lost = {
        (stream, last.epoch, offset)
        for stream, last, first, _ in told
        for offset in range(first, last.offset + 1)
    }
    unheard = [
        stream_of(channel)
        for channel, place in published.values()
        if (stream_of(channel), text_of(place)) not in entries
        and (stream_of(channel), place.epoch, place.offset) not in lost
    ]
    anew = [client for report in reports for client in report.anew]
    unknown = sum((Counter(report.unknown) for report in reports), Counter[str]())
    outcomes = sum((Counter(report.outcomes) for report in reports), Counter[str]())
    outcome.failures += wrong[:10]
    outcome.require(outcome.figures["drops"] == drops, f"there should be {drops} drops")
    outcome.require(len(published) > 0, "nothing was published")
    outcome.require(not outcomes, f"messages ended as {dict(outcomes)}")
    outcome.require(not anew, f"{len(anew)} sessions were gone: {'; '.join(anew[:5])}")
    outcome.require(not unknown, f"{unknown.total()} gaps of unknown extent")
    perhaps = sum(stream in unknown for stream in unheard)
    text = f"{len(unheard)} messages were heard by nobody, {perhaps} of them perhaps in such a gap"
    outcome.require(not unheard, text)
    return outcome


def _made(places: dict[tuple[str, str], str]) -> Callable[[str, str, int], float]:
    """What tells when the first of the entries of a stream was made that stand there or later."""
    found: dict[tuple[str, str], list[tuple[int, float]]] = {}
    for (stream, at), message in places.items():
        epoch, _, place = at.rpartition(":")
        found.setdefault((stream, epoch), []).append((int(place), made_at(message)))
    for entries in found.values():
        entries.sort()
        earliest = math.inf
        for n in reversed(range(len(entries))):
            offset, made = entries[n]
            earliest = min(earliest, made)
            entries[n] = offset, earliest

    def first(stream: str, epoch: str, offset: int) -> float:
        entries = found.get((stream, epoch), [])
        n = bisect_left(entries, (offset, -math.inf))
        return entries[n][1] if n < len(entries) else math.inf

    return first


def _kept(stream: str) -> int:
    """Entries that the server keeps of a stream."""
    return _FEW if stream.startswith(stream_of(SHORT)) else DEFAULT_HISTORY.count


def storm(kind: str, clients: int) -> Outcome:
    """All connections are cut at once, and their clients come back within a second."""
    with victim(kind) as server:
        missed = 10
        result: dict[str, Any] = load.run(
            load.build().load,
            "storm",
            f"--port={server.address[1]}",
            "--path=/ws",
            "--subprotocol=sono.v2",
            f"--connections={clients}",
            f"--missed={missed}",
            f"--server-pid={server.pid}",
            f"--source-addresses={min(250, max(1, math.ceil(clients / 80)))}",
        )
    answer = result["answer_ms"]
    outcome = Outcome()
    outcome.figures = {
        "clients": clients,
        "resumed with what they missed": result["resumed"],
        "attempts": result["attempts"],
        "all back after seconds": result["seconds"],
        "returns per second of the server's CPU": round(
            result["resumed"] / max(result["server_cpu_seconds"], _TICK)
        ),
        "ms from hello to the whole answer": answer,
        "ms from the beginning of an attempt": result["attempt_ms"],
        "cores": len(os.sched_getaffinity(0)),
    }
    outcome.require(result["resumed"] == clients, f"only {result['resumed']} came back")
    outcome.require(not result["errors"], f"{result['errors']} errors: {result.get('first_error')}")
    outcome.require(result["seconds"] <= _SOON, f"it took more than {_SOON:g} s")
    outcome.require(answer["p99"] <= _ANSWER, f"p99 is above {_ANSWER:g} ms")
    return outcome
