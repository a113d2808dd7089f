"""The application under real ASGI servers: a chat that reports how its connections ended."""

from starlette.applications import Starlette
from starlette.routing import Route, WebSocketRoute

from sono_core import Close, Limits
from sono_server import Client, Sono

KIB = 1024
sono = Sono(open_channels=True)


@sono.on("leave")
def leave(client: Client, message: object) -> None:
    client.close(4001, "as you wish")


@sono.on("flood")
def flood(client: Client, message: object) -> bool:
    """Sends much to clients that may not read: 128 KiB that many times, to everybody."""
    for _ in range(int(str(message))):
        sono.emit("x" * 64 * KIB, "flooded")
    return False


@sono.on_disconnect
def tell(client: Client, close: Close) -> None:
    sono.emit([client.id, close.code, close.reason], "left")


endpoint = sono.asgi(limits=Limits(max_message=2048 * KIB, max_queue=4096 * KIB))
app = Starlette(routes=[WebSocketRoute("/ws", endpoint), Route("/sono.js", endpoint)])
