"""The examples run as they are: they print their address, answer, and end on SIGTERM."""

from __future__ import annotations

import json
import signal

import pytest

from sono_core import Close
from tests.processes import program, run
from tests.servers import Wire, get, status


@pytest.mark.parametrize("options", [[], ["--asyncio"]], ids=["selector", "asyncio"])
def test_echo(options: list[str]) -> None:
    with program("examples/echo.py", "--port", "0", *options) as started:
        line = started.line()
        assert line.startswith("listening on ws://")
        port = int(line.rstrip("/").rpartition(":")[2])
        with Wire(("127.0.0.1", port)) as wire:
            wire.send("text", b"\x00\xff")
            assert [wire.message(), wire.message()] == ["text", b"\x00\xff"]
            wire.send(Close(1000))
            assert wire.closed() == Close(1000, "", True)
        assert started.end(signal.SIGTERM) == (0, "")


def test_echo_takes_limits() -> None:
    arguments = ["--max-message", "10", "--max-fragments", "2", "--max-queue", "1000"]
    with program("examples/echo.py", "--port", "0", *arguments) as started:
        address = started.address()
        with Wire(address) as wire:
            wire.send("0123456789")
            assert wire.message() == "0123456789"
            wire.send("0123456789+")
            assert wire.closed().code == 1009
        assert started.end(signal.SIGTERM) == (0, "")


def test_seed() -> None:
    with program("examples/seed.py", "--port", "0") as started:
        address = started.address()
        page = get(address)
        assert status(page) == 200
        assert b"/sono.js" in page
        assert b"export class SonoClient" in get(address, "/sono.js")
        assert status(get(address, "/other")) == 404
        with Wire(address, "/ws") as wire:
            welcome = json.loads(wire.message())
            assert welcome["payload"] == {"message": "new client connected"}
            started.process.send_signal(signal.SIGTERM)
            assert wire.closed().code == 1001
            wire.flush()
        assert started.process.wait(10) == 0


@pytest.mark.parametrize("name", ["echo", "seed"])
def test_help(name: str) -> None:
    code, output, errors = run(f"examples/{name}.py", "--help")
    assert (code, errors) == (0, "")
    assert "--port" in output


@pytest.mark.parametrize(
    "arguments", [["--port", "99999"], ["--port", "-1"], ["--max-message", "0"]], ids=" ".join
)
def test_a_mistake_is_told_without_a_traceback(arguments: list[str]) -> None:
    code, _, errors = run("examples/echo.py", *arguments)
    assert code == 2
    assert "Traceback" not in errors
    assert errors.splitlines()[-1].startswith("echo.py: error: ")
