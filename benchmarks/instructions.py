"""Compare this checkout with another where no clock is steady: count the server's instructions.

    python -m benchmarks.instructions FOLDER [ROW...]

FOLDER is another checkout of Sono with its own environment in `.venv`, as `make test` makes it.
valgrind counts what the server's own code executes, not the kernel's. The count of one message is
nearly the same from run to run, on a busy machine too, so a ratio of 0.99 means something here. It
is no speed: memory and the kernel count for nothing. A ratio above 1 means that this one is better.
"""

import argparse
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import NamedTuple

from sono_client import WebSocket, connect

from .against import ROOT, python_of

FLOOR = 0.97
"""The ratio below which a change counts as slower, as in `benchmarks.against`."""
_PATIENCE = 120.0  # seconds for valgrind to start a server, or to end it


class Row(NamedTuple):
    """What a server does for one message."""

    name: str
    server: tuple[str, ...]
    """Arguments of `benchmarks.servers`."""
    message: str
    members: int = 1
    """Connections that receive it, its sender among them."""
    senders: int = 1
    """Connections that send at once. One has all of what the server does for each turn of its loop;
    busy servers divide that."""
    path: str = "/"
    messages: tuple[int, int] = (50, 3050)
    """Two runs send so many; the difference leaves out the start and the handshakes.

    The start takes half a billion instructions, and some 300,000 more or less each time.
    """


_PACKET = json.dumps({"protocol": "message", "event": "x", "payload": {"message": "x" * 64}})
ROWS = (
    Row("one", ("echo",), "x" * 64),
    Row("S1", ("echo",), "x" * 64, senders=50, messages=(5, 65)),
    Row("S4", ("echo",), "x" * 65536),
    Row("A1 asyncio", ("echo", "--transport", "asyncio"), "x" * 64, senders=50, messages=(5, 65)),
    Row(
        "A1 uvloop",
        ("echo", "--transport", "asyncio", "--uvloop"),
        "x" * 64,
        senders=50,
        messages=(5, 65),
    ),
    Row("F1", ("fanout",), "x" * 64, members=100, messages=(10, 510)),
    Row("F2", ("sono",), _PACKET, members=100, path="/ws", messages=(10, 510)),
)


def exchange(sockets: Sequence[WebSocket], senders: int, message: str, count: int) -> None:
    """Have the first ones send so many messages; all receive what is sent before the next is."""
    for _ in range(count):
        for ws in sockets[:senders]:
            ws.send(message)
        for ws in sockets:
            ws.recv(_PATIENCE)


def executed(checkout: Path, python: str, row: Row, messages: int) -> int:
    """Instructions of a server from its start to its end.

    Raises:
        RuntimeError: it failed; the text is what it printed.
    """
    program = [python, "-m", "benchmarks.servers", *row.server, "--port", "0"]
    server = subprocess.Popen(
        ["valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null", *program],
        cwd=checkout,
        env={**os.environ, "PYTHONHASHSEED": "0"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert server.stdout
    found = re.search(r":(\d+)$", server.stdout.readline().rstrip())
    if found:
        url = f"ws://127.0.0.1:{found[1]}{row.path}"
        with ExitStack() as stack:
            sockets = [
                stack.enter_context(connect(url, proxy=None, deflate=None))
                for _ in range(max(row.members, row.senders))
            ]
            exchange(sockets, row.senders, row.message, messages)
    server.send_signal(signal.SIGTERM)
    _, errors = server.communicate(timeout=_PATIENCE)
    collected = re.search(r"Collected : (\d+)", errors)
    if not (found and collected):
        raise RuntimeError(errors)
    return int(collected[1])


def of_one(count: Callable[[int], int], row: Row) -> float:
    """Instructions for one message to one member."""
    few, many = row.messages
    return (count(many) - count(few)) / (many - few) / row.members / row.senders


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table; 1 if a ratio is below the floor, 2 if nothing can run."""
    names = [row.name for row in ROWS]
    parser = argparse.ArgumentParser(prog="python -m benchmarks.instructions", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("folder", type=Path, help="the other checkout")
    parser.add_argument(
        "rows", nargs="*", metavar="ROW", help=f"default: all of {', '.join(names)}"
    )
    options = parser.parse_args(arguments)
    if unknown := [name for name in options.rows if name not in names]:
        parser.error(f"{unknown[0]} is no row; there are {', '.join(names)}")
    if not shutil.which("valgrind"):
        parser.error("valgrind is missing; install it with: apt-get install valgrind")
    try:
        sides = [(checkout, python_of(checkout)) for checkout in (ROOT, options.folder.resolve())]
    except FileNotFoundError as error:
        parser.error(str(error))
    print("| row | this | other | other / this |\n|---|---|---|---|", flush=True)
    slower = False
    for row in ROWS:
        if options.rows and row.name not in options.rows:
            continue
        ours, theirs = (of_one(partial(executed, *side, row), row) for side in sides)
        print(f"| {row.name} | {ours:,.0f} | {theirs:,.0f} | {theirs / ours:.3f} |", flush=True)
        slower |= theirs / ours < FLOOR
    return int(slower)


if __name__ == "__main__":
    sys.exit(main())
