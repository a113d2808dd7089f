"""Benchmarks: `python -m benchmarks` runs them all. Only ratios within one run count."""

import sys
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]

# Python searches its start folder before the installed packages. A checkout without built
# extensions must not hide an installation that has them, here or in servers.
if not any((ROOT / f"sono_core/native/_native{suffix}").exists() for suffix in EXTENSION_SUFFIXES):
    sys.path.sort(key=lambda entry: Path(entry).resolve() == ROOT)
