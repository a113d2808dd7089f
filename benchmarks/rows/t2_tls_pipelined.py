"""T2: echoes over TLS 1.3 with several messages in flight on each connection, small and large."""

from benchmarks.cases import Row
from benchmarks.served import Served
from benchmarks.targets import ON_LOOPS
from benchmarks.units import MESSAGES

from . import run_alone
from .t1_tls_echo import PEERS

LOADS = {
    "64 B": ("--size=64", "--connections=100", "--in-flight=16"),
    "64 KiB": ("--size=65536", "--binary", "--connections=4", "--in-flight=4"),
}

ROW = Row(
    "T2",
    "echo over TLS 1.3: 64 B, 100 connections, 16 in flight; 64 KiB, 4 connections, 4 in flight",
    tuple(
        Served(
            name=name,
            unit=MESSAGES,
            subjects=(*ON_LOOPS.values(), *PEERS),
            mode="echo",
            command=("echo", *options),
            tls=True,
        )
        for name, options in LOADS.items()
    ),
)

if __name__ == "__main__":
    run_alone(ROW)
