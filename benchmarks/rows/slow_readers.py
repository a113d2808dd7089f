"""The memory of a fan-out while 1,000 of its members do not read."""

from benchmarks.cases import Row
from benchmarks.memory import SlowReaders

from . import run_alone

ROW = Row(
    "slow_readers",
    "memory while 1,000 members of a fan-out do not read",
    (SlowReaders(name="16 KiB", subjects=("sono", "websockets"), slow=1000, size=16384),),
    "The most that the process held, less what it held before; a fresh server each round.",
)

if __name__ == "__main__":
    run_alone(ROW)
