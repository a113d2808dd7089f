"""What is taken out of a program's complaints: nothing but its watchdog's words."""

from __future__ import annotations

import json

import pytest

from tests.processes import complaints

BLOCKED = "a handler blocks the event loop, for 1.0 s by now"
STACK = '  File "x.py", line 1, in <module>\n    wait()\n'


@pytest.mark.parametrize(
    "words",
    [
        f"{BLOCKED}\n{STACK}",
        f"2026-11-29 WARNING sono: {BLOCKED}\nStack (most recent call last):\n{STACK}",
        "the event loop goes on after 1.2 s\n",
        json.dumps({"message": BLOCKED, "stack": STACK}) + "\n",
    ],
)
def test_the_watchdog_is_not_heard(words: str) -> None:
    assert complaints(words) == ""
    assert complaints(f"before\n{words}after\n{words}".encode()) == "before\nafter\n"


@pytest.mark.parametrize("words", ["", "a handler failed\n", f"Traceback\n{STACK}ValueError\n"])
def test_everything_else_is(words: str) -> None:
    assert complaints(words) == words
