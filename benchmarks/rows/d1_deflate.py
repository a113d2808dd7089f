"""D1: permessage-deflate: echo of 1 KiB of JSON, and one message to 1,000 members."""

from benchmarks.cases import Row
from benchmarks.served import Served
from benchmarks.units import DELIVERIES, MESSAGES

from . import run_alone

SUBJECTS = ("sono", "websockets")
JSON = ("--deflate", "--json", "--size=1024")

ROW = Row(
    "D1",
    "1 KiB of JSON with permessage-deflate",
    (
        Served(
            name="echo",
            unit=MESSAGES,
            subjects=SUBJECTS,
            mode="echo",
            deflate=True,
            command=("echo", *JSON, "--connections=100", "--in-flight=1"),
        ),
        Served(
            name="fan-out",
            unit=DELIVERIES,
            subjects=SUBJECTS,
            mode="fanout",
            deflate=True,
            command=("fanout", *JSON, "--connections=1000", "--in-flight=4"),
        ),
    ),
    "Echo on 100 connections, fan-out to 1,000 members; no context takeover on either side.",
)

if __name__ == "__main__":
    run_alone(ROW)
