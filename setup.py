"""The optional extension; setup.cfg holds everything else, and cannot declare this."""

from setuptools import Extension, setup

# Without a compiler the installation goes on, and pure Python does the same work.
setup(
    ext_modules=[
        Extension(
            "sono_core._native",
            [
                f"sono_core/native/{name}.c"
                for name in ("module", "reader", "frames", "mask", "utf8")
            ],
            depends=[f"sono_core/native/{name}.h" for name in ("native", "frames", "mask", "utf8")],
            extra_compile_args=["-std=c11", "-O3", "-fvisibility=hidden"],
            optional=True,
        )
    ]
)
