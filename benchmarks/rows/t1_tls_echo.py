"""T1: echo of 64 B over TLS 1.3 on 100 connections, one message in flight on each."""

from benchmarks.cases import Row
from benchmarks.served import Served
from benchmarks.targets import ON_LOOPS, PICOWS, PLAIN
from benchmarks.units import MESSAGES

from . import run_alone

PEERS = (PICOWS, "aiohttp+uvloop", "websockets+uvloop")

ROW = Row(
    "T1",
    "echo 64 B over TLS 1.3, 100 connections, 1 in flight",
    tuple(
        Served(
            name=f"on {loop}",
            unit=MESSAGES,
            subjects=(ours, *PEERS, PLAIN[ours]),
            mode="echo",
            command=("echo", "--size=64", "--connections=100", "--in-flight=1"),
            tls=True,
        )
        for loop, ours in ON_LOOPS.items()
    ),
    "The peers run on uvloop each time.",
)

if __name__ == "__main__":
    run_alone(ROW)
