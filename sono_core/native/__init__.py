"""The inner loops over payload bytes and over packets, and the choice between C and pure Python."""

from .head import ordinary_head, pure_ordinary_head
from .kernels import Utf8Validator, apply_mask, pure_apply_mask
from .path import accelerator, pure_wanted
from .scan import PART, TOO_BIG, TOO_DEEP, TOO_MANY, pure_scan_json, scan_json
from .scan_msgpack import (
    DEEPEST,
    EXTENSION,
    HAS_BINARY,
    MALFORMED,
    NOT_A_KEY,
    NOT_FINITE,
    pure_scan_msgpack,
    scan_msgpack,
)

__all__ = [
    "DEEPEST",
    "EXTENSION",
    "HAS_BINARY",
    "MALFORMED",
    "NOT_A_KEY",
    "NOT_FINITE",
    "PART",
    "TOO_BIG",
    "TOO_DEEP",
    "TOO_MANY",
    "Utf8Validator",
    "accelerator",
    "apply_mask",
    "ordinary_head",
    "pure_apply_mask",
    "pure_ordinary_head",
    "pure_scan_json",
    "pure_scan_msgpack",
    "pure_wanted",
    "scan_json",
    "scan_msgpack",
]
