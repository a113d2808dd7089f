"""S2: echo of 64 B on 100 connections, one message in flight on each."""

from benchmarks.cases import Row
from benchmarks.served import Served
from benchmarks.subjects import everybody
from benchmarks.units import MESSAGES

from . import run_alone


def echo(name: str, subjects: tuple[str, ...]) -> Served:
    """The workload."""
    return Served(
        name=name,
        unit=MESSAGES,
        subjects=subjects,
        mode="echo",
        command=("echo", "--size=64", "--connections=100", "--in-flight=1"),
    )


ROW = Row("S2", "echo 64 B, 100 connections, 1 in flight", (echo("echo", everybody("echo")),))

if __name__ == "__main__":
    run_alone(ROW)
