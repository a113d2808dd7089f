"""The server under attack: `python -m tests.hostile.server selector|asyncio [NAME=NUMBER]...`.

It runs in its own process. It has the default limits, and shorter deadlines, so that tests need not
wait for them; each NAME is a limit or a time-out with another value. With `certificate=FILE` it
speaks TLS.
"""

from __future__ import annotations

import asyncio
import logging
import os
import ssl
import sys
from typing import Annotated, Any

import msgspec

from sono_core import Limits, Prepared, TextMessage, Timeouts
from sono_server import (
    Client,
    HTTPRequest,
    Refused,
    Sono,
    WebSocket,
    serve,
    serve_async,
)

TIMEOUTS = Timeouts(handshake=2.0, write_stall=1.0, close=1.0)

sono = Sono()
loud = Sono()  # for floods, of which something may be delivered later
loud.channel("quiet")
guarded = Sono()
guarded.channel("admins")
crowded = Sono()
for number in range(1000):
    crowded.channel(f"{number:04}" + "\N{GRINNING FACE}" * 124)  # 500 bytes each
slow = Sono()
lossless = Sono(open_channels=True)
named = Sono()
asked = {"now": 0, "in all": 0}
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


@guarded.on_join
def may_join(client: Client, channel: str) -> bool:
    return channel != "admins"


class Typed(msgspec.Struct):
    """What a handler takes."""

    text: Annotated[str, msgspec.Meta(max_length=500)]


@lossless.on("typed")
def hear(client: Client, message: Typed) -> None:
    pass


@lossless.on_request("typed")
def typed(client: Client, data: Typed) -> Typed:
    return data


@lossless.on_request("echo")
def echo_data(client: Client, data: Any) -> Any:
    return data


@named.authenticate
def name(request: HTTPRequest) -> str | None:
    return request.token


async def ask_for_ever(request: HTTPRequest) -> object:
    """What `slow` asks on asyncio."""
    asked["now"] += 1
    asked["in all"] += 1
    try:
        return await asyncio.Event().wait()
    finally:
        asked["now"] -= 1


fed: list[WebSocket] = []


def feed(ws: WebSocket, message: str | bytes) -> None:
    for each in fed:
        each.send(bytearray(message))  # each gets a copy of its own
    ws.send("fed")


def feed_small(ws: WebSocket, message: str | bytes) -> None:
    shared = Prepared(TextMessage("s" * 60))  # lies between frames that are each one's own
    for each in fed:
        while each._session.outbox.held < int(message):
            each.send(b"o" * 50)
            each.send(shared)
    ws.send("fed")


def echo(ws: WebSocket, message: str | bytes) -> None:
    ws.send(message)


def answer(request: HTTPRequest) -> None:
    if request.path == "/echo":
        request.accept(echo)
    elif request.path == "/feed":  # whoever asks feeds all who are here
        request.accept(feed)
    elif request.path == "/feed-small":
        request.accept(feed_small)
    elif request.path == "/fed":
        fed.append(request.accept())
    elif request.path == "/loud":
        loud.connect(request)
    elif request.path == "/crowded":
        crowded.connect(request)
    elif request.path == "/lossless":
        lossless.connect(request)
    elif request.path == "/named":
        named.connect(request)
    elif request.path == "/slow":
        slow.connect(request)
    elif request.path == "/asked":
        request.respond(200, f"{asked['now']} {asked['in all']}")
    elif request.path == "/held":
        memory = request.loop.memory  # type: ignore[attr-defined]
        request.respond(200, f"{memory.held} {memory.evicted}")
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


def main(kind: str, changes: dict[str, float], certificate: str | None) -> None:
    tls = None
    if certificate:
        tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        tls.load_cert_chain(certificate)
    limits, timeouts = changed(Limits(), changes), changed(TIMEOUTS, changes)
    logging.basicConfig(filename=os.devnull)  # a pipe would soon be full
    if kind == "selector":
        with serve("127.0.0.1", 0, timeouts=timeouts, limits=limits, ssl=tls) as server:
            print(f"listening on ws://127.0.0.1:{server.address[1]}/", flush=True)
            for request in server:
                answer(request)
    else:
        slow.authenticate(ask_for_ever)
        asyncio.run(main_async(limits, timeouts, tls))


def changed(options: Any, changes: dict[str, float]) -> Any:
    """Limits or time-outs with other values."""
    own = {name: changes[name] for name in changes.keys() & set(options.__struct_fields__)}
    return msgspec.structs.replace(options, **own)


async def main_async(limits: Limits, timeouts: Timeouts, tls: ssl.SSLContext | None) -> None:
    async with serve_async("127.0.0.1", 0, timeouts=timeouts, limits=limits, ssl=tls) as server:
        print(f"listening on ws://127.0.0.1:{server.address[1]}/", flush=True)
        async for request in server:
            answer(request)


if __name__ == "__main__":
    pairs = dict(argument.split("=") for argument in sys.argv[2:])
    own = pairs.pop("certificate", None)
    main(sys.argv[1], {name: int(value) for name, value in pairs.items()}, own)
