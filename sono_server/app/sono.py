"""`Sono`: channels, clients and events for applications, over any server's WebSockets.

This is the interface for applications, and admission; `dispatch` handles connected clients.
"""

import socket
from collections.abc import Callable, Mapping
from functools import partial
from types import MappingProxyType
from typing import Any

from sono_core import Limits, Timeouts
from sono_core.arguments import Unpack, is_coroutine_function, require_type
from sono_core.limits import DEFAULT_LIMITS, DEFAULT_TIMEOUTS
from sono_core.messaging import Dialect, Hub, RateLimiter
from sono_core.messaging.classic import CLASSIC
from sono_core.messaging.lossless import Histories, History
from sono_core.messaging.v2 import LOSSLESS
from sono_server.aio import StreamReader, StreamServer, StreamWriter, serve_async
from sono_server.asgi import ASGIApplication
from sono_server.backplane import opened
from sono_server.selector import serve
from sono_server.serving import (
    HEALTHY,
    JAVASCRIPT,
    NOT_READY,
    READABLE,
    ASGIOptions,
    HTTPRequest,
    Loop,
    Options,
    Refused,
    ServeOptions,
    StreamOptions,
    WebSocket,
    awaited,
    browser_client,
    logger,
    static_answer,
    wall_clock,
)

from . import trampoline
from .clients import Channel, Client, RemoteClient, Ways
from .dispatch import Dispatcher
from .handlers import Handlers
from .identities import ANYBODY, Known, known
from .lines import Line, Turns
from .receipts import Promise
from .trampoline import Pauses, Steps

DIALECTS: dict[str | None, Dialect] = {None: CLASSIC}
"""Which dialect a subprotocol stands for, those that the server prefers first.

None stands for no subprotocol: the client has offered none, or none of these.
"""


class Sono(Handlers):
    """A real-time messaging server: clients in channels that send each other events.

    Args:
        home: the channel that new clients enter.
        open_channels: whether clients may create channels by moving there.
        limits: of packets, channels and sessions, and of connections too in `run` and `run_async`.
        timeouts: of sessions, from `hello` on, and likewise of connections.
        history: what is kept of channels whose names match a pattern, for clients of `sono.v2` that
            come back: `{"room:*": History(count=200)}`.
        backplane: what several processes share, such as `redis://localhost`: those that share it
            serve as one. None: what the environment variable SONO_BACKPLANE says, or `memory`,
            which is this process alone. docs/scaling.md.

    Raises:
        ImportError: the backplane needs packages that are not installed.
        TypeError: `history` has something else than patterns and histories.
        ValueError: `home` is not a channel name, or `backplane` no URL of a backplane.
    """

    def __init__(
        self,
        *,
        home: str = "Home",
        open_channels: bool = False,
        limits: Limits = DEFAULT_LIMITS,
        timeouts: Timeouts = DEFAULT_TIMEOUTS,
        history: Mapping[str, History] = MappingProxyType({}),
        backplane: str | None = None,
    ) -> None:
        hub = Hub(home, open_channels=open_channels, limits=limits)
        histories = Histories(history)

        def call_soon(function: Callable[[], object]) -> bool:
            return dispatcher.soon(function)

        shared = opened(backplane, call_soon)
        dispatcher = Dispatcher(hub, limits, timeouts, DIALECTS.values(), histories, shared)
        super().__init__(dispatcher, limits)
        self._timeouts = timeouts
        dispatcher.identify = self._identify
        self._streams = self.stream_handler()
        alone = _pauses_alone(dispatcher)
        self._looked_at: object = None  # functions, and whether one has to be awaited
        self._is_awaited = False
        self._runs = _runs_of_turns(dispatcher, alone)
        pauses = _pauses_of_sockets(dispatcher)
        described: tuple[trampoline.Describe, ...] = (
            dispatcher.receive,
            dispatcher.leave,
            dispatcher.greet,
            dispatcher.depart,
            dispatcher.review,
        )
        self._ways = (
            Ways(*(trampoline.called(steps, pauses) for steps in described)),
            Ways(*map(trampoline.awaited, described)),
        )
        self._ask = (trampoline.called(self._let_in, alone), trampoline.awaited(self._let_in))

    # -- for applications: clients, channels -----------------------------------------------------

    @property
    def clients(self) -> Mapping[str, Client]:
        """All clients by their ids; a live view, to be copied in other threads."""
        return MappingProxyType(self._dispatcher.clients)

    def client(self, id: str) -> RemoteClient:
        """The client of that id, in whichever process it is that shares the backplane.

        Raises:
            TypeError: the id is not a str.
        """
        require_type("id", id, str)
        return RemoteClient(id, self._dispatcher)

    @property
    def channels(self) -> dict[str, Channel]:
        """All channels by their names."""
        return {name: self._channel(name) for name in list(self._dispatcher.hub.channels)}

    def channel(self, name: str, *, listed: bool = True) -> Channel:
        """The channel of that name, which is created if need be and stays. From any thread.

        Args:
            listed: False keeps its name out of what clients that ask for `channels` are told, from
                now on. Who knows the name may still enter; see `on_join`.

        Raises:
            TypeError: the name is not a str.
            ValueError: it is not a channel name, or there are too many channels. In other threads
                than the server's only the name is checked at once.
        """
        loop, hub = self._dispatcher.loop, self._dispatcher.hub
        create = partial(hub.create, name, listed=listed)
        if loop is None or loop.in_loop():
            self._dispatcher.soon(create)
        else:
            hub.check(name)
            if not loop.call_soon(create):
                create()  # the loop has ended, so no other thread uses the hub
        return self._channel(name)

    def _channel(self, name: str) -> Channel:
        return Channel(name, self._dispatcher)

    # -- for applications: send, admit, serve ----------------------------------------------------

    def emit(self, message: object, event: str = "message") -> None:
        """Send an event to every client, in every channel. May be called from any thread.

        Raises:
            TypeError, LocalProtocolError: `message` cannot be written as JSON.
            ValueError: the event's name is reserved or illegal.
        """
        self._dispatcher.emit(None, event, message)

    def disconnect(self, *, identity: object, code: int = 4013, reason: str = "") -> int:
        """End the sessions and connections of all clients of an identity, in all processes that
        share the backplane. From any thread.

        `sono.v2` clients stay away after 4013. Those that are just being let in under that identity
        are closed too; what `authenticate` says from now on is yours.

        Args:
            identity: compared with `Client.identity`; when it ends makes no difference.
            code: of the Close; the sessions are over whatever it is.
            reason: at most 123 bytes.

        Returns:
            How many clients of this process that were.

        Raises:
            ValueError: `identity` is None, as it is of all clients if nobody says who they are.
            TypeError, LocalProtocolError: the code may not be sent, or the reason is not a str; or
                the identity cannot be written, and there are other processes to be told of it.
        """
        if identity is None:
            raise ValueError("identity must not be None")
        return self._dispatcher.disconnect(identity, code, reason)

    def erase(self, identity: object) -> Promise[int]:
        """Let go all that clients of an identity have said, in the histories of all channels and of
        clients, for good; `sono.v2` clients that come back are told that something is missing. From
        any thread. `disconnect` the identity first, if nothing more shall come. What this cannot
        reach: docs/security.md.

        Args:
            identity: as for `disconnect`.

        Returns:
            What becomes the number of entries that are gone. It fails with `BackplaneError` if they
            may not be all: then try again.

        Raises:
            ValueError: `identity` is None.
            TypeError: the identity cannot be written, so that nothing is kept under its name.
        """
        if identity is None:
            raise ValueError("identity must not be None")
        return self._dispatcher.erase(identity)

    @property
    def ready(self) -> bool:
        """Whether the backplane answers, and what it is told comes back, so that what is said here
        can reach everybody. `/readyz` says it to load balancers. One whose memory is full is
        ready, and refuses each publication by itself."""
        return self._dispatcher.lossless.ready

    @property
    def withheld(self) -> int:
        """Events that clients of the classic dialect did not get because they hold binary data,
        counted once for each client."""
        return self._dispatcher.withheld

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
        if any(name in LOSSLESS for name in request.subprotocols):
            self._open(request, callback)
            return None
        if self._authenticate is None:
            return self._admit(request, ANYBODY, callback)
        ask, ask_later = self._ask
        if not request.verify():
            return None
        if awaited(request.loop, self._authenticate):
            assert request.loop.create_task  # else it would have raised
            request.loop.create_task(ask_later(request, callback), request)
            return None
        client: Client | None = ask(request, callback)
        return client

    def _let_in(self, request: HTTPRequest, callback: Callable[..., object] | None) -> Steps:
        assert self._authenticate
        try:
            try:
                found = known((yield self._authenticate(request)), wall_clock())
            except Refused as refused:
                request.respond(refused.status, refused.body, refused.headers)
                return None
        except Exception:  # also if Refused holds an illegal header
            logger.exception("authenticate failed; its request is refused")
            request.respond(500, "internal error\n")
            return None
        if found is not None:
            return self._admit(request, found, callback)
        request.respond(403, "not allowed\n")
        return None

    def _open(self, request: HTTPRequest, callback: Callable[..., object] | None) -> None:
        """Open a connection of `sono.v2`; its client says who it is with its first packet."""
        loop = self._require_loop(request)
        known = callback, self._authenticate, len(self._functions), loop.create_task is None
        if self._looked_at != known:  # it takes a while, and is most often the same
            functions = callback, self._authenticate, *self._functions
            self._is_awaited, self._looked_at = awaited(loop, *functions), known
        lossless = self._dispatcher.lossless
        agreed = next(name for name in LOSSLESS if name in request.subprotocols)
        limiter = RateLimiter(self._limits, loop.time())
        line = Line(request, LOSSLESS[agreed], limiter, self._runs[self._is_awaited], callback)
        socket = request.accept(lossless.receive, lossless.closed, agreed)
        if socket.open:
            self._dispatcher.serve_on(loop)
            line.socket, socket.data = socket, line
            lossless.opened(line, loop)

    def _identify(self, request: HTTPRequest) -> Steps:
        """Who a client of `sono.v2` is; None if it is refused."""
        if self._authenticate is None:
            return ANYBODY
        try:
            return known((yield self._authenticate(request)), wall_clock())
        except Refused:
            return None
        except Exception:
            logger.exception("authenticate failed; its client is refused")
            return None

    def _require_loop(self, request: HTTPRequest) -> Loop:
        running, loop = self._dispatcher.loop, request.loop
        if running and not (running.ended or running.in_loop()):
            request.respond(500, "internal error\n")
            raise RuntimeError("a Sono belongs to one running server")
        return loop

    def _admit(
        self, request: HTTPRequest, found: Known, callback: Callable[..., object] | None
    ) -> Client | None:
        dispatcher, loop = self._dispatcher, self._require_loop(request)
        ways = self._ways[awaited(loop, callback, *self._functions)]
        offered = [name for name in DIALECTS if name is not None]
        socket = request.accept(ways.receive, ways.leave, offered)
        if not socket.open:
            return None
        dispatcher.serve_on(loop)
        dialect, rate_limiter = DIALECTS[socket.subprotocol], RateLimiter(self._limits, loop.time())
        client: Client = Client(socket, dispatcher, dialect, found.identity, rate_limiter)
        client._callback, client._ways = callback, ways
        socket.data = client
        dispatcher.add(client)
        dispatcher.limit(client, found.lasts)
        socket.call(ways.greet, None)
        return client

    def serve_client(self, request: HTTPRequest) -> bool:
        """Answer a request with the browser client, `sono.js`; with 304 if the browser has it."""
        answer = static_answer(request.method, request.headers, browser_client(), JAVASCRIPT)
        return request.respond(answer.status, answer.body, answer.headers)

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

        Beside them the browser client at /sono.js, 200 at /healthz while this server runs, and 200
        or 503 at /readyz: see `ready`.

        Args:
            host, port, sock, unix, options: as for `serve`; `limits` and `timeouts` are by default
                those of this `Sono`.

        Raises:
            OSError: the address cannot be listened on.
            TypeError: a coroutine function was registered; see `run_async`.
        """
        options.setdefault("limits", self._limits)
        options.setdefault("timeouts", self._timeouts)
        with serve(host, port, sock=sock, unix=unix, **options) as server:
            awaited(server, self._authenticate, *self._functions)
            self._begin(server)
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
        options.setdefault("timeouts", self._timeouts)
        async with serve_async(host, port, sock=sock, unix=unix, **options) as server:
            self._begin(server)
            async for request in server:
                self._answer(request, path)

    async def handle_stream(self, reader: StreamReader, writer: StreamWriter) -> None:
        """Serve one connection that asyncio accepted: `asyncio.start_server(sono.handle_stream)`.

        Clients connect at /ws. `serve_async` is quicker, and ends by itself; here, close the
        clients first: from Python 3.12 on asyncio's `Server.wait_closed` waits for connections,
        and so do its `serve_forever` and `async with` at their end. `stream_handler` makes one
        with options.
        """
        await self._streams(reader, writer)

    def stream_handler(self, path: str = "/ws", **options: Unpack[StreamOptions]) -> StreamServer:
        """A `handle_stream` with options: `asyncio.start_server(sono.stream_handler(origins=…))`.

        Args:
            path: where clients connect.
            options: as for `serve`, but `ssl`, `drain` and `close_code`; `limits` and `timeouts`
                are by default those of this `Sono`. A connection knows by itself whether it is in
                TLS.

        Raises:
            TypeError, ValueError: an option is wrong, or not among these.
        """
        if unknown := [name for name in options if name not in StreamOptions.__optional_keys__]:
            raise TypeError(f"{unknown[0]} is the business of who accepts connections")
        options.setdefault("limits", self._limits)
        options.setdefault("timeouts", self._timeouts)
        return StreamServer(partial(self._answer, path=path), Options(**options))

    def asgi(
        self, callback: Callable[..., object] | None = None, **options: Unpack[ASGIOptions]
    ) -> ASGIApplication:
        """An ASGI application that serves clients: `WebSocketRoute("/ws", sono.asgi())`.

        To a plain HTTP request for a `sono.js` it answers with the browser client.

        Args:
            callback: as for `connect`.
            options: `limits`, `timeouts`, `origins`, `hosts` and `max_connections`, as for `serve`.

        Raises:
            TypeError: an option is not among these.
        """
        if unknown := [name for name in options if name not in ASGIOptions.__optional_keys__]:
            raise TypeError(f"{unknown[0]} is the ASGI server's business")
        options.setdefault("limits", self._limits)
        options.setdefault("timeouts", self._timeouts)
        chosen = Options(**options)
        return ASGIApplication(lambda request: self.connect(request, callback), chosen)

    def _is_asynchronous(self) -> bool:
        """Whether a coroutine function was registered: only a server on asyncio will do."""
        functions = [self._authenticate, *self._functions]
        return any(is_coroutine_function(function) for function in functions if function)

    def _begin(self, server: Loop) -> None:
        """Connect to the backplane before the first client comes."""
        self._dispatcher.begin(server)

    def _answer(self, request: HTTPRequest, path: str = "/ws") -> None:
        if request.method == "OPTIONS":  # as load balancers ask whether a server is there
            request.respond(204, headers=READABLE)
        elif request.path == path:
            self.connect(request)
        elif request.path == "/sono.js":
            self.serve_client(request)
        elif request.path == "/healthz":
            request.respond(*HEALTHY)
        elif request.path == "/readyz":
            request.respond(*(HEALTHY if self.ready else NOT_READY))
        else:
            request.respond(404, "not found\n")


def _runs_of_turns(
    dispatcher: Dispatcher, pauses: Pauses
) -> tuple[Callable[[Turns], object], Callable[[Turns], object]]:
    """What does the work of a turn: now, or in a task."""
    plain = trampoline.called(dispatcher.lossless.work, pauses)
    awaiting = trampoline.awaited(dispatcher.lossless.work)

    def run(turns: Turns) -> None:
        plain(turns, None)

    def run_in_task(turns: Turns) -> None:
        assert dispatcher.loop
        assert dispatcher.loop.create_task
        task = dispatcher.loop.create_task(awaiting(turns, None))
        turns.task = task if turns.busy else None  # it may have begun, and ended, already

    return run, run_in_task


def _pauses_of_sockets(dispatcher: Dispatcher) -> Pauses:
    """While a function has not decided, nothing more of its client is handled."""

    def failed(socket: WebSocket, error: Exception) -> None:
        session = socket._session
        if session.over:
            session.handler.on_error(error)
        else:
            session.failed(error, socket._loop.time())

    return Pauses(
        dispatcher.soon,
        lambda socket: socket._session.hold(),
        lambda socket: socket._session.release(),
        failed,
    )


def _pauses_alone(dispatcher: Dispatcher) -> Pauses:
    """A client's turns wait by themselves, and so does a request."""

    def failed(subject: object, error: Exception) -> None:
        logger.error("what a function had decided later failed", exc_info=error)

    return Pauses(dispatcher.soon, _nothing, _nothing, failed)


def _nothing(subject: Any) -> None:
    """There is nothing to hold."""
