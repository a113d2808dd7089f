"""T3: messages of 128 B fanned out over TLS 1.3 to 1,000 members."""

from benchmarks.cases import Row
from benchmarks.served import Served
from benchmarks.targets import ON_LOOPS
from benchmarks.units import DELIVERIES

from . import run_alone
from .t1_tls_echo import PEERS

ROW = Row(
    "T3",
    "fan-out of 128 B over TLS 1.3, 4 in flight",
    (
        Served(
            name="1,000 members",
            unit=DELIVERIES,
            subjects=(*ON_LOOPS.values(), *PEERS),
            mode="fanout",
            command=("fanout", "--size=128", "--connections=1000", "--in-flight=4"),
            tls=True,
        ),
    ),
)

if __name__ == "__main__":
    run_alone(ROW)
