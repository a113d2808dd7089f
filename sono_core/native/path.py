"""Decides whether the hot path runs in C or in pure Python.

The only import of `_native` is here; SONO_PURE=1 in the environment prevents it.
"""

import os
from typing import Any


def pure_wanted() -> bool:
    """Whether the environment asks for pure Python."""
    return os.environ.get("SONO_PURE", "0") not in ("", "0")


def _import_accelerator() -> Any:
    if pure_wanted():
        return None
    try:
        from . import _native
    except ImportError:  # it is optional: no compiler, or another implementation of Python
        return None
    return _native


accelerator: Any = _import_accelerator()
"""The module `_native`, or None: the pure path."""
