"""The process in which atheris runs one target: `python -m fuzz.under_atheris TARGET OPTION ...`.

The options are libFuzzer's. `fuzz.fuzz` starts it. The packages below are imported first, so that
atheris counts their branches.
"""

from __future__ import annotations

import sys

import atheris

INSTRUMENTED = ["sono_core", "h11", "fuzz.targets"]


def main() -> None:
    """Run the command; libFuzzer ends the process."""
    name, *options = sys.argv[1:]
    with atheris.instrument_imports(include=INSTRUMENTED):
        from .targets import TARGETS
    atheris.Setup([name, *options], TARGETS[name].run)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
