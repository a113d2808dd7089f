"""Sono's own servers to measure: `python -m benchmarks.servers MODE --port N`.

A few lines for each kind of application, as a user would write them, with every check on. The
command line stays stable, because load generators of any origin use it.
"""

import argparse
import asyncio
import importlib.util
import os
import socket
import sys
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

from sono_core import BinaryMessage, Close, Deflate, Limits, Prepared, TextMessage, native_available
from sono_core.limits import DEFAULT_LIMITS
from sono_core.messaging.lossless import DEFAULT_HISTORY, History
from sono_core.tls import server_context
from sono_server import (
    AsyncServer,
    Client,
    HTTPRequest,
    Server,
    Sono,
    WebSocket,
    serve,
    serve_async,
)

from .peers.common import BACKLOG, MAX_MESSAGE, more_descriptors

Application = Callable[[HTTPRequest], object]


def echo() -> Application:
    """Sends each client's messages back to it."""

    def on_message(ws: WebSocket, message: str | bytes) -> None:
        ws.send(message)

    return lambda request: request.accept(on_message)


def fanout() -> Application:
    """Sends each message to everybody, including its sender."""
    members: set[WebSocket] = set()

    def on_message(ws: WebSocket, message: str | bytes) -> None:
        event = TextMessage(message) if isinstance(message, str) else BinaryMessage(message)
        prepared = Prepared(event)
        for member in members:
            member.send(prepared)

    def on_close(ws: WebSocket, close: Close) -> None:
        members.discard(ws)

    def accept(request: HTTPRequest) -> None:
        ws = request.accept(on_message, on_close)
        if ws.open:
            members.add(ws)

    return accept


def packets() -> Application:
    """The Sono layer at /ws, with everybody in the home channel."""
    return _at_ws(Sono(open_channels=True))


def lossless(history: History = DEFAULT_HISTORY, backplane: str | None = None) -> Application:
    """The same for clients that may send as fast as they can, and with an answer to `echo`."""
    sono = Sono(open_channels=True, limits=_FOR_FLOODS, history={"*": history}, backplane=backplane)

    @sono.on_request("echo")
    def answer(client: Client, data: object) -> object:
        return data

    return _at_ws(sono)


def _at_ws(sono: Sono) -> Application:
    def connect(request: HTTPRequest) -> None:
        if request.path == "/ws":
            sono.connect(request)
        else:
            request.respond(404, "not found\n")

    return connect


_DRAIN = 1.0  # seconds from SIGTERM: the load generator has mostly left by then
_ANY_SIZE = Limits(max_message=MAX_MESSAGE, max_frame=MAX_MESSAGE)
# Slow members get the default limit; it would otherwise grow with the size of messages.
_FOR_MEMBERS = Limits(
    max_message=MAX_MESSAGE, max_frame=MAX_MESSAGE, max_queue=DEFAULT_LIMITS.queue_limit
)
# A benchmark of one sender measures what it costs, and not the rate at which it is throttled.
_FOR_FLOODS = Limits(
    max_message=MAX_MESSAGE,
    max_frame=MAX_MESSAGE,
    max_queue=DEFAULT_LIMITS.queue_limit,
    packet_rate=1_000_000,
    byte_rate=1 << 30,
    delivery_rate=1 << 40,
)
MODES: dict[str, tuple[Callable[[], Application], Limits]] = {
    "echo": (echo, _ANY_SIZE),
    "fanout": (fanout, _FOR_MEMBERS),
    "sono": (packets, _FOR_MEMBERS),
    "lossless": (lossless, _FOR_FLOODS),
    "requests": (lossless, _FOR_FLOODS),
    "nodes": (lossless, _FOR_FLOODS),
}
_LOSSLESS = ("lossless", "nodes")


class _Parser(argparse.ArgumentParser):
    """Reports a mistake in one line, without the usage."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message}\n")


def _parser() -> _Parser:
    parser = _Parser(prog="python -m benchmarks.servers", description=__doc__)
    add = parser.add_argument
    add("mode", choices=MODES, metavar="MODE", help=", ".join(MODES))
    add("--port", type=int, required=True, help="port to listen on, 0 for any free one")
    add("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    add(
        "--transport",
        choices=("selector", "asyncio"),
        default="selector",
        help="kind of server (default: %(default)s)",
    )
    add("--uvloop", action="store_true", help="run the asyncio server on uvloop")
    add("--deflate", action="store_true", help="compress if clients offer it")
    add("--tls", metavar="PEM", help="serve TLS with this certificate and its key")
    add("--no-history", action="store_true", help="keep nothing of what is published")
    add("--backplane", metavar="URL", help="the broker that servers of the mode nodes share")
    add("--workers", type=int, metavar="N", help="processes that share the port")
    return parser


def _check(options: argparse.Namespace, parser: _Parser) -> None:
    if options.uvloop and options.transport != "asyncio":
        parser.error("--uvloop needs --transport asyncio")
    if options.uvloop and not importlib.util.find_spec("uvloop"):
        parser.error("--uvloop needs uvloop: pip install uvloop")
    if options.no_history and options.mode not in _LOSSLESS:
        parser.error("--no-history is for lossless and nodes")
    if options.backplane and options.mode != "nodes":
        parser.error("--backplane is for nodes")
    if options.workers is not None and (options.workers < 1 or options.transport != "selector"):
        parser.error("--workers wants a number, and --transport selector")


def _settings(options: argparse.Namespace) -> dict[str, Any]:
    _, limits = MODES[options.mode]
    deflate = Deflate() if options.deflate else None
    context = server_context(options.tls) if options.tls else None
    return {"limits": limits, "deflate": deflate, "drain": _DRAIN, "ssl": context}


def _announce(server: Server | AsyncServer) -> None:
    """Print the address, and which path runs."""
    _print_address(*server.address[:2])


def _print_address(host: str, port: int) -> None:
    print(f"listening on {f'[{host}]' if ':' in host else host}:{port}", flush=True)
    print("native" if native_available else "pure Python", file=sys.stderr, flush=True)


def _application(options: argparse.Namespace) -> Application:
    if options.mode not in _LOSSLESS:
        return MODES[options.mode][0]()
    return lossless(History(count=0) if options.no_history else DEFAULT_HISTORY, options.backplane)


def _serve(options: argparse.Namespace) -> None:
    application = _application(options)
    with serve(options.host, options.port, **_settings(options)) as server:
        server.call_soon(_announce, server)  # in the loop, which handles SIGTERM from then on
        for request in server:
            application(request)


def _serve_with_workers(options: argparse.Namespace) -> None:
    """Start processes that each listen at the same port, and wait for the end of all of them."""
    listeners = [_shared(options.host, options.port)]
    port = listeners[0].getsockname()[1]
    listeners += [_shared(options.host, port) for _ in range(1, options.workers)]
    for listener in listeners:
        if os.fork() == 0:
            for other in listeners:
                if other is not listener:
                    other.close()
            application = _application(options)
            with serve(sock=listener, **_settings(options)) as server:
                for request in server:
                    application(request)
            return
    for listener in listeners:
        listener.close()
    _print_address(options.host, port)
    for _ in listeners:
        os.wait()


def _shared(host: str, port: int) -> socket.socket:
    """A socket of its own for a worker: the kernel deals out the connections."""
    return socket.create_server((host, port), backlog=BACKLOG, reuse_port=True)


async def _serve_async(options: argparse.Namespace) -> None:
    application = _application(options)
    async with serve_async(options.host, options.port, **_settings(options)) as server:
        _announce(server)
        async for request in server:
            application(request)


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until SIGTERM or SIGINT; returns the exit status."""
    parser = _parser()
    options = parser.parse_args(arguments)
    _check(options, parser)
    more_descriptors()
    try:
        if options.workers:
            _serve_with_workers(options)
        elif options.transport == "selector":
            _serve(options)
        elif options.uvloop:
            import uvloop

            uvloop.run(_serve_async(options))
        else:
            asyncio.run(_serve_async(options))
    except (OSError, ValueError) as error:
        parser.error(f"cannot listen on {options.host}:{options.port}: {error}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
