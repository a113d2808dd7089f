"""The optional extensions; setup.cfg holds everything else, and cannot declare these."""

import sys

from setuptools import Extension, setup

FLAGS = ["-std=c11", "-O3", "-fvisibility=hidden"]
CORE = ("native", "outbox", "reader", "frames", "mask", "utf8")
CORE_HEADERS = [f"sono_core/native/{name}.h" for name in CORE]


def loop(package: str) -> Extension:
    """A package's own build of what transports do for every message."""
    return Extension(
        f"{package}._loop",
        [f"sono_server/native/{name}.c" for name in ("module", "turn", "carrier", "sender")],
        include_dirs=["sono_core/native"],
        depends=[*CORE_HEADERS, "sono_server/native/loop.h"],
        define_macros=[("SONO_PACKAGE", f'"{package}"')],
        extra_compile_args=FLAGS,
        optional=True,
    )


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
    *map(loop, ("sono_server", "sono_client")),
]

setup(ext_modules=extensions if sys.platform != "win32" else extensions[:1])
