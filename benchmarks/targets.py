"""The targets, each a ratio within one run, or an upper bound.

Machines and days differ, so Sono promises how it compares with a peer under the same load at the
same time. Memory is the exception: bytes are bytes.
"""

from typing import NamedTuple


class Target(NamedTuple):
    """Sono's promise for one case of a row."""

    row: str
    case: str
    peer: str
    """The other subject; empty for an upper bound."""
    bound: float
    """A ratio: at least so many times as good as the peer. A bound: at most this."""
    by_wall: bool = False
    """Compare by wall-clock time instead of the server's CPU time."""

    @property
    def key(self) -> tuple[str, str]:
        """The case that it applies to."""
        return self.row, self.case


PURE = "sono (pure)"
CEILING = "ceiling (C)"
PICOWS = "picows+uvloop"
SONO_V2 = "sono v2"
NO_HISTORY = "sono v2, no history"
PYTHON_SOCKETIO = "python-socketio, redis"
SOCKET_IO = "socket.io, redis-streams"
BROKER = "redis"
IN_MEMORY = "sono v2, in memory"
"""Sono in one process without a broker, where others have one."""
WORKERS = {count: f"sono, {count} workers" for count in (2, 4)}
"""Processes of Sono that share a port."""
MESSAGES_ALONE = "sono, messages alone"
"""Sono's server without channels, where others have them."""
SSL_ALONE = "ssl alone"
"""Python's `ssl` with next to nothing around it."""
SHARES = (0.5, 0.9)
"""Of the rate of messages at which `PICOWS` is busy all the time."""
QUANTILES = ("p50", "p99")
KIB = 1024
ON_LOOPS = {"selectors": "sono", "asyncio": "sono+asyncio", "uvloop": "sono+uvloop"}
"""Sono's servers, by what they run on."""
PLAIN = {name: f"{name}, no TLS" for name in ON_LOOPS.values()}
"""The same without TLS, in cases where everybody else has it."""

TARGETS: tuple[Target, ...] = (
    Target("K1", "64 B", "websockets (C)", 1.2),
    Target("K1", "1 KiB", "websockets (C)", 1.2),
    Target("K1", "64 KiB", "websockets (C)", 1.0),
    Target("K2", "decode", "websockets", 20),
    Target("K2", "decode", "aiohttp", 3),
    Target("K3", "mask 64 B", "websockets (pure)", 1.2),
    Target("K3", "mask 1 KiB", "websockets (pure)", 1.0),
    Target("K3", "mask 64 KiB", "websockets (pure)", 1.2),
    Target("K3", "decode", "websockets (pure)", 1.3),
    Target("K3", "decode", "wsproto", 1.5),
    Target("K3", "echo", "websockets (pure)", 1.3),
    Target("K3", "echo", "wsproto", 1.5),
    Target("S1", "echo", PICOWS, 1.0),
    Target("S1", "echo", PICOWS, 1.0, by_wall=True),
    Target("S2", "echo", PICOWS, 1.15),
    Target("S2", "echo", CEILING, 0.85),
    Target("S3", "echo", PICOWS, 20),
    Target("S3", "echo", CEILING, 0.5),
    Target("S4", "64 KiB", PICOWS, 1.3),
    Target("S4", "64 KiB", CEILING, 0.8),
    Target("S4", "1 MiB", PICOWS, 1.3),
    Target("S4", "64 KiB of text", "websockets", 2),
    Target("S4", "1 MiB of text", "websockets", 2),
    Target("F1", "1,000 members", PICOWS, 4),
    Target("F1", "1,000 members", "socketify", 1.0),
    Target("F1", "1,000 members", CEILING, 0.85),
    Target("F1", "5,000 members", PICOWS, 4),
    Target("F1", "5,000 members", "socketify", 1.0),
    Target("F1", "5,000 members", CEILING, 0.85),
    Target("F2", "1,000 members", "the original on Deno", 6),
    Target("F2", "1,000 members", "python-socketio", 40),
    Target("M1", "plain", "", 4 * KIB),
    Target("M1", "Sono layer", "", 6 * KIB),
    Target("M2", "plain", PICOWS, 1.0),
    Target("C1", "connect and close", "websockets", 5),
    Target("C1", "connect and close", PICOWS, 1.0),
    Target("C2", "welcomed", MESSAGES_ALONE, 0.8),
    *(
        Target("A1", f"{load} on {loop}", peer, 2)
        for loop, peer in (("asyncio", "websockets"), ("uvloop", "websockets+uvloop"))
        for load in ("S2", "S3")
    ),
    *(
        Target("T1", f"on {loop}", peer, bound)
        for loop, ours in ON_LOOPS.items()
        for peer, bound in ((PICOWS, 1.0), (PLAIN[ours], 0.5))
    ),
    Target("T2", "64 B", PICOWS, 1.5),
    Target("T2", "64 KiB", PICOWS, 1.1),
    Target("T3", "1,000 members", PICOWS, 2),
    Target("T4", "full", PICOWS, 1.0),
    Target("T4", "resumed", PICOWS, 1.0),
    Target("D1", "echo", "websockets", 1.2),
    Target("D1", "fan-out", "websockets", 5),
    Target("V1", "1,000 members", "sono", 0.9),
    Target("V2", "one member", NO_HISTORY, 0.77),  # it may cost 1.3 times as much
    Target("B1", "2 x 500 members", PYTHON_SOCKETIO, 5),
    Target("B1", "2 x 500 members", SOCKET_IO, 2),
    Target("N1", "S2", "sono", 0.95),
    *(Target("N1", f"F1, {members} members", IN_MEMORY, 0.95) for members in ("1,000", "5,000")),
    *(
        Target(row, f"{way}, {size}", peer, bounds[by_wall], by_wall)
        for row, way, peer, bounds in (
            ("client_echo", "callbacks", PICOWS, (1.0, 1.0)),
            ("E1", "iteration", "websockets+uvloop", (2, 1.5)),
        )
        for size in ("256 B", "8 KiB", "100 kB")
        for by_wall in (False, True)
    ),
    *(
        Target("L1", f"{carried}, {share:.0%}, {quantile}", PICOWS, 1.0)
        for carried in ("plain", "TLS")
        for share in SHARES
        for quantile in QUANTILES
    ),
)


def targets_of(row: str, case: str) -> list[Target]:
    """The targets of a case."""
    return [target for target in TARGETS if target.key == (row, case)]
