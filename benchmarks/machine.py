"""The circumstances of a measurement: machine, versions, and other load."""

import os
import platform
import sys
from collections.abc import Mapping
from datetime import datetime, timezone
from pathlib import Path

from sono_core import __version__, native_available
from sono_core.native import pure_wanted


def cores() -> tuple[int, int]:
    """The core for servers and the core for the load.

    Raises:
        OSError: there is only one.
    """
    allowed = sorted(os.sched_getaffinity(0))
    if len(allowed) < 2:
        raise OSError("two processor cores are needed, one for the server and one for the load")
    return allowed[0], allowed[1]


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def describe(versions: Mapping[str, str]) -> dict[str, str]:
    """The facts, by name. Call this before the run, because of the load average."""
    path = "native" if native_available else "pure Python"
    path += ", as SONO_PURE asks" * pure_wanted()
    averages = ", ".join(f"{average:.2f}" for average in os.getloadavg())
    return {
        "date": datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M UTC"),
        "processor": f"{_processor()}, {os.cpu_count()} cores",
        "system": f"{platform.system()} {platform.release()}, {platform.machine()}",
        "Python": f"{platform.python_implementation()} {sys.version.split()[0]}",
        "Sono": f"{__version__}, {path}",
        "peers": ", ".join(f"{name} {version}" for name, version in versions.items()) or "none",
        "load average before the run": averages,
    }
