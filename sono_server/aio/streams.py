"""Connections that `asyncio.start_server` accepted, as a reader and a writer."""

import asyncio
import contextlib
from collections.abc import Callable
from functools import partial

from sono_core.tls import tls_info
from sono_io import RECEIVE_SIZE, SessionProtocol
from sono_server.serving import HTTPRequest, Options, TLSSource

from .base import EmbeddedServer, TaskTransport

StreamReader = asyncio.StreamReader
StreamWriter = asyncio.StreamWriter


class StreamServer:
    """Serves connections that asyncio accepted: `asyncio.start_server` calls it with each.

    Args:
        answer: called with each request as soon as it has come.
        options: how to serve; see `serve`.
    """

    def __init__(self, answer: Callable[[HTTPRequest], object], options: Options) -> None:
        self._answer = answer
        self._options = options
        self._server: EmbeddedServer | None = None

    async def __call__(self, reader: StreamReader, writer: StreamWriter) -> None:
        """Serve a connection until its end. Cancelled, it is cut off."""
        server = self._server
        try:
            if server is None or not server.runs_here():
                server = self._server = EmbeddedServer(self._answer, self._options, watched=True)
            await _serve(server, reader, writer)
        finally:
            writer.close()


async def _serve(server: EmbeddedServer, reader: StreamReader, writer: StreamWriter) -> None:
    transport = _StreamTransport(server, writer)
    peer, local, ssl_object = map(writer.get_extra_info, ("peername", "sockname", "ssl_object"))
    tls: TLSSource | None = partial(tls_info, ssl_object) if ssl_object else None
    now = server.time()
    try:
        server.admit(transport, peer, now, tls=tls, local=local)
        transport.flush(now)  # schedules the deadline of a peer that says nothing
        await transport.read_all(reader)
    finally:
        if not transport.layer.over:
            transport.layer.lost()


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
            now = self.time()
            self._server.context.read_at(now)
            self.receive(data, now)
            if not data:
                self._server.peer_ended(self)
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
