"""`sono listen`, `emit` and `request` in `sono.v2`, as processes of their own."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

import pytest

from sono_client import SonoClient
from tests.client.lossless_server import House, served
from tests.processes import ROOT, program, run
from tests.servers import PATIENCE

SONO = ("-m", "sono_server")


@pytest.fixture
def house() -> Iterator[House]:
    with served("asyncio") as house:
        yield house


def lines(house: House, *arguments: str) -> tuple[list[dict[str, Any]], str]:
    """What `sono listen` prints, as JSON and on standard error."""
    status, output, errors = run(*SONO, "listen", house.url, *arguments)
    assert status == 0, errors
    return [json.loads(line) for line in output.splitlines()], errors


def test_a_request_prints_the_reply(house: House) -> None:
    assert run(*SONO, "request", house.url, "echo", '{"a": [1]}') == (0, '{"a": [1]}\n', "")
    assert run(*SONO, "request", house.url, "echo") == (0, "null\n", "")
    status, output, errors = run(*SONO, "request", house.url, "weather")
    assert (status, output) == (1, "")
    assert errors == f"sono: {house.url}: refused: nobody answers weather\n"


def test_what_is_emitted_is_published(house: House) -> None:
    with SonoClient(house.url) as client:
        room = client.join("room")
        for text in ("one", "two"):
            emitted = run(*SONO, "emit", house.url, text, "--channel", "room", "--event", "chat")
            assert emitted == (0, "", "")
        assert [entry.data for entry in room.history().entries] == ["one", "two"]
    status, _, errors = run(*SONO, "emit", house.url, "x", "--event", "declined")
    assert (status, errors.count("\n")) == (1, 1)
    assert "refused" in errors
    status, _, errors = run(*SONO, "emit", house.url, "x", "--channel", "forbidden")
    assert status == 1


def test_listening_goes_on_after_a_position(house: House) -> None:
    with SonoClient(house.url) as client:
        small = client.join("small")
        positions = [small.publish("chat", number) for number in range(6)]
        at = f"{positions[0].epoch}:{positions[3].offset}"  # type: ignore[union-attr]
        found, errors = lines(house, "--channel", "small", "--from", at, "--count", "2")
        assert [line["payload"]["message"] for line in found] == [4, 5]
        assert found[0]["at"] == [positions[4].epoch, 5]  # type: ignore[union-attr]
        assert (found[0]["stream"], found[0]["event"], errors) == ("#small", "chat", "")

        at = f"{positions[0].epoch}:1"  # type: ignore[union-attr]
        found, errors = lines(house, "--channel", "small", "--from", at, "--count", "3")
        assert [line["payload"]["message"] for line in found] == [3, 4, 5]
        assert errors == "sono: gap in #small: 2 to 3 of its entries cannot be had\n"

        found, errors = lines(house, "--channel", "small", "--from", "other:1", "--count", "3")
        assert [line["payload"]["message"] for line in found] == [3, 4, 5]
        assert errors == "sono: gap in #small: an unknown number of its entries cannot be had\n"


def test_what_is_said_after_the_history_follows_it(house: House) -> None:
    with SonoClient(house.url) as client:
        at, *_ = [client.publish("Home", "chat", number) for number in range(250)]
        arguments = ("--from", f"{at.epoch}:1", "--count", "250")  # type: ignore[union-attr]
        with program(*SONO, "listen", house.url, *arguments) as listener:
            seen = [json.loads(listener.line())["payload"]["message"] for _ in range(100)]
            for number in range(250, 400):
                client.publish("Home", "chat", number)
            seen += [json.loads(listener.line())["payload"]["message"] for _ in range(150)]
            _, errors = listener.process.communicate(timeout=PATIENCE)
    assert seen == list(range(150, 400))
    assert errors.decode() == "sono: gap in #Home: 2 to 150 of its entries cannot be had\n"


def test_connect_asks_too(house: House) -> None:
    done = subprocess.run(
        [sys.executable, *SONO, "connect", house.url],
        input='/request echo {"a": 1}\n/request weather\n/join hall\nhere\n',
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        cwd=ROOT,
    )
    assert (done.returncode, done.stderr) == (0, "")
    _, *rest = done.stdout.splitlines()
    assert rest[:3] == ['{"a": 1}', "refused: nobody answers weather", "in channel hall"]
    assert rest[3].endswith(": here")


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["listen", "ws://localhost/", "--from", "x"], "is not EPOCH:OFFSET"),
        (["listen", "ws://localhost/", "--from", ":1"], "is not EPOCH:OFFSET"),
        (["listen", "ws://localhost/", "--from", "x:-1"], "is not EPOCH:OFFSET"),
        (["listen", "ws://localhost/", "--from", "x:1", "--dialect", "classic"], "needs the"),
        (["listen", "ws://localhost/", "--channel", "a" * 129], "1 to 128 characters"),
        (["emit", "ws://localhost/", "x", "--dialect", "v3"], "invalid choice"),
        (["request", "ws://localhost/", "x", "{"], "Expecting"),
        (["request", "ws://localhost/", ""], "1 to 128 characters"),
    ],
)
def test_mistakes_are_one_line_and_status_2(arguments: list[str], text: str) -> None:
    status, output, errors = run(*SONO, *arguments)
    assert (status, output) == (2, "")
    assert text in errors
    assert errors.count("\n") == 1


def test_the_classic_dialect_on_demand(house: House) -> None:
    found, _ = lines_while(house, "--dialect", "classic", "--count", "1")
    assert found == {"event": "chat", "payload": {"message": 1}, "stream": None}


def lines_while(house: House, *arguments: str) -> tuple[dict[str, Any], str]:
    """The first line that a listener prints while the server says something in Home."""
    with program(*SONO, "listen", house.url, *arguments) as listener:
        while not house.sono.clients:
            time.sleep(0.01)
        house.say("Home", "chat", 1)
        found = json.loads(listener.line())
        assert listener.process.wait(PATIENCE) == 0
    return {**found, "stream": found.get("stream")}, ""
