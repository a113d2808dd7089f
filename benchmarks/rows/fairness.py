"""The wait of a client while others send to 2,000 members as often as they may, or flood."""

from benchmarks.cases import Row
from benchmarks.fairness import FLOODS, Crowd, Flood

from . import run_alone

_SUBJECTS = ("sono", "sono+asyncio", "sono+uvloop")

ROW = Row(
    "fairness",
    "wait of a client, p99, while others send to 2,000 members, or flood the server",
    (
        *(
            Crowd(name=f"{senders} senders", subjects=_SUBJECTS, members=2000, senders=senders)
            for senders in (1, 20, 200)
        ),
        *(Flood(name=f"100 floods of {kind}", subjects=_SUBJECTS, kind=kind) for kind in FLOODS),
    ),
    "It should be below 50 ms. The client is in a channel of its own, and asks for its id.",
)

if __name__ == "__main__":
    run_alone(ROW)
