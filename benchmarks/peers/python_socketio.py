"""The peer `python-socketio`, on aiohttp: one room for everybody, and acknowledgements."""

from typing import Any

from aiohttp import web
from socketio import AsyncRedisManager, AsyncServer

from . import common

HOME = "Home"


async def start(port: int, deflate: bool, backplane: str | None) -> None:
    """Serve."""
    manager = {"client_manager": AsyncRedisManager(backplane)} if backplane else {}
    sio = AsyncServer(
        async_mode="aiohttp",
        async_handlers=False,  # keeps each client's messages in order, as the other peers do
        transports=["websocket"],
        http_compression=deflate,
        max_http_buffer_size=common.MAX_MESSAGE,
        **manager,
    )

    async def enter(client: str, environment: Any) -> None:
        await sio.enter_room(client, HOME)

    async def publish(client: str, message: Any) -> None:
        await sio.emit("message", message, room=HOME)

    sio.on("connect", enter)

    async def echo(client: str, data: Any) -> Any:
        return data

    sio.on("message", publish)
    sio.on("echo", echo)
    application = web.Application()
    sio.attach(application)
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    sock = common.listen(port)
    await web.SockSite(runner, sock).start()
    await common.forever(sock)


if __name__ == "__main__":
    options = common.parse(["sono", "requests", "nodes"], loop=("asyncio", "uvloop"))
    common.run(start(options.port, options.deflate, options.backplane), options.loop)
