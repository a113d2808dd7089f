"""The programs of docs/guide.md run as they stand; only the port is changed."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from sono_client import SonoClient
from tests.browser_unit.test_in_node import version_of_node
from tests.conftest import require
from tests.servers import PATIENCE, free_port
from tests.test_docs import ROOT, programs, wait_for_port

GUIDE = programs("docs/guide.md")
PAGE = re.findall(
    r"<!-- runs: page -->\n```js\n(.*?)```", (ROOT / "docs" / "guide.md").read_text("utf-8"), re.S
)


@pytest.fixture
def port() -> Iterator[int]:
    number = free_port()
    program = GUIDE["server"].replace("8080", str(number))
    process = subprocess.Popen([sys.executable, "-c", program], cwd=ROOT, stdout=subprocess.PIPE)
    try:
        wait_for_port(number, process)
        yield number
    finally:
        process.kill()
        process.communicate()


def output(port: int, *command: str) -> str:
    """What a program prints, which must end well and complain of nothing."""
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def run(port: int, name: str) -> list[str]:
    program = GUIDE[name].replace("8080", str(port))
    assert program != GUIDE[name]
    return output(port, sys.executable, "-c", program).splitlines()


def test_the_client_does_what_the_guide_says(port: int) -> None:
    said = run(port, "client")
    heard = said.index("heard: hello")  # it may come before or after the position
    assert heard <= 2
    del said[heard]
    assert said == [
        "published at offset 1",
        "kept: ['hello']",
        "found: ['hello, world']",
        "refused: invalid-packet",
        "asked: deleted",
    ]


def test_the_blocking_client_does_what_the_guide_says(port: int) -> None:
    assert run(port, "blocking") == ["heard: hi"]


def test_the_page_does_what_the_guide_says(port: int, tmp_path: Path) -> None:
    require("node", version_of_node() >= 20, "install nodejs, 20 or newer")
    (page,) = PAGE
    module = (ROOT / "sono_client" / "browser" / "sono.js").as_uri()
    program = tmp_path / "page.mjs"
    program.write_text(page.replace("8080", str(port)).replace('"/sono.js"', repr(module)))
    flags = ["--no-warnings", "--experimental-websocket"]  # node 22 needs none
    said = output(port, "node", *flags, str(program)).splitlines()
    assert {"heard: hi", "asked: deleted"} <= set(said)
    assert said[-1].strip() == "closed"


def test_what_the_guide_says_of_refusals(port: int) -> None:
    from sono_client import ConnectionClosed, RequestFailed

    url = f"ws://localhost:{port}/ws"
    with pytest.raises(ConnectionClosed) as closed, SonoClient(url, token="another's") as sono:
        sono.run(PATIENCE)
    assert closed.value.code == 4011
    with SonoClient(url, token="token of Bob") as sono:
        with pytest.raises(RequestFailed) as refused:
            sono.join("room:secret")
        assert refused.value.code == "forbidden"
        with pytest.raises(RequestFailed) as failed:
            sono.request("search", "nonsense")
        assert failed.value.code == "nothing-found"


def test_every_program_of_the_guide_is_run_here() -> None:
    assert set(GUIDE) == {"server", "client", "blocking"}
    assert len(PAGE) == 1
