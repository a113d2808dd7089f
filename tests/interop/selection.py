"""What runs against the Autobahn|Testsuite, and which of its cases a run of CI takes.

All 517 cases take ten minutes for one peer on one path, nearly all of it in 12.* and 13.*. So
each run takes one combination of peer and path through the whole suite, and the others through
a sample. The commit's hash decides which, so that it varies and can be repeated;
SONO_CONFORMANCE_WHOLE names a combination instead.
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

# Each case of 12.* and 13.* echoes 1,000 messages, and takes 1 to 20 seconds. The sections
# differ in their messages or in what they negotiate, the 18 cases of one section in the size and
# fragments of messages. The other groups take ten seconds in all.
QUICK_GROUPS = tuple(group for group in GROUPS if group < 12)
SLOW_SECTIONS = (*(f"12.{n}" for n in range(1, 6)), *(f"13.{n}" for n in range(1, 8)))
SLOW_CASES = range(1, 19)

ALL_CASES = (*(f"{group}.*" for group in QUICK_GROUPS), *(f"{slow}.*" for slow in SLOW_SECTIONS))


def parts(cases: Sequence[str]) -> list[tuple[str, ...]]:
    """The cases as processes of the suite take them, one after the other.

    A slow section has one of its own: the suite keeps all that it exchanges, 5.5 GB for 12.1.*
    and more than 23 GB for all cases.
    """
    sections = [case for case in cases if case.removesuffix(".*") in SLOW_SECTIONS]
    rest = tuple(case for case in cases if case not in sections)
    return [*([rest] if rest else []), *((section,) for section in sections)]


def sample(seed: int, combination: str) -> tuple[str, ...]:
    """The quick groups, and one case of each slow section; each combination gets others."""
    source = random.Random(f"{combination} {seed}")
    return (
        *(f"{group}.*" for group in QUICK_GROUPS),
        *(f"{section}.{source.choice(SLOW_CASES)}" for section in SLOW_SECTIONS),
    )


def taken_whole(seed: int, environ: Mapping[str, str] = os.environ) -> str:
    """The combination that runs every case.

    Raises:
        ValueError: SONO_CONFORMANCE_WHOLE names none.
    """
    named = environ.get("SONO_CONFORMANCE_WHOLE")
    if not named:
        return COMBINATIONS[seed % len(COMBINATIONS)]
    if named not in COMBINATIONS:
        raise ValueError(f"SONO_CONFORMANCE_WHOLE is {named!r}, not one of {COMBINATIONS}")
    return named


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
