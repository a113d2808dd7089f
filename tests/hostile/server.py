"""The server under attack: `python -m tests.hostile.server selector|asyncio`, in its own process.

It has the default limits, and shorter deadlines, so that tests need not wait for them.
"""

from __future__ import annotations

import asyncio
import logging
import os
import sys

from sono_core import Timeouts
from sono_server import Client, HTTPRequest, Refused, Sono, WebSocket, serve, serve_async

TIMEOUTS = Timeouts(handshake=2.0, write_stall=1.0, close=1.0)

sono = Sono()
guarded = Sono()
waiting: list[HTTPRequest] = []  # whose authorisation takes time


@guarded.authenticate
def ask(request: HTTPRequest) -> object:
    if request.path == "/raise":
        raise RuntimeError("the hook failed")
    if request.path == "/refuse":
        raise Refused(401)
    return request.cookies["session"]


@guarded.on("who")
def who(client: Client, message: object) -> bool:
    client.send("who", client.identity)
    return False


def echo(ws: WebSocket, message: str | bytes) -> None:
    ws.send(message)


def answer(request: HTTPRequest) -> None:
    if request.path == "/echo":
        request.accept(echo)
    elif request.path == "/ws":
        sono.connect(request)
    elif request.path == "/name":
        request.respond(200, request.headers["x-name"].encode("latin-1"))
    elif request.path == "/wait":
        waiting.append(request)
    elif request.path == "/allow":
        sono.connect(waiting.pop())
        request.respond(200)
    elif request.path == "/forbid":
        waiting.pop().respond(403)
        request.respond(200)
    else:
        guarded.connect(request)


def main(kind: str) -> None:
    logging.basicConfig(filename=os.devnull)  # a pipe would soon be full
    if kind == "selector":
        with serve("127.0.0.1", 0, timeouts=TIMEOUTS) as server:
            print(f"listening on ws://127.0.0.1:{server.address[1]}/", flush=True)
            for request in server:
                answer(request)
    else:
        asyncio.run(main_async())


async def main_async() -> None:
    async with serve_async("127.0.0.1", 0, timeouts=TIMEOUTS) as server:
        print(f"listening on ws://127.0.0.1:{server.address[1]}/", flush=True)
        async for request in server:
            answer(request)


if __name__ == "__main__":
    main(sys.argv[1])
