"""A1: the echoes of S2 and S3 on asyncio loops, each compared with others on the same loop."""

from benchmarks.cases import Row
from benchmarks.served import Served
from benchmarks.units import MESSAGES

from . import run_alone

LOADS = {"S2": ("--connections=100", "--in-flight=1"), "S3": ("--connections=10", "--in-flight=64")}
ON_LOOP = {
    "asyncio": ("sono+asyncio", "websockets", "picows"),
    "uvloop": ("sono+uvloop", "websockets+uvloop", "picows+uvloop"),
}

ROW = Row(
    "A1",
    "echo 64 B by servers on asyncio and uvloop",
    tuple(
        Served(
            name=f"{load} on {loop}",
            unit=MESSAGES,
            subjects=subjects,
            mode="echo",
            command=("echo", "--size=64", *options),
        )
        for load, options in LOADS.items()
        for loop, subjects in ON_LOOP.items()
    ),
)

if __name__ == "__main__":
    run_alone(ROW)
