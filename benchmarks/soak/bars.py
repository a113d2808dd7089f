"""Shorter runs, each with one fault: idle crowds, slow readers, slowloris, spoiled streams."""

import os
import time
from typing import Any

from benchmarks import load
from benchmarks.memory import idle_connections, private
from benchmarks.served import cpu_ticks
from sono_core.limits import DEFAULT_LIMITS
from tests.faults.drip import Drip
from tests.faults.exchange import exchange
from tests.faults.victims import Victim, until, victim
from tests.servers import Wire

from .outcome import Outcome, percentile

_PINGS = 6  # rounds of pings in an idle run: every 20 s in two minutes, as shipped
_TICKS = os.sysconf("SC_CLK_TCK")  # of the kernel's clock, in a second
_STALL = 20.0  # seconds without progress until a reader is closed; at most half of the run
_GENEROUS = {
    "packet_rate": 1_000_000,
    "byte_rate": 1 << 30,
    "delivery_rate": 1 << 40,
}  # so high that nobody is throttled
_AT_ONCE = 2 * DEFAULT_LIMITS.packet_rate  # packets that a client may send before it is throttled
_SAID = '{"protocol":"broadcast","payload":{"message":"to all of you"}}'
_QUESTION = '{"protocol":"grab","payload":{"message":"myid"}}'
_LATE = 1.5  # seconds after its deadline within which the server must end a half-handshake
_MANY = 1000  # clients needed to tell the cost of each from the cost of the process
_MEMORY = 6 * 1024  # bytes for each of many idle connections
_SHARE = 0.03  # share of a core for 10,000 of them
_LATENCY = 0.2  # seconds in which 99 of 100 honest clients must be connected and answered
_LEFT = 4 << 20  # bytes by which a server may have grown when slow readers are gone
_WARM_UP = 0.5  # seconds of load before the measurement


def idle(kind: str, seconds: float, clients: int) -> Outcome:
    """Connections that answer pings and do nothing else."""
    interval = seconds / _PINGS
    with victim(kind, ping_interval=interval, pong=interval) as server:
        with idle_connections(server.address[1], 10, ["--path=/echo"]):
            pass
        before = private([server.pid])
        outcome = Outcome()
        try:
            with idle_connections(server.address[1], clients, ["--path=/echo"]):
                size = (private([server.pid]) - before) / clients
                ticks = cpu_ticks([server.pid])
                timed_out = server.closed().get("1006", 0)
                time.sleep(seconds)
                share = (cpu_ticks([server.pid]) - ticks) / _TICKS / seconds
                timed_out = server.closed().get("1006", 0) - timed_out
                still = server.stats()["open"]
        except RuntimeError as error:
            outcome.failures.append(str(error))
            return outcome
    outcome.figures = {
        "connections": clients,
        "bytes each": round(size),
        "CPU share": round(share, 4),
        "pings each": _PINGS - 1,
        "timed out": timed_out,
    }
    outcome.require(still == clients and not timed_out, f"{clients - still} were timed out")
    outcome.require(clients < _MANY or size <= _MEMORY, f"{size:.0f} bytes each")
    outcome.require(share < _SHARE, f"{share:.1%} of a core")
    return outcome


def slow_readers(kind: str, seconds: float, clients: int) -> Outcome:
    """A fan-out in which a tenth of the members never reads, and one in which all read."""
    slow = clients // 10
    stall = min(_STALL, seconds / 2)
    with victim(kind, "--send-buffer=16384", write_stall=stall) as server:
        alone = _fanout(server, seconds, clients - slow, 0)
        before = _at_rest(server)
        together = _fanout(server, seconds, clients - slow, slow)
        closed = server.closed().get("4008", 0)
        left = _at_rest(server) - before
    p99 = alone["latency_us"]["p99"], together["latency_us"]["p99"]
    outcome = Outcome()
    outcome.figures = {
        "members": clients,
        "of them slow": slow,
        "p99 in ms without": round(p99[0] / 1000, 2),
        "p99 in ms with": round(p99[1] / 1000, 2),
        "ratio": round(p99[1] / p99[0], 2),
        "closed with 4008": closed,
        "published": together["published"],
        "bytes left behind": left,
    }
    outcome.require(p99[1] < 2 * p99[0], "the others' p99 is not below twice that without them")
    outcome.require(closed == slow, f"{closed} of {slow} were closed with 4008")
    outcome.require(left <= _LEFT, f"the server holds {left} bytes more than before")
    errors = alone["errors"] + together["errors"]
    outcome.require(not errors, f"{errors} errors: {together.get('first_error')}")
    return outcome


def _at_rest(server: Victim) -> int:
    """Bytes of the server's memory after everybody has left."""
    until(lambda: server.stats(collect=True)["open"] == 0, what="that the last one leaves")
    return server.resident()


def _fanout(server: Victim, seconds: float, members: int, slow: int) -> dict[str, Any]:
    return load.run(
        load.build().load,
        "fanout",
        "--path=/fan",
        f"--port={server.address[1]}",
        f"--connections={members}",
        "--size=4096",
        f"--warmup={_WARM_UP}",
        f"--seconds={seconds}",
        *([f"--slow={slow}"] if slow else []),
    )


def slowloris(kind: str, seconds: float, clients: int) -> Outcome:
    """Send handshakes at a byte a second for that time, while honest clients connect."""
    outcome = Outcome()
    with victim(kind) as server:
        deadline = 5.0  # as shipped
        alone = _connects(server, until=time.monotonic() + min(seconds, 3.0))
        honest: list[float] = []
        lasted: list[float] = []
        answers: dict[bytes, int] = {}
        ends = time.monotonic() + seconds
        while not lasted or time.monotonic() < ends:
            with Drip(server.address, clients, 1.0) as drip:
                outcome.require(drip.begun.wait(60), "they could not all connect")
                given_up = time.monotonic() + deadline + 30
                while not drip.over and time.monotonic() < given_up:
                    honest += _connects(server, until=time.monotonic() + 0.2)
            lasted += drip.lasted
            outcome.require(drip.over, f"{clients - len(drip.lasted)} were never cut")
            for answer, count in drip.answers.items():
                answers[answer] = answers.get(answer, 0) + count
    outcome.figures = {
        "half-handshakes at a time": clients,
        "cut": len(lasted),
        "seconds, least and most": [round(min(lasted), 2), round(max(lasted), 2)],
        "answers": {answer.decode(): count for answer, count in answers.items()},
        "honest connects": len(honest),
        "p99 in ms without": round(1000 * percentile(alone, 0.99), 2),
        "p99 in ms with": round(1000 * percentile(honest, 0.99), 2),
    }
    outcome.require(max(lasted) < deadline + _LATE, "some outlasted the deadline")
    slowest = percentile(honest, 0.99)
    outcome.require(slowest < _LATENCY, f"99 of 100 honest clients waited up to {slowest:.3f} s")
    refused = {b"HTTP/1.1 408 Request Timeout"}
    outcome.require(set(answers) == refused, f"they were told {set(answers)}")
    return outcome


def _connects(server: Victim, until: float) -> list[float]:
    """Seconds from the start of each connection to its first echo."""
    taken = []
    while time.monotonic() < until:
        began = time.monotonic()
        with server.wire() as wire:
            wire.send("honest")
            wire.message()
        taken.append(time.monotonic() - began)
    return taken


def flood(kind: str, clients: int) -> Outcome:
    """One member sends all it may at once, to all; measures how long another waits for answers."""
    with victim(kind, delivery_rate=_GENEROUS["delivery_rate"]) as server:
        port = server.address[1]
        with (
            idle_connections(port, clients, ["--path=/ws"]),
            server.wire("/ws") as loud,
            server.wire("/ws") as other,
        ):
            alone = [_asked(other)[0] for _ in range(100)]
            began = time.monotonic()
            loud.send(*[_SAID] * _AT_ONCE)
            heard = 0
            waits = []
            while heard < _AT_ONCE:
                waited, heard_meanwhile = _asked(other)
                waits.append(waited)
                heard += heard_meanwhile
            took = time.monotonic() - began
    outcome = Outcome()
    outcome.figures = {
        "members": clients,
        "packets": _AT_ONCE,
        "seconds": round(took, 1),
        "longest wait in ms without": round(1000 * max(alone), 1),
        "longest wait in ms with": round(1000 * max(waits), 1),
    }
    outcome.require(max(waits) < _LATENCY, f"another waited for {max(waits):.3f} s")
    return outcome


def _asked(wire: Wire) -> tuple[float, int]:
    """Seconds until a client's question is answered, and what else it receives meanwhile."""
    began = time.monotonic()
    wire.send(_QUESTION)
    heard = 0
    while '"myid"' not in str(wire.message()):
        heard += 1
    return time.monotonic() - began, heard


def messages(kind: str, count: int) -> Outcome:
    """Send that many messages through slices, stalls, closes and resets."""
    with victim(kind, **_GENEROUS) as server:
        run = exchange(server.address, count)
    outcome = Outcome(run.figures())
    outcome.require(run.complete, "the last words of some never came")
    outcome.require(not run.refused, f"the server refused {run.refused[:1]}")
    for finding in run.oracle.findings:
        outcome.failures.append(str(finding))
    return outcome
