"""Connections that `asyncio.start_server` accepted, as a reader and a writer."""

import asyncio
import contextlib

from sono_io import RECEIVE_SIZE, SessionProtocol

from .base import EmbeddedServer, TaskTransport

StreamReader = asyncio.StreamReader
StreamWriter = asyncio.StreamWriter


async def serve_stream(server: EmbeddedServer, reader: StreamReader, writer: StreamWriter) -> None:
    """Serve a connection until its end. Cancelled, it is cut off."""
    transport = _StreamTransport(server, writer)
    server.admit(transport, writer.get_extra_info("peername"), server.time())
    try:
        await transport.read_all(reader)
    finally:
        if not transport.layer.over:
            transport.layer.lost()
        writer.close()


class _StreamTransport(TaskTransport, SessionProtocol):
    """The transport of one session on a `StreamWriter`."""

    def __init__(self, server: EmbeddedServer, writer: StreamWriter) -> None:
        super().__init__(server)
        self._writer = writer
        self._draining: asyncio.Task[None] | None = None
        self.start_on(writer.transport, fast=False)

    async def read_all(self, reader: StreamReader) -> None:
        """Read while the session reads, until both sides have ended."""
        while not self.layer.over:
            await self._readable.wait()
            try:
                data = await reader.read(RECEIVE_SIZE)
            except OSError:
                self.layer.lost()
                break
            self.receive(data, self.time())
            if not data:
                break
        await self._gone.wait()

    def _watch(self, reading: bool, blocked: bool) -> None:
        super()._watch(reading, blocked)
        if blocked and not self._draining:
            # not by create_task: a task that begins at once may have ended before it is kept here
            self._draining = asyncio.Task(self._drain(), loop=self._server.loop)

    async def _drain(self) -> None:
        with contextlib.suppress(OSError):  # the reader learns of the loss
            await self._writer.drain()
        self._draining = None
        self.resume_writing()

    def _abandon(self) -> None:
        self._writer.transport.abort()
        if self._draining:
            self._draining.cancel()
        super()._abandon()
