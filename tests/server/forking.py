"""A server whose handler forks as each message says, and answers what became of the child.

Usage: python -m tests.server.forking selector|asyncio|uvloop
"""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import signal
import sys
import time
from multiprocessing.connection import Connection
from typing import Any

from sono_server import AsyncServer, HTTPRequest, WebSocket, serve, serve_async
from tests.servers import PATIENCE

# mypy knows the methods of no context by its name
fork: Any = multiprocessing.get_context("fork") if sys.platform != "win32" else None


def sleep(ready: Connection) -> None:
    ready.send("up")
    time.sleep(1000)


def start() -> Any:
    """A child that sleeps, once it does."""
    mine, theirs = fork.Pipe()
    child = fork.Process(target=sleep, args=(theirs,))
    child.start()
    mine.recv()
    return child


def end(child: Any, number: int) -> str:
    os.kill(child.pid, number)
    child.join(PATIENCE)
    status = str(child.exitcode)
    child.kill()
    return status


def exits(leave: str) -> str:
    """The status of a child that leaves the handler in some way."""
    pid = os.fork()
    if pid == 0:
        if leave == "exit":
            sys.exit(7)
        os._exit(8)
    return str(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))


def sends(ws: WebSocket) -> str:
    """What a child may send that has the connection of its parent."""
    pid = os.fork()
    if pid == 0:
        os._exit(ws.send("from the child"))
    return str(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))


def ended_at_once() -> str:
    """What became of children that are told to end while they begin."""
    children = []
    for _ in range(100):
        pid = os.fork()
        if pid == 0:
            time.sleep(10)
            os._exit(9)
        os.kill(pid, signal.SIGTERM)
        children.append(pid)
    return str({os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in children})


kept: list[Any] = []


def handle(ws: WebSocket, message: str) -> None:
    if message == "terminate":
        ws.send(end(start(), signal.SIGTERM))
    elif message == "pool":
        with fork.Pool(2) as pool:
            ws.send(str(pool.map(abs, [-1, 2])))
    elif message == "terminate at once":
        ws.send(ended_at_once())
    elif message == "send":
        ws.send(sends(ws))
    elif message == "keep":
        kept.append(start())
        ws.send(str(kept[-1].pid))
    elif message in ("exit", "_exit"):
        ws.send(exits(message))
    else:
        ws.send(message)


def accept(request: HTTPRequest) -> None:
    request.accept(handle)


async def answer(server: AsyncServer) -> None:
    async with server:
        print(f"ws://127.0.0.1:{server.address[1]}/", flush=True)
        async for request in server:
            accept(request)


if __name__ == "__main__":
    if sys.argv[1] == "selector":
        with serve("127.0.0.1", 0) as server:
            print(f"ws://127.0.0.1:{server.address[1]}/", flush=True)
            for request in server:
                accept(request)
    elif sys.argv[1] == "asyncio":
        asyncio.run(answer(serve_async("127.0.0.1", 0)))
    else:
        import uvloop

        uvloop.run(answer(serve_async("127.0.0.1", 0)))
