"""K1: mask 64 B, 1 KiB and 64 KiB in one call."""

from functools import partial

from benchmarks.cases import Row, Timed
from benchmarks.codec import masker
from benchmarks.units import CALL

from . import run_alone

SIZES = {"64 B": 64, "1 KiB": 1024, "64 KiB": 65536}


def masking(name: str, size: int, subjects: tuple[str, ...]) -> Timed:
    """One size."""
    functions = {subject: partial(masker, subject, size) for subject in subjects}
    return Timed(name=name, unit=CALL, subjects=subjects, functions=functions)


ROW = Row(
    "K1",
    "mask in one call",
    tuple(masking(name, size, ("sono", "websockets (C)")) for name, size in SIZES.items()),
)

if __name__ == "__main__":
    run_alone(ROW)
