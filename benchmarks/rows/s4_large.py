"""S4: echo of 64 KiB and 1 MiB on 4 connections, 4 messages in flight on each."""

from benchmarks.cases import Row
from benchmarks.served import Served
from benchmarks.subjects import everybody
from benchmarks.targets import CEILING, PICOWS
from benchmarks.units import MESSAGES

from . import run_alone

KIB, MIB = 1 << 10, 1 << 20


def large(name: str, size: int, subjects: tuple[str, ...], *options: str) -> Served:
    """One size and kind."""
    shape = ("--connections=4", "--in-flight=4")
    return Served(
        name=name,
        unit=MESSAGES,
        subjects=subjects,
        mode="echo",
        command=("echo", f"--size={size}", *shape, *options),
    )


ROW = Row(
    "S4",
    "echo large messages, 4 connections, 4 in flight",
    (
        large("64 KiB", 64 * KIB, everybody("echo"), "--binary"),
        large("1 MiB", MIB, ("sono", PICOWS, CEILING), "--binary"),
        large("64 KiB of text", 64 * KIB, ("sono", "websockets")),
        large("1 MiB of text", MIB, ("sono", "websockets")),
    ),
)

if __name__ == "__main__":
    run_alone(ROW)
