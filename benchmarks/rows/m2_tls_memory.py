"""M2: resident memory of the server for each of 2,000 idle connections over TLS 1.3."""

from benchmarks.cases import Row
from benchmarks.memory import Idle
from benchmarks.targets import PICOWS

from . import run_alone

ROW = Row(
    "M2",
    "memory a connection over TLS 1.3, 2,000 idle ones",
    (
        Idle(
            name="plain",
            subjects=("sono", "sono+asyncio", "sono+uvloop", PICOWS, "websockets"),
            mode="echo",
            connections=2000,
            tls=True,
        ),
    ),
    "As M1. CPython lets OpenSSL free its buffers while a connection is idle.",
)

if __name__ == "__main__":
    run_alone(ROW)
