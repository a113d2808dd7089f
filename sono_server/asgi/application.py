"""Sono inside an ASGI application: made by `Sono.asgi`, under uvicorn, hypercorn or granian.

The ASGI server accepts connections, frames messages and pings. The same session as on Sono's own
servers decides everything else (`sono_core.websocket.asgi` says what ASGI's events mean).
"""

import asyncio
import contextlib
import ssl
from collections.abc import Awaitable, Callable
from dataclasses import replace
from functools import partial
from typing import cast

import msgspec

from sono_core import CloseCode, Headers, Reject, Session, State
from sono_core.lifecycle import ends
from sono_core.tls import TLSInfo
from sono_core.websocket import ASGIConnection, ASGIEvent, Scope, encoded_fields, request_of
from sono_server.aio import EmbeddedServer, TaskTransport
from sono_server.serving import (
    JAVASCRIPT,
    READABLE,
    HTTPRequest,
    Options,
    browser_client,
    logger,
    static_answer,
)

Receive = Callable[[], Awaitable[ASGIEvent]]
Send = Callable[[ASGIEvent], Awaitable[None]]

_NEVER = 1e9  # seconds: pings are the ASGI server's
_TURN = 256  # events taken in a row if the server's `receive` never waits,
_LITTLE = 16  # and if the time of the turn is over
_VERSIONS = {0x0301: "TLSv1", 0x0302: "TLSv1.1", 0x0303: "TLSv1.2", 0x0304: "TLSv1.3"}
_PARTING = 1.0  # seconds that a server has to say why sending failed


class ASGIApplication:
    """An application of ASGI 3.

    It is not a function, because Starlette's routes would call that differently.

    Args:
        answer: answers each request that may become a WebSocket.
        options: of these `limits`, `timeouts` and `origins` count.
    """

    def __init__(self, answer: Callable[[HTTPRequest], object], options: Options) -> None:
        self._answer = answer
        timeouts = msgspec.structs.replace(options.timeouts, ping_interval=_NEVER)
        self._options = replace(options, timeouts=timeouts)
        self._server: EmbeddedServer | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one scope: a connection, a request or the application's lifespan."""
        if scope["type"] == "websocket":
            await self._serve(scope, receive, send)
        elif scope["type"] == "http":
            await _respond(scope, send)
        elif scope["type"] == "lifespan":
            await self._live(receive, send)
        else:
            raise ValueError(f"no ASGI scope of type {scope['type']!r} is served")

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        server = self._server
        if server is None or not server.runs_here():
            server = self._server = EmbeddedServer(self._answer, self._options)
        options = self._options
        connection = ASGIConnection(
            scope,
            limits=options.limits,
            origins=options.origins,
            hosts=server.hosts_at(scope.get("server")),
        )
        transport = _ASGITransport(server, connection, send)
        client = scope.get("client")
        address = tuple(client) if client else ""  # as of a Unix socket
        server.admit(transport, address, server.time(), connection, partial(_tls_of, scope))
        await transport.run(receive, options.timeouts.close)

    async def _live(self, receive: Receive, send: Send) -> None:
        """Answer the lifespan events of a server whose whole application this is."""
        kind = ""
        while kind != "lifespan.shutdown":
            kind = (await receive())["type"]
            if kind == "lifespan.shutdown" and self._server is not None:
                await self._server.finish()
            await send({"type": f"{kind}.complete"})


def _tls_of(scope: Scope) -> TLSInfo | None:
    """What the ASGI server tells of TLS: the ASGI specification's TLS extension 0.2."""
    told = (scope.get("extensions") or {}).get("tls")
    if not told:
        return None
    chain, suite = told.get("client_cert_chain"), told.get("cipher_suite")
    certificate = ssl.PEM_cert_to_DER_cert(next(iter(chain))) if chain else None
    cipher = None if suite is None else f"0x{suite:04X}"
    return TLSInfo(_VERSIONS.get(told.get("tls_version")), cipher, certificate=certificate)


async def _respond(scope: Scope, send: Send) -> None:
    """Answer a request that is no upgrade: with the browser client, or that one is wanted."""
    request = request_of(scope)
    if request.path.endswith("/sono.js"):
        response = static_answer(request.method, request.headers, browser_client(), JAVASCRIPT)
    elif request.method == "OPTIONS":
        response = Reject(204, Headers(READABLE))
    elif request.http_version.startswith("1"):
        response = Reject(426, Headers({"upgrade": "websocket"}), b"an upgrade is required\n")
    else:  # where nothing can be upgraded
        response = Reject(400, body=b"a WebSocket is wanted\n")
    fields = list(response.headers.fields())
    if response.status not in (204, 304):
        fields.append(("content-length", str(len(response.body))))
    start = {"status": response.status, "headers": encoded_fields(fields)}
    await send({"type": "http.response.start", **start})
    body = b"" if request.method == "HEAD" else response.body
    await send({"type": "http.response.body", "body": body})


class _ASGITransport(TaskTransport):
    """The transport of one session on ASGI's `receive` and `send`."""

    def __init__(self, server: EmbeddedServer, connection: ASGIConnection, send: Send) -> None:
        super().__init__(server)
        self._connection = connection
        self._send = send
        self._reading: asyncio.Task[None] | None = None
        self._writing: asyncio.Task[None] | None = None
        self.start(fast=False)

    async def run(self, receive: Receive, patience: float) -> None:
        """Move events until the end of the connection. Cancelled, it is cut off.

        Args:
            patience: seconds that the server has to take a Close after a peer was given up.
        """
        self._reading = asyncio.create_task(self._read(receive))
        try:
            await self._gone.wait()
            if self._connection.state is State.OPEN:  # the peer was given up
                await self._dismiss(patience)
        finally:
            if not self.layer.over:
                self.layer.lost()
            await _end(self._reading)
            await _end(self._writing)

    async def _dismiss(self, patience: float) -> None:
        await _end(self._reading)
        await _end(self._writing)
        code = cast(Session, self.layer).verdict.code  # as `on_close` got it
        if code == CloseCode.ABNORMAL_CLOSURE:  # which is never sent
            code = ends.TOO_SLOW.code
        close = {"type": "websocket.close", "code": int(code)}
        with contextlib.suppress(Exception):  # the server's way to say that it cannot
            await asyncio.wait_for(self._send(close), patience)

    # -- in ---------------------------------------------------------------------------------------

    async def _read(self, receive: Receive) -> None:
        connected, taken = True, 0
        context = self._server.context
        try:
            while connected and not self.layer.over:
                await self._readable.wait()
                taken += 1
                if taken % (_LITTLE if context.spent else _TURN) == 0:
                    await asyncio.sleep(0)
                event = await receive()
                connected = event["type"] != "websocket.disconnect"
                self._connection.take_event(event)
                now = self.time()
                context.read_at(now)
                if connected:
                    self.resume(now)
                else:
                    self.receive(b"", now)
        except Exception:
            logger.debug("the ASGI server failed to receive", exc_info=True)
            self.layer.lost()

    # -- out --------------------------------------------------------------------------------------

    def _write_some(self) -> int:
        if self._writing is None:
            # not by create_task: a task that begins at once may have ended before it is kept here
            self._writing = asyncio.Task(self._write_all(), loop=self._server.loop)
        return 0

    async def _write_all(self) -> None:
        outbox = self._connection.outbox
        try:
            while outbox.size:
                event, size = outbox.first()
                if event["type"] == "websocket.close":
                    await _end(self._reading)  # granian closes nothing while it is to receive
                await self._send(event)
                if outbox.size:  # else the connection ended meanwhile
                    self.layer.written(size, self.time())
        except Exception:
            logger.debug("the ASGI server failed to send", exc_info=True)
            # The server says why through `receive`. `_writing` stays set, so nothing is written.
            self._server.loop.call_later(_PARTING, self._lose)
            return
        self._writing = None
        if self._connection.state in (State.CLOSING, State.CLOSED):
            # The rest is the server's job, and not every server says when it is done.
            self._connection.take_event({"type": "websocket.disconnect"})
            self.receive(b"", self.time())
        elif not self.layer.over:
            self.flush(self.time())

    def _lose(self) -> None:
        if not self.layer.over:
            self.layer.lost()

    def _end_stream(self) -> None:
        """Nothing to do: the last event ends the stream."""


async def _end(task: "asyncio.Task[None] | None") -> None:
    """Cancel a task and wait until it is done."""
    if task and not task.done():
        task.cancel()
        await asyncio.wait((task,))
