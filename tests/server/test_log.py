"""A handler of the log that raises harms no connection, and does not end the loop."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator

import pytest

from sono_core import CloseCode
from sono_server import HTTPRequest, WebSocket
from sono_server.serving import logger
from tests.servers import Wire, running


class Broken(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        raise RuntimeError("the log is broken")


@pytest.fixture
def broken() -> Iterator[None]:
    log, handler = logging.getLogger("sono"), Broken()
    level = log.level
    log.addHandler(handler)
    log.setLevel(logging.DEBUG)
    yield
    log.removeHandler(handler)
    log.setLevel(level)


@pytest.mark.usefixtures("broken", "each_server")
def test_what_is_logged_is_lost_and_nothing_else() -> None:
    closed: list[int] = []

    def handle(ws: WebSocket, message: str) -> None:
        if message == "fail":
            raise ValueError(message)
        ws.send(message)

    def answer(request: HTTPRequest) -> None:
        request.accept(handle, lambda ws, close: closed.append(close.code))

    with running(answer) as server:
        with Wire(server.address) as wire, Wire(server.address) as other:
            wire.send("fail")
            assert wire.closed().code == CloseCode.INTERNAL_ERROR
            server.server.call_soon(lambda: 1 / 0)
            other.send("echo")
            assert other.message() == "echo"
        while len(closed) < 2:
            server.turn()


@pytest.mark.usefixtures("broken")
def test_what_the_handler_raised_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    logger.warning("x")
    record = logging.LogRecord("sono", logging.WARNING, "", 0, "x", (), None)
    logger.handle(record)
    assert capsys.readouterr().err.count("RuntimeError: the log is broken") == 2


@pytest.mark.usefixtures("broken")
def test_without_standard_error_nothing_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", None)
    logger.warning("x")


def test_a_record_names_the_place_that_logs(caplog: pytest.LogCaptureFixture) -> None:
    logger.warning("x")
    (record,) = caplog.records
    assert record.filename == "test_log.py"
