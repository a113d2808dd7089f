"""The peer `picows`. It hands over frames in place; whole ones are sent on without a copy.

picows leaves the UTF-8 check to the application, and nothing here checks.
"""

from typing import Any

from picows import WSListener, WSMsgType, ws_create_server

from . import common

DATA = (WSMsgType.TEXT, WSMsgType.BINARY)


class Echo(WSListener):  # type: ignore[misc]
    """Sends each message back."""

    def on_ws_connected(self, transport: Any) -> None:
        self.kind = WSMsgType.TEXT
        self.fragments = bytearray()

    def on_ws_frame(self, transport: Any, frame: Any) -> None:
        kind = frame.msg_type
        if frame.fin and kind in DATA:
            self.on_message(transport, kind, frame.get_payload_as_memoryview())
        elif kind in DATA or kind == WSMsgType.CONTINUATION:
            self.on_fragment(transport, frame)
        elif kind == WSMsgType.CLOSE:
            transport.send_close(frame.get_close_code(), frame.get_close_message())
            transport.disconnect()

    def on_fragment(self, transport: Any, frame: Any) -> None:
        """Join the frames of a message."""
        if frame.msg_type != WSMsgType.CONTINUATION:
            self.kind = frame.msg_type
        self.fragments += frame.get_payload_as_memoryview()
        if frame.fin:
            message, self.fragments = self.fragments, bytearray()
            self.on_message(transport, self.kind, message)

    def on_message(self, transport: Any, kind: Any, message: memoryview | bytearray) -> None:
        """Handle a whole message."""
        transport.send(kind, message)


class Fanout(Echo):
    """Sends each message to everybody."""

    members: set[Any] = set()  # noqa: RUF012 - of all of them

    def on_ws_connected(self, transport: Any) -> None:
        super().on_ws_connected(transport)
        self.members.add(transport)

    def on_ws_disconnected(self, transport: Any) -> None:
        self.members.discard(transport)

    def on_message(self, transport: Any, kind: Any, message: memoryview | bytearray) -> None:
        for member in list(self.members):
            member.send(kind, message)


async def start(mode: str, port: int, tls: str | None) -> None:
    """Serve."""
    sock = common.listen(port)
    listener = {"echo": Echo, "fanout": Fanout}[mode]
    server = await ws_create_server(
        lambda request: listener(),
        sock=sock,
        ssl=common.context(tls),
        max_frame_size=common.MAX_MESSAGE,
    )
    async with server:
        await common.forever(sock)


if __name__ == "__main__":
    options = common.parse(loop=("asyncio", "uvloop"))
    if options.deflate:
        raise SystemExit("listeners of picows have no permessage-deflate")
    common.run(start(options.mode, options.port, options.tls), options.loop)
