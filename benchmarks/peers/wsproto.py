"""The peer `wsproto`, which does no I/O, on a plain asyncio protocol."""

import asyncio
from collections.abc import Iterable
from typing import Any

from wsproto import ConnectionType, WSConnection
from wsproto.events import (
    AcceptConnection,
    BytesMessage,
    CloseConnection,
    Message,
    Ping,
    Request,
    TextMessage,
)
from wsproto.extensions import PerMessageDeflate

from . import common


class Echo(asyncio.Protocol):
    """Sends each message back, with one write for each read."""

    deflate = False

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        self.ws = WSConnection(ConnectionType.SERVER)
        self.fragments: list[Any] = []

    def data_received(self, data: bytes) -> None:
        self.ws.receive_data(data)
        self.transport.write(b"".join(self.answers()))

    def answers(self) -> Iterable[bytes]:
        """The bytes to write in answer to the received data."""
        for event in self.ws.events():
            match event:
                case TextMessage() | BytesMessage():
                    self.fragments.append(event.data)
                    if event.message_finished:
                        message = event.data[:0].join(self.fragments)
                        self.fragments.clear()
                        yield self.on_message(message)
                case Ping():
                    yield self.ws.send(event.response())
                case Request():
                    yield self.ws.send(self.accept())
                case CloseConnection():
                    yield self.ws.send(event.response())
                    self.close()

    def accept(self) -> Any:
        """The answer to the request."""
        return AcceptConnection(extensions=[PerMessageDeflate()] if self.deflate else [])

    def close(self) -> None:
        """End the connection after the answer to the peer's close has been written."""
        asyncio.get_running_loop().call_soon(self.transport.close)

    def on_message(self, message: str | bytes) -> bytes:
        """Handle a whole message."""
        answer: bytes = self.ws.send(Message(data=message))
        return answer


class Fanout(Echo):
    """Sends each message to everybody."""

    members: set[Any] = set()  # noqa: RUF012 - of all of them

    def accept(self) -> Any:
        self.members.add(self)
        return super().accept()

    def close(self) -> None:
        self.members.discard(self)
        super().close()

    def connection_lost(self, error: Exception | None) -> None:
        self.members.discard(self)

    def on_message(self, message: str | bytes) -> bytes:
        for member in self.members:
            member.transport.write(member.ws.send(Message(data=message)))
        return b""


async def start(mode: str, port: int, deflate: bool) -> None:
    """Serve."""
    Echo.deflate = deflate
    sock = common.listen(port)
    protocol = {"echo": Echo, "fanout": Fanout}[mode]
    server = await asyncio.get_running_loop().create_server(protocol, sock=sock)
    async with server:
        await common.forever(sock)


if __name__ == "__main__":
    options = common.parse(loop=("asyncio", "uvloop"))
    common.run(start(options.mode, options.port, options.deflate), options.loop)
