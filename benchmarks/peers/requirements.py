"""What a peer needs: whether it is installed, in which version, and how to get it."""

import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import NamedTuple

from sono_core import native_available
from sono_core.native import pure_wanted

MODULES = Path(__file__).parent / "node_modules"
_NPM = "npm install --prefix benchmarks/peers"


class MissingError(Exception):
    """It is not installed; the text says how to get it."""


class Requirement(NamedTuple):
    """A requirement."""

    name: str
    version: Callable[[], str]
    """Raises `MissingError`. Empty for a part of this project."""


def distribution(name: str) -> Requirement:
    """A Python package."""

    def version() -> str:
        try:
            return metadata.version(name)
        except metadata.PackageNotFoundError:
            raise MissingError(f"pip install {name}, or '.[bench]' for all") from None

    return Requirement(name, version)


def package(name: str) -> Requirement:
    """A node package in this folder."""

    def version() -> str:
        if not shutil.which("node"):
            raise MissingError("install node")
        return _version_in(MODULES / name / "package.json")

    return Requirement(name, version)


def _version_in(path: Path) -> str:
    try:
        return str(json.loads(path.read_text())["version"])
    except OSError:
        raise MissingError(_NPM) from None


def _redis_server_version() -> str:
    program = shutil.which("redis-server")
    if not program:
        raise MissingError("apt-get install redis-server")
    said = subprocess.run([program, "--version"], capture_output=True, text=True, check=True)
    found = re.search(r"v=([\d.]+)", said.stdout)
    return found[1] if found else said.stdout.strip()


def deno() -> Path:
    """The program itself: the `deno` that npm installs starts it as a child.

    Raises:
        MissingError: it is not installed.
    """
    for path in sorted(MODULES.glob("@deno/*/deno")):
        return path
    raise MissingError(_NPM)


def _deno_version() -> str:
    deno()
    return _version_in(MODULES / "deno" / "package.json")


def _original_version() -> str:
    folder = Path(os.environ.get("SONO_ORIGINAL", ""))
    if not (folder.is_absolute() and (folder / "mod.ts").exists()):
        raise MissingError("let SONO_ORIGINAL be the whole path of its source's folder")
    try:
        return str(json.loads((folder / "deno.json").read_text())["version"])
    except (OSError, KeyError):
        return "of no version"


def native_obstacle() -> str:
    """Why the native path cannot be measured, and the remedy; empty if it can."""
    if native_available:
        return ""
    if pure_wanted():
        return "SONO_PURE asks for pure Python"
    return "sono's extensions are not built: make bench, or pip install -e '.[bench]'"


def _native() -> str:
    if why := native_obstacle():
        raise MissingError(why)
    return ""


DENO = Requirement("deno", _deno_version)
ORIGINAL = Requirement("the original", _original_version)
REDIS_SERVER = Requirement("redis-server", _redis_server_version)
SONO_NATIVE = Requirement("sono", _native)
