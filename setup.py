"""The optional extensions; setup.cfg holds everything else, and cannot declare these."""

import sys

from setuptools import Extension, setup

FLAGS = ["-std=c11", "-O3", "-fvisibility=hidden"]
CORE = ("native", "outbox", "reader", "frames", "mask", "utf8")
CORE_HEADERS = [f"sono_core/native/{name}.h" for name in CORE]

# Without a compiler the installation goes on, and pure Python does the same work.
extensions = [
    Extension(
        "sono_core._native",
        [
            f"sono_core/native/{name}.c"
            for name in (
                "module",
                "events",
                "reader",
                "payload",
                "outbox",
                "frames",
                "mask",
                "utf8",
            )
        ],
        depends=CORE_HEADERS,
        extra_compile_args=FLAGS,
        optional=True,
    ),
    Extension(
        "sono_server._loop",
        [f"sono_server/native/{name}.c" for name in ("module", "turn", "carrier", "sender")],
        include_dirs=["sono_core/native"],
        depends=[*CORE_HEADERS, "sono_server/native/loop.h"],
        extra_compile_args=FLAGS,
        optional=True,
    ),
]

setup(ext_modules=extensions if sys.platform != "win32" else extensions[:1])
