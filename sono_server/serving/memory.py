"""How much memory this process may use: the machine's, or its control group's if that is less.

Linux gives control groups in two versions; a container usually has one of them.
"""

import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from sono_core.limits import Limits

_SHARE = 4  # the peers of a server get the fourth part: the application needs some too
_ROOT = Path("/")


def memory_limit(limits: Limits) -> int:
    """Bytes that a server may hold for its peers, by `Limits.max_memory` and what there is."""
    if limits.max_memory is not None:
        return limits.memory_limit
    available = available_memory()
    return limits.memory_limit if available is None else min(limits.memory_limit, available)


def available_memory() -> int | None:
    """The peers' share of the memory that this process may use, in bytes; None if nobody says."""
    known = [size for size in (*_of_machine(), *_of_groups(_ROOT)) if size > 0]
    return max(1, min(known) // _SHARE) if known else None


def _of_machine() -> Iterator[int]:
    try:
        yield os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, OSError, ValueError):  # on Windows, and where it is unknown
        pass


def _of_groups(root: Path) -> Iterator[int]:
    """The limits of this process's control groups and of those around them."""
    for line in _read(root / "proc/self/cgroup").splitlines():
        _, controllers, path = [*line.split(":", 2), "", ""][:3]
        if controllers == "":
            mount, name = root / "sys/fs/cgroup", "memory.max"
        elif "memory" in controllers.split(","):
            mount, name = root / "sys/fs/cgroup/memory", "memory.limit_in_bytes"
        else:
            continue
        inner = PurePosixPath(path.lstrip("/"))
        # In a container the path may be the host's, and only the mount's own root be there.
        for group in (inner, *inner.parents, PurePosixPath()):
            text = _read(mount / group / name).strip()
            if text.isdecimal():  # not "max"
                yield int(text)


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
