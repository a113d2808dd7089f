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
    "M2": "m2_tls_memory",
    "C1": "c1_connect",
    "C2": "c2_connect_sono",
    "A1": "a1_asyncio",
    "T1": "t1_tls_echo",
    "T2": "t2_tls_pipelined",
    "T3": "t3_tls_fanout",
    "T4": "t4_tls_handshakes",
    "L1": "l1_latency",
    "E1": "e1_iteration",
    "D1": "d1_deflate",
    "V1": "v1_fanout",
    "V2": "v2_history",
    "V3": "v3_resume",
    "V4": "v4_requests",
    "B1": "b1_fanout",
    "B2": "b2_latency",
    "N1": "n1_workers",
    "P1": "p1_packets",
    "disconnect": "disconnect",
    "client_echo": "client_echo",
    "slow_readers": "slow_readers",
    "fanout_cost": "fanout_cost",
    "fairness": "fairness",
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
