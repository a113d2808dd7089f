"""P1: what packets cost the processor that cost their sender the same."""

from functools import partial

from benchmarks.cases import Row, Timed
from benchmarks.packets import PLAIN, VALUES, handling
from benchmarks.units import CALL

from . import run_alone

ROW = Row(
    "P1",
    "packets that cost their sender 256 KiB of its rate each",
    tuple(
        Timed(
            name=kind,
            unit=CALL,
            subjects=("sono", PLAIN),
            functions={"sono": partial(handling, kind), PLAIN: partial(handling, PLAIN)},
        )
        for kind in VALUES
        if kind != PLAIN
    ),
    "Each at its worst, beside a plain text: a byte of the rate should buy about the same time.",
)

if __name__ == "__main__":
    run_alone(ROW)
