"""The rows, one file each: workloads and subjects. Their targets are in `targets`."""

import importlib
import sys

from benchmarks.cases import Row

FILES = {
    "K1": "k1_mask",
    "K2": "k2_decode",
    "K3": "k3_pure",
    "S1": "s1_one_connection",
    "S2": "s2_echo",
    "S3": "s3_pipelined",
    "S4": "s4_large",
    "F1": "f1_fanout",
    "F2": "f2_packets",
    "M1": "m1_idle_memory",
    "C1": "c1_connect",
    "A1": "a1_asyncio",
    "D1": "d1_deflate",
    "client_echo": "client_echo",
    "slow_readers": "slow_readers",
    "fanout_cost": "fanout_cost",
}
"""The row of each id, in the order of a run."""


def row_named(name: str) -> Row:
    """The row with an id; only that row is imported.

    Raises:
        KeyError: there is none.
    """
    row: Row = importlib.import_module(f".{FILES[name]}", __name__).ROW
    return row


def run_alone(row: Row) -> None:
    """Run one row as `python -m benchmarks` does, with the same options."""
    from benchmarks.__main__ import main

    sys.exit(main([row.id, *sys.argv[1:]]))
