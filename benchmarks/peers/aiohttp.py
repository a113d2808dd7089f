"""The peer `aiohttp`: its server."""

from typing import Any

from aiohttp import WSMsgType, web

from . import common

members: set[Any] = set()


async def send(ws: Any, message: Any) -> None:
    """Send a message that was received."""
    if message.type == WSMsgType.TEXT:
        await ws.send_str(message.data)
    elif message.type == WSMsgType.BINARY:
        await ws.send_bytes(message.data)


async def echo(ws: Any) -> None:
    """Send each message back."""
    async for message in ws:
        await send(ws, message)


async def fanout(ws: Any) -> None:
    """Send each message to everybody."""
    members.add(ws)
    try:
        async for message in ws:
            for member in list(members):
                try:
                    await send(member, message)
                except ConnectionResetError:  # The member is gone; its own handler will notice.
                    members.discard(member)
    finally:
        members.discard(ws)


async def start(mode: str, port: int, deflate: bool, tls: str | None) -> None:
    """Serve."""
    handler = {"echo": echo, "fanout": fanout}[mode]

    async def accept(request: Any) -> Any:
        ws = web.WebSocketResponse(compress=deflate, max_msg_size=common.MAX_MESSAGE)
        await ws.prepare(request)
        await handler(ws)
        return ws

    application = web.Application()
    application.router.add_get("/{path:.*}", accept)
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    sock = common.listen(port)
    await web.SockSite(runner, sock, ssl_context=common.context(tls)).start()
    await common.forever(sock)


if __name__ == "__main__":
    options = common.parse(loop=("asyncio", "uvloop"))
    common.run(start(options.mode, options.port, options.deflate, options.tls), options.loop)
