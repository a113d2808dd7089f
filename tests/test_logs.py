"""How the command logs."""

import json
import logging
import sys

from sono_server.logs import JSONFormatter


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
