"""T4: connect with TLS 1.3, upgrade and close, over and over, with full and resumed handshakes."""

from benchmarks.cases import Row
from benchmarks.served import Served
from benchmarks.targets import ON_LOOPS, SSL_ALONE
from benchmarks.units import HANDSHAKES

from . import run_alone
from .t1_tls_echo import PEERS

ROW = Row(
    "T4",
    "connect with TLS 1.3, upgrade and close, 32 at a time",
    tuple(
        Served(
            name=name,
            unit=HANDSHAKES,
            subjects=(*ON_LOOPS.values(), *PEERS, SSL_ALONE),
            mode="echo",
            command=("connect", "--concurrency=32", *options),
            tls=True,
        )
        for name, options in (("full", ()), ("resumed", ("--resume-tls",)))
    ),
    "The key is ECDSA on P-256. A resumed handshake has none of its signatures. The last server is"
    " `ssl` on blocking sockets and checks nothing: it tells what resumption can gain.",
)

if __name__ == "__main__":
    run_alone(ROW)
