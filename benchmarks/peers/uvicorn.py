"""The peer `uvicorn`, on uvloop, with either of its WebSocket libraries."""

from typing import Any

import uvicorn

from . import common

members: set[Any] = set()


async def echo(receive: Any, send: Any) -> None:
    """Send each message back."""
    while (event := await receive())["type"] == "websocket.receive":
        await send({**event, "type": "websocket.send"})


async def fanout(receive: Any, send: Any) -> None:
    """Send each message to everybody."""
    members.add(send)
    try:
        while (event := await receive())["type"] == "websocket.receive":
            message = {**event, "type": "websocket.send"}
            for member in list(members):
                try:
                    await member(message)
                except OSError:  # The member is gone; ASGI raises this.
                    members.discard(member)
    finally:
        members.discard(send)


def main(mode: str, port: int, deflate: bool, ws: str) -> None:
    """Serve."""
    handler = {"echo": echo, "fanout": fanout}[mode]

    async def application(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.accept"})
            await handler(receive, send)

    config = uvicorn.Config(
        application,
        loop="uvloop",
        ws=ws,
        ws_max_size=common.MAX_MESSAGE,
        ws_per_message_deflate=deflate,
        lifespan="off",
        log_level="error",
        access_log=False,
        timeout_graceful_shutdown=1,
    )
    config.load()
    sock = common.listen(port)
    common.announce(sock)
    uvicorn.Server(config).run(sockets=[sock])


if __name__ == "__main__":
    options = common.parse(ws=("wsproto", "websockets-sansio"))
    main(options.mode, options.port, options.deflate, options.ws)
