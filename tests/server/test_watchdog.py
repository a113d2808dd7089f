"""The log names a handler that blocks the loop."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

import pytest

from sono_server import HTTPRequest, WebSocket, serve
from sono_server.operations.logs import JSONFormatter, TextFormatter
from tests.servers import PATIENCE, Wire, accept_echo, running

pytestmark = [pytest.mark.usefixtures("each_server"), pytest.mark.watchdog]


class Log(logging.Handler):
    """The log's records; each one sets `waiting`."""

    def __init__(self) -> None:
        super().__init__()
        self.records: list[logging.LogRecord] = []
        self.waiting = threading.Semaphore(0)

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)
        self.waiting.release()

    def until(self, found: Callable[[logging.LogRecord], bool]) -> logging.LogRecord:
        """Wait for the first record for which the condition is true."""
        while not (records := [record for record in self.records if found(record)]):
            assert self.waiting.acquire(timeout=PATIENCE)
        return records[0]


@pytest.fixture
def log() -> object:
    log = Log()
    logger = logging.getLogger("sono")
    logger.addHandler(log)
    yield log
    logger.removeHandler(log)


def test_below_the_level_of_the_log_nothing_is_logged(log: Log) -> None:
    logger = logging.getLogger("sono")
    level, release = logger.level, threading.Event()
    logger.setLevel(logging.ERROR)
    try:
        handle = lambda request: request.accept(lambda ws, message: release.wait(0.3))  # noqa: E731
        with running(handle, watchdog=0.05) as server, Wire(server.address) as wire:
            wire.send("x")
            server.turn()
    finally:
        logger.setLevel(level)
    assert log.records == []


def follows(record: logging.LogRecord, blocked: logging.LogRecord) -> bool:
    return "goes on after" in record.getMessage() and record.created > blocked.created


def test_a_handler_that_blocks_is_named_and_the_others_go_on(log: Log) -> None:
    release = threading.Event()

    def lingering_handler(ws: WebSocket, message: str) -> None:
        release.wait(PATIENCE)
        ws.send("done")

    def accept(request: HTTPRequest) -> None:
        request.accept(lingering_handler)

    with running(accept, watchdog=0.05) as server, Wire(server.address) as wire:
        wire.send("x")
        # a machine that was busy at the beginning may have caused an earlier record
        blocked = log.until(lambda record: "lingering_handler" in str(record.stack_info))
        release.set()
        assert wire.message() == "done"
        log.until(lambda record: follows(record, blocked))
        assert "lingering_handler" in TextFormatter().format(blocked)
        assert "lingering_handler" in JSONFormatter().format(blocked)


def test_a_loop_that_answers_is_not_complained_about(log: Log) -> None:
    with running(accept_echo, watchdog=1) as server, Wire(server.address) as wire:
        for _ in range(100):
            wire.send("x")
            assert wire.message() == "x"
    assert log.records == []


def test_its_thread_ends_with_the_server() -> None:
    def watchdogs() -> list[threading.Thread]:
        return [t for t in threading.enumerate() if t.name == "sono-watchdog"]

    before = len(watchdogs())
    with running(accept_echo) as server, Wire(server.address):
        assert len(watchdogs()) == before + 1
    assert len(watchdogs()) == before
    with running(accept_echo, watchdog=None) as server, Wire(server.address):
        assert len(watchdogs()) == before


@pytest.mark.parametrize("patience", [0, -1])
def test_a_patience_that_is_none_is_refused(patience: float) -> None:
    with pytest.raises(ValueError, match="watchdog"):
        serve(port=0, watchdog=patience)
