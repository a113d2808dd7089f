"""V4: requests and their replies, on 100 connections, one in flight on each."""

from benchmarks.cases import Row
from benchmarks.served import Served
from benchmarks.subjects import everybody
from benchmarks.units import REQUESTS

from . import run_alone

ROW = Row(
    "V4",
    "request and reply of 128 B, 100 connections, 1 in flight",
    (
        Served(
            name="echo",
            unit=REQUESTS,
            subjects=everybody("requests"),
            mode="requests",
            command=("echo", "--size=128", "--connections=100", "--in-flight=1"),
        ),
    ),
    "The peers acknowledge an event with its data. Only a reply of sono.v2 survives the connection:"
    " it is an entry of the session's stream.",
)

if __name__ == "__main__":
    run_alone(ROW)
