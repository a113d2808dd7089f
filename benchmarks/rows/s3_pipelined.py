"""S3: echo of 64 B on 10 connections, 64 messages in flight on each."""

from benchmarks.cases import Row
from benchmarks.served import Served
from benchmarks.subjects import everybody
from benchmarks.units import MESSAGES

from . import run_alone

ROW = Row(
    "S3",
    "echo 64 B, 10 connections, 64 in flight",
    (
        Served(
            name="echo",
            unit=MESSAGES,
            subjects=everybody("echo"),
            mode="echo",
            command=("echo", "--size=64", "--connections=10", "--in-flight=64"),
        ),
    ),
)

if __name__ == "__main__":
    run_alone(ROW)
