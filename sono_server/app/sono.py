"""`Sono`: channels, clients and events for applications, over any server's WebSockets.

This is the interface for applications, and admission; `dispatch` handles connected clients.
"""

import socket
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import TypeVar

from sono_core import Limits
from sono_core.arguments import Unpack, is_coroutine_function, require_callable
from sono_core.limits import DEFAULT_LIMITS
from sono_core.messaging import Dialect, Hub, RateLimiter, check_event
from sono_core.messaging.classic import CLASSIC
from sono_server.aio import EmbeddedServer, StreamReader, StreamWriter, serve_async, serve_stream
from sono_server.asgi import ASGIApplication
from sono_server.selector import serve
from sono_server.serving import (
    HEALTHY,
    JAVASCRIPT,
    ASGIOptions,
    HTTPRequest,
    Options,
    Refused,
    ServeOptions,
    awaited,
    browser_client,
    logger,
)

from . import trampoline
from .clients import Channel, Client
from .dispatch import Dispatcher
from .trampoline import Steps

Function = TypeVar("Function", bound=Callable[..., object])

DIALECTS: dict[str | None, Dialect] = {None: CLASSIC}
"""Which dialect a subprotocol stands for, those that the server prefers first.

None stands for no subprotocol: the client has offered none, or none of these.
"""


class Sono:
    """A real-time messaging server: clients in channels that send each other events.

    Args:
        home: the channel that new clients enter.
        open_channels: whether clients may create channels by moving there.
        limits: of packets and channels, and of connections too in `run` and `run_async`.

    Raises:
        ValueError: `home` is not a channel name.
    """

    def __init__(
        self, *, home: str = "Home", open_channels: bool = False, limits: Limits = DEFAULT_LIMITS
    ) -> None:
        self._limits = limits
        hub = Hub(home, open_channels=open_channels, limits=limits)
        self._dispatcher = dispatcher = Dispatcher(hub, limits, DIALECTS.values())
        self._functions: list[Callable[..., object]] = []  # all of them
        self._authenticate: Callable[[HTTPRequest], object] | None = None
        self._streams: EmbeddedServer | None = None  # runs connections that asyncio accepted
        described: tuple[trampoline.Describe, ...] = (
            dispatcher.receive,
            dispatcher.leave,
            dispatcher.greet,
        )
        self._ways = (
            tuple(map(trampoline.called, described)),
            tuple(map(trampoline.awaited, described)),
        )
        self._ask = (trampoline.called(self._let_in), trampoline.awaited(self._let_in))

    # -- for applications: clients, channels -----------------------------------------------------

    @property
    def clients(self) -> Mapping[str, Client]:
        """All clients by their ids; a live view, to be copied in other threads."""
        return MappingProxyType(self._dispatcher.clients)

    @property
    def channels(self) -> dict[str, Channel]:
        """All channels by their names."""
        return {name: self._channel(name) for name in list(self._dispatcher.hub.channels)}

    def channel(self, name: str) -> Channel:
        """The channel of that name, which is created if need be and stays. From any thread.

        Raises:
            ValueError: it is not a channel name, or there are too many channels. In other threads
                than the server's only the name is checked at once.
        """
        loop, hub = self._dispatcher.loop, self._dispatcher.hub
        if loop is None or loop.in_loop():
            hub.create(name)
        else:
            hub.check(name)
            if not loop.call_soon(hub.create, name):
                hub.create(name)  # the loop has ended, so no other thread uses the hub
        return self._channel(name)

    def _channel(self, name: str) -> Channel:
        return Channel(name, self._dispatcher)

    # -- for applications: events and hooks ------------------------------------------------------

    def on(self, event: str) -> Callable[[Function], Function]:
        """Decorator: call the function as `f(client, message)` before such a packet is routed.

        If it returns False, the packet goes no further. Several functions are called in order. On
        asyncio they may be coroutine functions; the client's next packet waits until they are done.

        Raises:
            ValueError: the event's name is reserved or illegal.
            TypeError: it cannot be called; or it is a coroutine function, and clients of a server
                that calls plain ones are connected.
        """
        check_event(event, self._limits)

        def register(function: Function) -> Function:
            self._register(function)
            self._dispatcher.handlers.setdefault(event, []).append(function)
            return function

        return register

    def authenticate(self, function: Function) -> Function:
        """Decorator: call the function as `f(request)` before the 101, to say who sent the request.

        It may look at `request.headers`, `cookies`, `query` and `client`, and returns the client's
        `identity`. If it returns None or False, the request is refused with 403; it may raise
        `Refused` for another status. Requests that cannot be accepted anyway, for example from
        foreign pages, are refused without calling it. On asyncio it may be a coroutine function,
        which has the time of the handshake; until it returns, Sono reads nothing of the client.

        Raises:
            ValueError: there is one already.
            TypeError: it cannot be called.
        """
        require_callable("function", function)
        if self._authenticate:
            raise ValueError("authenticate was called before")
        self._authenticate = function
        return function

    def on_connect(self, function: Function) -> Function:
        """Decorator: call the function as `f(client)` when a client is in the home channel."""
        self._register(function)
        self._dispatcher.on_connect.append(function)
        return function

    def on_disconnect(self, function: Function) -> Function:
        """Decorator: call the function as `f(client, close)` when a client has left."""
        self._register(function)
        self._dispatcher.on_disconnect.append(function)
        return function

    def _register(self, function: Callable[..., object]) -> None:
        """Register a function of the application."""
        require_callable("function", function)
        if self._dispatcher.loop:
            awaited(self._dispatcher.loop, function)
        self._functions.append(function)

    # -- for applications: send, admit, serve-----------------------------------------------------

    def emit(self, message: object, event: str = "message") -> None:
        """Send an event to every client, in every channel. May be called from any thread.

        Raises:
            TypeError, LocalProtocolError: `message` cannot be written as JSON.
            ValueError: the event's name is reserved or illegal.
        """
        self._dispatcher.emit(None, event, message)

    def connect(
        self, request: HTTPRequest, callback: Callable[..., object] | None = None
    ) -> Client | None:
        """Make the sender of a request a client, in the home channel.

        Args:
            callback: called with the client, or without argument if it takes none, once the
                client is in the home channel. If it raises, the connection is closed with 1011.
                On asyncio it may be a coroutine function, like those of `on_connect`; the client's
                packets wait until they are done.

        Returns:
            None if the request was refused, the peer is gone, or a coroutine function has still
            to say who it is.

        Raises:
            RuntimeError: another server, which still runs, has this Sono's clients.
            TypeError: the callback, or a function that was registered, is a coroutine function,
                and this server calls plain ones.
        """
        if self._authenticate is None:
            return self._admit(request, None, callback)
        ask, ask_later = self._ask
        if not request.verify():
            return None
        if awaited(request.loop, self._authenticate):
            assert request.loop.create_task  # else it would have raised
            request.loop.create_task(ask_later(request, callback), brief=True)
            return None
        client: Client | None = ask(request, callback)
        return client

    def _let_in(self, request: HTTPRequest, callback: Callable[..., object] | None) -> Steps:
        assert self._authenticate
        try:
            try:
                identity = yield self._authenticate(request)
            except Refused as refused:
                request.respond(refused.status, refused.body, refused.headers)
                return None
        except Exception:  # also if Refused holds an illegal header
            logger.exception("authenticate failed; its request is refused")
            request.respond(500, "internal error\n")
            return None
        if identity is not None and identity is not False:
            return self._admit(request, identity, callback)
        request.respond(403, "not allowed\n")
        return None

    def _admit(
        self, request: HTTPRequest, identity: object, callback: Callable[..., object] | None
    ) -> Client | None:
        dispatcher, loop = self._dispatcher, request.loop
        running = dispatcher.loop
        if running and not (running.ended or running.in_loop()):
            request.respond(500, "internal error\n")
            raise RuntimeError("a Sono belongs to one running server")
        receive, leave, greet = self._ways[awaited(loop, callback, *self._functions)]
        offered = [name for name in DIALECTS if name is not None]
        socket = request.accept(receive, leave, offered)
        if not socket.open:
            return None
        dispatcher.loop = loop
        dialect, rate_limiter = DIALECTS[socket.subprotocol], RateLimiter(self._limits, loop.time())
        client = Client(socket, dispatcher, dialect, identity, rate_limiter)
        socket.data = client
        dispatcher.add(client)
        socket.call(greet, callback)
        return client

    def serve_client(self, request: HTTPRequest) -> bool:
        """Answer a request with the browser client, `sono.js`."""
        return request.respond(200, browser_client(), JAVASCRIPT)

    def run(
        self,
        host: str | None = None,
        port: int = 8080,
        path: str = "/ws",
        *,
        sock: socket.socket | None = None,
        unix: str | None = None,
        **options: Unpack[ServeOptions],
    ) -> None:
        """Serve clients at `path`, until stopped.

        Beside them the browser client at /sono.js, and 200 at /healthz while this server runs.

        Args:
            host, port, sock, unix, options: as for `serve`; `limits` are by default those of this
                `Sono`.

        Raises:
            OSError: the address cannot be listened on.
            TypeError: a coroutine function was registered; see `run_async`.
        """
        options.setdefault("limits", self._limits)
        with serve(host, port, sock=sock, unix=unix, **options) as server:
            awaited(server, self._authenticate, *self._functions)
            for request in server:
                self._answer(request, path)

    async def run_async(
        self,
        host: str | None = None,
        port: int = 8080,
        path: str = "/ws",
        *,
        sock: socket.socket | None = None,
        unix: str | None = None,
        **options: Unpack[ServeOptions],
    ) -> None:
        """The same in a running event loop of asyncio or uvloop, until stopped or cancelled.

        Args:
            host, port, path, sock, unix, options: as for `run`.

        Raises:
            OSError: the address cannot be listened on.
        """
        options.setdefault("limits", self._limits)
        async with serve_async(host, port, sock=sock, unix=unix, **options) as server:
            async for request in server:
                self._answer(request, path)

    async def handle_stream(self, reader: StreamReader, writer: StreamWriter) -> None:
        """Serve one connection that asyncio accepted: `asyncio.start_server(sono.handle_stream)`.

        Clients connect at /ws. `serve_async` is quicker, and ends by itself; here, close the
        clients first: from Python 3.12 on asyncio's `Server.wait_closed` waits for connections,
        and so do its `serve_forever` and `async with` at their end.
        """
        if self._streams is None or not self._streams.runs_here():
            self._streams = EmbeddedServer(self._answer, Options(limits=self._limits))
        await serve_stream(self._streams, reader, writer)

    def asgi(
        self, callback: Callable[..., object] | None = None, **options: Unpack[ASGIOptions]
    ) -> ASGIApplication:
        """An ASGI application that serves clients: `WebSocketRoute("/ws", sono.asgi())`.

        To a plain HTTP request for a `sono.js` it answers with the browser client.

        Args:
            callback: as for `connect`.
            options: `limits`, `timeouts`, `origins` and `max_connections`, as for `serve`.

        Raises:
            TypeError: an option is not among these.
        """
        if unknown := [name for name in options if name not in ASGIOptions.__optional_keys__]:
            raise TypeError(f"{unknown[0]} is the ASGI server's business")
        options.setdefault("limits", self._limits)
        chosen = Options(**options)
        return ASGIApplication(lambda request: self.connect(request, callback), chosen)

    def _is_asynchronous(self) -> bool:
        """Whether a coroutine function was registered: only a server on asyncio will do."""
        functions = [self._authenticate, *self._functions]
        return any(is_coroutine_function(function) for function in functions if function)

    def _answer(self, request: HTTPRequest, path: str = "/ws") -> None:
        if request.path == path:
            self.connect(request)
        elif request.path == "/sono.js":
            self.serve_client(request)
        elif request.path == "/healthz":
            request.respond(*HEALTHY)
        else:
            request.respond(404, "not found\n")
