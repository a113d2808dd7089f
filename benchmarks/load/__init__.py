"""Builds and runs the load generator and the ceiling, both in C.

`load` puts load on a server and checks the answers; `ceiling` does the least that a server can
do, as an upper bound for all others. `load --help` lists its commands and options.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

SOURCES = Path(__file__).parent
ROOT = SOURCES.parents[1]
CEILING = [SOURCES / name for name in ("ceiling.c", "ceiling_take.c")]
SHARED = [SOURCES / name for name in ("bytes.c", "wire.c")]
MASK = ROOT / "sono_core" / "native" / "mask.c"
FLAGS = ("-std=c11", "-D_GNU_SOURCE", "-O3", "-Wall", "-Wextra", "-Wpedantic")


class Programs(NamedTuple):
    """Where the programs are."""

    load: Path
    ceiling: Path


class LoadError(Exception):
    """A program could not be built, or did not run to its end."""


def build(folder: Path | None = None) -> Programs:
    """Compile what is out of date.

    Args:
        folder: for the programs; None means the project's build/benchmarks.

    Raises:
        LoadError: no Linux, no C compiler, or the compiler reported an error.
    """
    if not sys.platform.startswith("linux"):
        raise LoadError("the load generator needs epoll, which only Linux has")
    folder = folder or ROOT / "build" / "benchmarks"
    folder.mkdir(parents=True, exist_ok=True)
    programs = Programs(folder / "load", folder / "ceiling")
    newest = max(path.stat().st_mtime for path in _read_by_the_compiler())
    load_sources = sorted(set(SOURCES.glob("*.c")) - set(CEILING))
    for program, sources in zip(programs, (load_sources, [*CEILING, *SHARED, MASK]), strict=True):
        if not program.exists() or program.stat().st_mtime < newest:
            _compile(program, sources, library_flags() if program is programs.load else [])
    return programs


def _read_by_the_compiler() -> list[Path]:
    return [*SOURCES.glob("*.[ch]"), MASK, MASK.with_suffix(".h"), Path(__file__)]


def _compiler() -> str:
    for name in ("cc", "gcc", "clang"):
        if path := shutil.which(name):
            return path
    raise LoadError("no C compiler: install one, with apt-get install gcc libc6-dev or the like")


_LIBRARIES = {
    "ZLIB": ("#include <zlib.h>\nint main(void) { return !zlibVersion(); }\n", ("-lz",)),
    "TLS": (
        "#include <openssl/ssl.h>\nint main(void) { return !TLS_client_method(); }\n",
        ("-lssl", "-lcrypto"),
    ),
}
"""For each library that may be missing a program that needs it, and how to link it."""


def has(library: str) -> bool:
    """Whether `ZLIB` or `TLS` can be compiled in."""
    probe, links = _LIBRARIES[library]
    command = [_compiler(), "-x", "c", "-", "-o", os.devnull, *links]
    return not subprocess.run(
        command, input=probe, text=True, capture_output=True, check=False
    ).returncode


def library_flags() -> list[str]:
    """The compiler's arguments for the libraries that are there."""
    there = [name for name in _LIBRARIES if has(name)]
    links = (link for name in there for link in _LIBRARIES[name][1])
    return [*(f"-DWITH_{name}" for name in there), *links]


def _compile(program: Path, sources: list[Path], libraries: list[str]) -> None:
    # Renamed once it is whole, because another process may be building or running the same program.
    with tempfile.TemporaryDirectory(dir=program.parent) as scratch:
        made = Path(scratch) / program.name
        command = [_compiler(), *FLAGS, *map(str, sources), *libraries, "-o", str(made)]
        result = subprocess.run(command, text=True, capture_output=True, check=False)
        if result.returncode:
            raise LoadError(f"{program.name} does not compile:\n{result.stderr}")
        made.replace(program)


def on_core(core: int | None) -> Callable[[], None] | None:
    """A `preexec_fn` that keeps a new process on one core; None for None."""
    return None if core is None else lambda: os.sched_setaffinity(0, {core})


def run(program: Path, *arguments: object, core: int | None = None) -> dict[str, Any]:
    """Run `load` to its end and return the JSON object that it printed.

    Args:
        program: `build().load`.
        arguments: of its command line, converted to str.
        core: the only one that it may use.

    Raises:
        LoadError: it failed (the text is what it printed), or printed no result.
    """
    command = [str(program), *map(str, arguments)]
    result = subprocess.run(
        command,
        stdin=subprocess.DEVNULL,
        text=True,
        capture_output=True,
        check=False,
        preexec_fn=on_core(core),
    )
    lines = result.stdout.splitlines()
    if result.returncode or not lines:
        raise LoadError(f"{' '.join(command)}: status {result.returncode}: {result.stderr.strip()}")
    answer: dict[str, Any] = json.loads(lines[-1])
    return answer
