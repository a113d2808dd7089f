"""The optional extensions; setup.cfg holds everything else, and cannot declare these."""

import sys

from setuptools import Extension, setup

FLAGS = ["-std=c11", "-O3", "-fvisibility=hidden"]
CORE = "sono_core/native"
CORE_HEADERS = [
    f"{CORE}/{name}.h"
    for name in (
        "native",
        "outbox",
        "reader",
        "frames",
        "mask",
        "head",
        "scan",
        "scan_msgpack",
        "utf8",
    )
]
CORE_SOURCES = (
    "module",
    "events",
    "reader",
    "payload",
    "outbox",
    "frames",
    "mask",
    "head",
    "scan",
    "scan_msgpack",
    "utf8",
)
LOOP_SOURCES = ("module", "context", "transport", "secure", "sender")

# Without a compiler the installation goes on, and pure Python does the same work.
extensions = [
    Extension(
        "sono_core.native._native",
        [f"{CORE}/{name}.c" for name in CORE_SOURCES],
        depends=CORE_HEADERS,
        extra_compile_args=FLAGS,
        optional=True,
    ),
    Extension(
        "sono_io._loop",
        [f"sono_io/native/{name}.c" for name in LOOP_SOURCES],
        include_dirs=[CORE],
        depends=[*CORE_HEADERS, "sono_io/native/loop.h"],
        extra_compile_args=FLAGS,
        optional=True,
    ),
]

setup(ext_modules=extensions if sys.platform != "win32" else extensions[:1])
