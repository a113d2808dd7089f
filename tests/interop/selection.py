"""What runs against the Autobahn|Testsuite, and which of its cases a run of CI takes.

All 517 cases take ten minutes for one peer on one path, nearly all of it in 12.* and 13.*. So
each run deals the cases of these two out to the combinations of peer and path, one combination
a case and two thirds of them native, and takes every combination through all others. The commit's
hash decides how they are dealt, so that it varies and can be repeated; SONO_CONFORMANCE_WHOLE names
a combination that takes every case.
"""

from __future__ import annotations

import itertools
import os
import random
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

GROUPS = {
    1: "framing",
    2: "pings and pongs",
    3: "reserved bits",
    4: "opcodes",
    5: "fragmentation",
    6: "UTF-8",
    7: "closing handshake",
    9: "limits and speed, up to 16 MiB",
    10: "fragments of 1,300 bytes",
    12: "permessage-deflate: payloads",
    13: "permessage-deflate: parameters",
}
TOTAL = 517

# 9.1.6 and 9.2.6 send messages of 16 MiB, 9.3.1 and 9.4.1 send 65,536 fragments and an empty
# last one, and all that comes in is queued to be echoed.
RAISED_LIMITS = (
    "--max-message=16777216",
    "--max-fragments=65537",
    "--max-queue=67108864",
)


@dataclass(frozen=True)
class Peer:
    """A program that echoes messages."""

    role: str
    command: tuple[str, ...]
    """The arguments of Python; a server prints its URL."""


ECHO = ("examples/echo.py", "--host=127.0.0.1", "--port=0", *RAISED_LIMITS)

PEERS = {
    "server": Peer("server", ECHO),
    "server-asyncio": Peer("server", (*ECHO, "--asyncio")),
    "client": Peer("client", ("tests/interop/echo_client.py",)),
    "client-asyncio": Peer("client", ("tests/interop/echo_client_async.py",)),
}
PATHS = ("native", "pure")
COMBINATIONS = tuple(f"{peer}-{path}" for peer, path in itertools.product(PEERS, PATHS))
# Who is dealt a card in one round: a case takes twice as long in pure Python.
_HANDS = tuple(f"{peer}-{path}" for path in ("native", *PATHS) for peer in PEERS)

# Each case of 12.* and 13.* echoes 1,000 messages, and takes 1 to 20 seconds. The sections
# differ in their messages or in what they negotiate, the 18 cases of one section in the size and
# fragments of messages. The other groups take ten seconds in all.
QUICK_GROUPS = tuple(group for group in GROUPS if group < 12)
SLOW_SECTIONS = (*(f"12.{n}" for n in range(1, 6)), *(f"13.{n}" for n in range(1, 8)))
SLOW_CASES = range(1, 19)

ALL_CASES = (*(f"{group}.*" for group in QUICK_GROUPS), *(f"{slow}.*" for slow in SLOW_SECTIONS))


CASES_A_PROCESS = 9
"""Of the slow ones: the suite keeps all that it exchanges, 5.5 GB for the 18 cases of 12.1.* and
more than 23 GB for all."""


def parts(cases: Sequence[str]) -> list[tuple[str, ...]]:
    """The cases as processes of the suite take them, one after the other."""
    sections = [case for case in cases if case.removesuffix(".*") in SLOW_SECTIONS]
    others = [case for case in cases if case not in sections]
    single = [case for case in others if case.rpartition(".")[0] in SLOW_SECTIONS]
    rest = tuple(case for case in others if case not in single)
    return [
        *([rest] if rest else []),
        *(
            tuple(single[first : first + CASES_A_PROCESS])
            for first in range(0, len(single), CASES_A_PROCESS)
        ),
        *((section,) for section in sections),
    ]


def share(seed: int, combination: str) -> tuple[str, ...]:
    """The quick groups, and slow cases that the combination is dealt and no other."""
    slow = [f"{section}.{case}" for section in SLOW_SECTIONS for case in SLOW_CASES]
    random.Random(seed).shuffle(slow)
    slow.sort(key=lambda case: case.startswith("13."))  # so that everybody gets cases of both
    hands = itertools.cycle(_HANDS)
    dealt = [case for case in slow if next(hands) == combination]
    return (*(f"{group}.*" for group in QUICK_GROUPS), *dealt)


def taken_whole(environ: Mapping[str, str] = os.environ) -> str | None:
    """The combination that runs every case, if one is named.

    Raises:
        ValueError: SONO_CONFORMANCE_WHOLE names none.
    """
    named = environ.get("SONO_CONFORMANCE_WHOLE")
    if named and named not in COMBINATIONS:
        raise ValueError(f"SONO_CONFORMANCE_WHOLE is {named!r}, not one of {COMBINATIONS}")
    return named or None


def commit_seed(folder: Path = ROOT) -> int:
    """A number from the hash of the checked-out commit; 0 outside of a repository."""
    try:
        found = subprocess.run(
            ["git", "rev-parse", "--verify", "HEAD"],
            cwd=folder,
            capture_output=True,
            text=True,
            check=True,
        )
    except (OSError, subprocess.CalledProcessError):
        return 0
    return int(found.stdout[:8], 16)
