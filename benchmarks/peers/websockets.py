"""The peer `websockets`: its asyncio server."""

from typing import Any

from websockets.asyncio.server import broadcast, serve

from . import common

members: set[Any] = set()


async def echo(ws: Any) -> None:
    """Send each message back."""
    async for message in ws:
        await ws.send(message)


async def fanout(ws: Any) -> None:
    """Send each message to everybody."""
    members.add(ws)
    try:
        async for message in ws:
            broadcast(members, message)
    finally:
        members.discard(ws)


async def start(mode: str, port: int, deflate: bool, tls: str | None) -> None:
    """Serve."""
    sock = common.listen(port)
    handler = {"echo": echo, "fanout": fanout}[mode]
    compression = "deflate" if deflate else None
    async with serve(
        handler,
        sock=sock,
        ssl=common.context(tls),
        compression=compression,
        max_size=common.MAX_MESSAGE,
    ):
        await common.forever(sock)


def main() -> None:
    """Run the script."""
    options = common.parse(loop=("asyncio", "uvloop"))
    common.run(start(options.mode, options.port, options.deflate, options.tls), options.loop)


if __name__ == "__main__":
    main()
