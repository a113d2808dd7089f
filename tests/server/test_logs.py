"""How the command logs."""

import json
import logging
import sys

import pytest

from sono_server.operations.logs import JSONFormatter, TextFormatter


def record(message: str, *arguments: object, error: bool = False) -> logging.LogRecord:
    info = sys.exc_info() if error else None
    return logging.LogRecord("sono", logging.WARNING, "file.py", 1, message, arguments, info)


def test_an_event_is_one_line_without_control_characters() -> None:
    line = JSONFormatter().format(record("%s closed: %s", "/ws\x1b[2J", "é\n\x00"))
    assert line.isascii()
    assert line.isprintable()
    entry = json.loads(line)
    assert entry["message"] == "/ws\x1b[2J closed: é\n\x00"
    assert (entry["level"], entry["logger"]) == ("warning", "sono")
    assert entry["time"].count(":") == 2
    assert "exception" not in entry


def test_an_exception_comes_with_its_stack() -> None:
    try:
        raise ValueError("why")
    except ValueError:
        line = JSONFormatter().format(record("it failed", error=True))
    assert line.isprintable()
    assert "ValueError: why" in json.loads(line)["exception"]


@pytest.mark.parametrize("text", ["\x1b[2J", "a\r\nforged", "\x9b31m", "\x00", "\x7f"])
@pytest.mark.parametrize("formatter", [JSONFormatter(), TextFormatter()])
def test_no_control_character_is_written(formatter: logging.Formatter, text: str) -> None:
    record = logging.LogRecord("sono", logging.INFO, "x", 1, "said %s", (text,), None)
    written = formatter.format(record)
    assert written.isprintable()
    assert "said " in written


def test_a_traceback_keeps_its_lines_and_no_other_control_character() -> None:
    try:
        raise ValueError("\x1b[2J\nWARNING sono: forged")
    except ValueError:
        record = logging.LogRecord("sono", logging.INFO, "x", 1, "failed", (), sys.exc_info())
    lines = TextFormatter().format(record).split("\n")
    assert len(lines) > 2
    assert all(line.isprintable() for line in lines)
    assert "\\x1b[2J" in lines[-2]
    assert all(line.startswith("    ") for line in lines[1:])  # none passes for another entry
