"""The peer `tornado`."""

import asyncio
from typing import Any

from tornado.httpserver import HTTPServer
from tornado.web import Application
from tornado.websocket import WebSocketClosedError, WebSocketHandler

from . import common


class Echo(WebSocketHandler):  # type: ignore[misc]
    """Sends each message back."""

    def on_message(self, message: str | bytes) -> None:
        self.write_message(message, binary=isinstance(message, bytes))

    def get_compression_options(self) -> dict[str, Any] | None:
        return {} if self.settings["deflate"] else None


class Fanout(Echo):
    """Sends each message to everybody."""

    members: set[Any] = set()  # noqa: RUF012 - of all of them

    def open(self) -> None:
        """Add a member."""
        self.members.add(self)

    def on_message(self, message: str | bytes) -> None:
        binary = isinstance(message, bytes)
        for member in list(self.members):
            try:
                member.write_message(message, binary=binary)
            except WebSocketClosedError:
                self.members.discard(member)

    def on_close(self) -> None:
        self.members.discard(self)


async def start(mode: str, port: int, deflate: bool) -> None:
    """Serve."""
    application = Application(
        [(r"/.*", {"echo": Echo, "fanout": Fanout}[mode])],
        log_function=lambda handler: None,
        websocket_max_message_size=common.MAX_MESSAGE,
        deflate=deflate,
    )
    sock = common.listen(port)
    HTTPServer(application).add_socket(sock)
    await common.forever(sock)


if __name__ == "__main__":
    options = common.parse()
    asyncio.run(start(options.mode, options.port, options.deflate))
