"""Benchmarks: `python -m benchmarks` runs them all. Ratios within one run are what counts."""

import sys
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]

# Python looks into the folder where it was started before it looks at what is installed. A checkout
# whose extensions are not built must not hide an installation that has them, here or in servers.
if not any((ROOT / f"sono_core/native/_native{suffix}").exists() for suffix in EXTENSION_SUFFIXES):
    sys.path.sort(key=lambda entry: Path(entry).resolve() == ROOT)
