"""E1: the cost of an echo for a client that iterates over its messages."""

from benchmarks.cases import Row

from . import run_alone
from .client_echo import CONDITIONS, echoes

ROW = Row(
    "E1",
    "iteration in the asyncio client, 1 connection, 1 in flight",
    echoes("iteration", "websockets+uvloop"),
    CONDITIONS,
)

if __name__ == "__main__":
    run_alone(ROW)
