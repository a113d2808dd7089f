"""The conformance application of docs/transcripts.md, for servers of every kind.

    python -m tests.server.conformance_app [--asyncio]

It prints its URL.
"""

from __future__ import annotations

import argparse
import asyncio
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any

import msgspec

from sono_core import Limits, Timeouts
from sono_core.messaging.lossless import History
from sono_server import Client, HTTPRequest, Promise, RequestFailed, Sono, serve, serve_async

OPEN = ("room:*", "small:*", "none:*", "guarded:*", "forbidden:*")
LIMITS = Limits(max_joined=8, max_requests=4)
TIMEOUTS = Timeouts(beat=3.0)


@dataclass
class Person:
    """Who a token stands for; without one nobody is known."""

    name: str | None
    expires_at: float | None = None


class Typed(msgspec.Struct):
    """What handlers named so take."""

    text: Annotated[str, msgspec.Meta(max_length=500)]


def application() -> Sono:
    """A new one."""
    sono = Sono(
        limits=LIMITS,
        timeouts=TIMEOUTS,
        history={"small:*": History(count=3), "none:*": History(count=0)},
    )
    decided: dict[str, bool] = {}

    @sono.authenticate
    def identify(request: HTTPRequest) -> Person | None:
        if request.token == "short":
            return Person("good", time.time() + 8.0)
        known = {None: Person(None), "good": Person("good"), "other": Person("other")}
        return known.get(request.token)

    def may_join(client: Client, channel: str) -> bool:
        return decided.get(channel, not channel.startswith("forbidden:"))

    for pattern in OPEN:
        sono.on_join(pattern)(may_join)

    @sono.on("declined")
    def decline(client: Client, message: Any) -> bool:
        return False

    @sono.on("fail")
    def fail(client: Client, message: Any) -> None:
        raise RuntimeError("it was to fail")

    @sono.on("typed")
    def hear(client: Client, message: Typed) -> None:
        pass

    @sono.on_request("echo")
    def echo(client: Client, data: Any) -> Any:
        return data

    @sono.on_request("typed")
    def typed(client: Client, data: Typed) -> Typed:
        return data

    @sono.on_request("fail")
    def fail_request(client: Client, data: Any) -> None:
        raise RuntimeError("it was to fail")

    @sono.on_request("slow")
    def slow(client: Client, data: dict[str, float]) -> Promise[str]:
        promise: Promise[str] = Promise()
        timer = threading.Timer(data["seconds"], promise.complete, ["slow"])
        timer.daemon = True
        timer.start()
        return promise

    @sono.on_request("conformance.ask")
    def ask(client: Client, data: dict[str, Any]) -> Promise[Any]:
        told: Promise[Any] = Promise()

        def answered(promise: Promise[Any]) -> None:
            try:
                told.complete({"data": promise.result()})
            except RequestFailed as error:
                told.complete({"error": error.code})

        asked = subject(client, data).request(data["name"], data["data"], data.get("timeout", 30))
        asked.then(answered)
        return told

    def subject(client: Client, data: dict[str, Any]) -> Client:
        return sono.clients[data.get("to", client.id)]

    def command(name: str) -> Callable[[Callable[[Client, dict[str, Any]], Any]], None]:
        def register(function: Callable[[Client, dict[str, Any]], Any]) -> None:
            @sono.on_request(f"conformance.{name}")
            def run(client: Client, data: dict[str, Any]) -> bool:
                function(subject(client, data), data)
                return True

        return register

    command("emit")(lambda client, data: sono.emit(data["data"], data["event"]))
    command("send")(lambda client, data: client.send(data["event"], data["data"]))
    command("join")(lambda client, data: client.join(data["channel"]))
    command("leave")(lambda client, data: client.leave(data["channel"]))
    command("allow")(lambda client, data: decided.update({data["channel"]: data["allowed"]}))
    command("end")(lambda client, data: client.close(4013, "ended"))

    @sono.on_request("conformance.identity")
    def identity(client: Client, data: Any) -> str | None:
        name: str | None = client.identity.name
        return name

    return sono


async def serve_on_asyncio(sono: Sono) -> None:
    async with serve_async(port=0) as server:
        print(f"ws://127.0.0.1:{server.address[1]}/ws", flush=True)
        async for request in server:
            sono.connect(request)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.server.conformance_app")
    parser.add_argument("--asyncio", action="store_true", help="on asyncio instead of selectors")
    sono = application()
    if parser.parse_args().asyncio:
        asyncio.run(serve_on_asyncio(sono))
        return
    with serve(port=0) as server:
        print(f"ws://127.0.0.1:{server.address[1]}/ws", flush=True)
        for request in server:
            sono.connect(request)


if __name__ == "__main__":
    main()
