"""Runs the unit tests of the browser client in node."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.conftest import require

OLDEST = 18  # the first version that has node:test


def version_of_node() -> int:
    """The major version of the node in PATH; 0 without one."""
    if not (node := shutil.which("node")):
        return 0
    said = subprocess.run([node, "--version"], capture_output=True, text=True, timeout=60).stdout
    found = re.match(r"v(\d+)\.", said)
    return int(found[1]) if found else 0


# Named one by one, because node's versions differ in what `node --test` does with a folder.
FILES = sorted(Path(__file__).parent.glob("*.test.*js"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_in_node(path: Path) -> None:
    require("node", version_of_node() >= OLDEST, f"install nodejs, {OLDEST} or newer")
    ran = subprocess.run(
        ["node", "--test", path],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=120,
    )
    if ran.returncode:
        pytest.fail(ran.stdout, pytrace=False)
    assert re.search(r"^# pass [1-9]|^. pass [1-9]", ran.stdout, re.MULTILINE), ran.stdout
