"""The server under faults, in its own process: `python -m tests.faults.server --help`.

/echo sends back, /fan sends to everybody at /fan, /ws is a Sono whose clients open channels, and
/stats describes the process as JSON; /stats?collect collects garbage first.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import itertools
import json
import logging
import os
import socket
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

from sono_core import Close, Limits, Prepared, TextMessage
from sono_core.messaging.lossless import History
from sono_server import HTTPRequest, Sono, WebSocket, serve, serve_async
from sono_server.operations.settings import changed
from sono_server.serving import BACKLOG


class Application:
    """Answers requests, and counts how connections end."""

    def __init__(self, limits: Limits, backplane: str | None = None) -> None:
        self.closed: Counter[int] = Counter()
        self._open: set[WebSocket] = set()
        self._members: set[WebSocket] = set()
        history = {"short*": History(count=2)}
        self._sono = Sono(open_channels=True, limits=limits, history=history, backplane=backplane)
        self._sono.on_disconnect(lambda client, close: self._note(close))
        self._routes: dict[str, Callable[[HTTPRequest], object]] = {
            "/echo": lambda request: self._enter(request, self._open, _echo),
            "/fan": lambda request: self._enter(request, self._members, self._tell_all),
            "/ws": self._sono.connect,
            "/stats": self._tell,
            "/readyz": lambda request: request.respond(200 if self._sono.ready else 503),
        }

    def __call__(self, request: HTTPRequest) -> None:
        route = self._routes.get(request.path)
        if route:
            route(request)
        else:
            request.respond(404)

    def _enter(
        self,
        request: HTTPRequest,
        group: set[WebSocket],
        receive: Callable[[WebSocket, Any], object],
    ) -> None:
        def leave(ws: WebSocket, close: Close) -> None:
            group.discard(ws)
            self._note(close)

        ws = request.accept(receive, leave)
        if ws.open:
            group.add(ws)

    def _tell_all(self, ws: WebSocket, message: str) -> None:
        prepared = Prepared(TextMessage(message))
        for member in self._members:
            member.send(prepared)

    def _note(self, close: Close) -> None:
        self.closed[close.code] += 1

    def _tell(self, request: HTTPRequest) -> None:
        if request.query:
            gc.collect()
        status = {
            "open": len(self._open) + len(self._members) + len(self._sono.clients),
            "clients": len(self._sono.clients),
            "channels": len(self._sono.channels),
            "closed": self.closed,
            "descriptors": len(os.listdir("/dev/fd")),
            "threads": threading.active_count(),
            "objects": len(gc.get_objects()),
            "cpu": time.process_time(),
        }
        request.respond(200, json.dumps(status))


def _echo(ws: WebSocket, message: str | bytes) -> None:
    ws.send(message)


def _step_the_clock() -> None:
    """Make the wall clock jump back and forth by an hour at each reading."""
    honest = time.time
    steps = itertools.cycle((3600.0, -3600.0))
    time.time = lambda: honest() + next(steps)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.faults.server", description=__doc__)
    add = parser.add_argument
    add("kind", choices=("selector", "asyncio"))
    add("--port", type=int, default=0, help="port to listen on; 0 for any free one")
    add("--set", action="append", default=[], metavar="NAME=VALUE", help="a limit or a time-out")
    add("--drain", type=float, default=10.0, help="seconds to drain on SIGTERM")
    add("--send-buffer", type=int, default=0, help="bytes; the system's own if 0")
    add("--descriptors", type=int, default=0, help="limit of open files")
    add("--backplane", help="URL of what it shares with others; default: nothing")
    add("--stepping-clock", action="store_true", help="time.time() jumps by an hour")
    return parser


def _listener(port: int, send_buffer: int) -> socket.socket:
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if send_buffer:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, send_buffer)
    sock.bind(("127.0.0.1", port))
    sock.listen(BACKLOG)
    return sock


def _descriptors(most: int) -> None:
    import resource

    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most or hard, hard))


def main(arguments: list[str]) -> None:
    """Serve until SIGTERM."""
    logging.basicConfig(filename=os.devnull)  # a pipe would soon be full
    chosen = _parser().parse_args(arguments)
    limits, timeouts = changed(chosen.set)
    application = Application(limits, chosen.backplane)
    options: dict[str, Any] = {
        "sock": _listener(chosen.port, chosen.send_buffer),
        "limits": limits,
        "timeouts": timeouts,
        "drain": chosen.drain,
        "max_connections": 1_000_000,
    }
    if chosen.stepping_clock:
        _step_the_clock()
    _descriptors(chosen.descriptors)
    if chosen.kind == "selector":
        with serve(**options) as server:
            server.call_soon(_announce, server.address)  # from then on SIGTERM is handled
            for request in server:
                application(request)
    else:
        asyncio.run(_serve_async(application, options))


async def _serve_async(application: Application, options: dict[str, Any]) -> None:
    async with serve_async(**options) as server:
        _announce(server.address)
        async for request in server:
            application(request)


def _announce(address: tuple[str, int]) -> None:
    print(f"listening on ws://127.0.0.1:{address[1]}/", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
