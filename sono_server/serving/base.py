"""The part of a server that is the same on every loop: admission, waiting requests, stopping.

Each server moves bytes and time in its own way; the decisions are here.
"""

import math
import socket
import ssl as tls
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any, Protocol

from sono_core import Connection, Role, SharedDeflaters
from sono_core.lifecycle import Layer, MemoryBudget, Session, Timers, Transport, Turn, ends
from sono_core.websocket import AllowedHosts
from sono_io import RECEIVE_SIZE, TURN_SECONDS, LoopContext, new_context

from .backlogs import Backlogs
from .date import HTTPDate
from .forks import release
from .forwarded import TrustedProxies, is_loopback
from .listeners import default_max_connections
from .log import logger
from .memory import memory_limit
from .options import Options
from .requests import HTTPRequest, RequestHandler, TLSSource
from .watchdog import Watchdog

_MAX_POSTED = 100_000  # calls from other threads that wait for the loop
_SPARE_REQUESTS = 64  # requests of peers that are gone, kept before a search removes them
_GOODBYES = 100  # connections that are closed at once when the server stops,
_GOODBYE_PAUSE = 0.001  # seconds between the others, or less: all fit into half the drain time
_REFUSALS = 32  # connections beyond the maximum that get 503; further ones are dropped


class ServedTransport(Transport, Protocol):
    """A connection of a server."""

    layer: Layer
    scheduled: float

    def pump(self, now: float) -> None:
        """Go on with what was received."""

    def flush(self, now: float) -> None:
        """Write what is waiting, then schedule whatever else this connection needs."""

    def go_away(self, code: int, reason: str, now: float) -> None:
        """End the connection politely."""

    def tick(self, now: float) -> None:
        """Handle the deadlines that are due."""

    def call_failed(self, error: Exception) -> None:
        """See `Driver`."""


class BaseServer:
    """A server without its loop.

    Args:
        listeners: bound, listening and non-blocking; they belong to the server from now on.
        options: how to serve; see `serve`.
        name: the host that was asked for; if it is a name, it is one of the server's own.
    """

    create_task: Callable[..., Any] | None = None
    """See `Loop`."""

    def __init__(
        self, listeners: list[socket.socket], options: Options, name: str | None = None
    ) -> None:
        self.address: Any = listeners[0].getsockname() if listeners else None
        """Where the first socket listens: (host, port) and more for IPv6, a path for Unix."""
        self._at_end: list[Callable[[], object]] = []
        self.memory: MemoryBudget = MemoryBudget(memory_limit(options.limits))
        """What is held for all peers: `held` of `limit` bytes; `evicted` connections."""
        self._listeners = listeners
        self._options = options
        self._goodbye = ends.SERVER_STOPS[options.close_code]  # what peers are told at the end
        self._max_connections = options.max_connections or default_max_connections()
        self._deflaters = SharedDeflaters()
        self.buffer: memoryview = memoryview(bytearray(RECEIVE_SIZE))
        """The buffer that all connections receive into."""
        self.context: LoopContext = new_context(self.buffer, options.limits)
        """Shared by all connections of this server."""
        self._transports: set[ServedTransport] = set()
        self._asking: dict[ServedTransport, Any] = {}  # tasks that find out who is there
        self._lingering: set[ServedTransport] = set()  # those that are gone, and still asked about
        self._requests: deque[HTTPRequest] = deque()
        self.again: Backlogs = Backlogs()
        """Wait to be pumped."""
        self._posted: deque[tuple[Callable[..., object], tuple[object, ...]]] = deque()
        self._timers: Timers[ServedTransport] = Timers()
        self._stop_requests = 0
        self._stopping = False
        self._drain_until = math.inf
        self._leaving: deque[ServedTransport] = deque()  # still to be told that the server stops
        self._goodbye_due = self._goodbye_pause = 0.0
        self._stop_due = math.inf  # when the next step of stopping is due
        self._proxies = TrustedProxies(options.trusted_proxies) if options.trusted_proxies else None
        self._named = None if options.hosts is None else AllowedHosts(options.hosts)
        own = [name] if name and not set(name) & set(":%") else []
        self._on_loopback = AllowedHosts(own, proxied=True)
        self._hosts = self.hosts_at(*(listener.getsockname() for listener in listeners))
        self._date = HTTPDate()
        self._watchdog: Watchdog | None = None
        self._closed = False
        self._thread: int | None = None

    # -- the loop, supplied by subclasses ---------------------------------------------------------

    def _wake(self) -> None:
        """Run a turn of the loop soon. May be called from any thread, or a signal handler."""
        raise NotImplementedError

    def _stop_listening(self) -> None:
        """Accept no more, and close the listeners."""
        raise NotImplementedError

    # -- for applications -------------------------------------------------------------------------

    def stop(self, close_code: int | None = None) -> None:
        """Stop accepting, close every connection with `close_code` and end the iteration.

        Connections that are still open after the drain time are cut off; a second call cuts them
        off at once. May be called from any thread, or a signal handler.

        Args:
            close_code: 1001 or 1012, in place of that in the options.

        Raises:
            ValueError: it is another one; the server runs on.
        """
        if close_code is not None:
            if close_code not in ends.SERVER_STOPS:
                raise ValueError(f"close_code must be 1001 or 1012, not {close_code}")
            self._goodbye = ends.SERVER_STOPS[close_code]
        self._stop_requests += 1
        self._wake()

    time: "staticmethod[[], float]" = staticmethod(time.monotonic)
    """Seconds of the clock that all deadlines are measured with."""

    @property
    def ended(self) -> bool:
        """Whether the loop will never run again."""
        return self._closed

    def in_loop(self) -> bool:
        """Whether the calling thread is the one that runs the loop."""
        return self._thread in (None, threading.get_ident())

    def call_soon(self, function: Callable[..., object], *arguments: object) -> bool:
        """Call a function soon in the loop's thread. May be called from any thread; order is kept.

        Returns:
            False if the loop has ended: the function will not be called.

        Raises:
            BufferError: 100,000 calls wait already.
        """
        if self.ended:
            return False
        if len(self._posted) >= _MAX_POSTED:
            raise BufferError(f"{_MAX_POSTED} calls from other threads are waiting for the server")
        self._posted.append((function, arguments))
        self._wake()
        return True

    def _begin_watch(self) -> None:
        """Start a watchdog for the calling thread."""
        if self._options.watchdog is not None:
            self._watchdog = Watchdog(self, threading.get_ident(), self._options.watchdog)

    def _end_watch(self) -> None:
        watchdog, self._watchdog = self._watchdog, None
        if watchdog:
            watchdog.stop()

    # -- forks ------------------------------------------------------------------------------------

    def descriptors(self) -> list[int]:
        """What a process that is forked while this runs must leave alone."""
        return [listener.fileno() for listener in self._listeners]

    def forked(self) -> None:
        """See `forks`."""
        release(self.descriptors())
        self._closed = True
        self._thread = self.context.thread = 0
        self._watchdog = None  # its thread is the parent's
        self._posted.clear()
        self._requests.clear()

    # -- connections ------------------------------------------------------------------------------

    def hosts_at(self, *addresses: Any) -> AllowedHosts | None:
        """The names that this server has where it listens; None for any."""
        if self._named is None and addresses and all(map(is_loopback, addresses)):
            return self._on_loopback
        return self._named

    def admit(
        self,
        transport: ServedTransport,
        address: Any,
        now: float,
        connection: Connection | None = None,
        tls: TLSSource | None = None,
        local: Any = None,
    ) -> bool:
        """Begin a connection's session; False if there are too many, and it is refused.

        Args:
            connection: one of another kind than this server's own.
            tls: what TLS says of a connection that came out of it already.
            local: the address at which a connection was accepted that others have accepted.
        """
        excess = len(self._transports) + len(self._lingering) - self._max_connections
        welcome = excess < 0 and not self._stop_requests and not self.memory.full
        options = self._options
        proxies = self._proxies if self._proxies and self._proxies.trusts(address) else None
        hosts = self.hosts_at(local) if local else self._hosts
        handler = RequestHandler(self, address, self._queue, proxies, tls)
        session = Session(
            connection or self._connection(proxies, hosts, bool(options.ssl or tls)),
            transport,
            handler,
            now=now,
            limits=options.limits,
            timeouts=options.timeouts,
            turn=self.context,
            memory=self.memory,
        )
        handler.session = session
        transport.layer = _secured(session, options.ssl, self.context) if options.ssl else session
        self._transports.add(transport)
        dropped = excess >= _REFUSALS and not connection  # another server's is not ours to drop
        if dropped or self._closed:  # closed: accepted in the server's last turn
            transport.layer.lost()
        elif not welcome:
            excessive = ends.TOO_MANY_CONNECTIONS
            transport.layer.go_away(excessive.code, excessive.reason, now)
            transport.flush(now)
        return welcome

    def _connection(
        self, proxies: TrustedProxies | None, hosts: AllowedHosts | None, secure: bool
    ) -> Connection:
        options = self._options
        return Connection(
            Role.SERVER,
            limits=options.limits,
            deflate=options.deflate,
            origins=options.origins,
            deflaters=self._deflaters,
            rewrite=proxies.seen if proxies else None,
            hosts=hosts,
            date=self._date,
            scheme="https" if secure else "http",
        )

    def _queue(self, request: HTTPRequest) -> None:
        """Keep a request until the application asks for the next one."""
        self._requests.append(request)

    def forget(self, transport: ServedTransport) -> None:
        """The peer's stream is closed."""
        self._transports.discard(transport)
        self._timers.forget_outdated(len(self._transports))
        if task := self._asking.get(transport):
            self._lingering.add(transport)
            task.cancel()

    def end_alone(self, transport: ServedTransport, error: Exception) -> None:
        """End a connection in which something failed that nobody foresaw, and no other."""
        logger.error("a connection failed, and is closed", exc_info=error)
        try:
            transport.layer.lost()
        except Exception:
            logger.exception("a connection could not be ended in order")
        if transport in self._transports:
            transport.abort()

    # -- parts of a turn --------------------------------------------------------------------------

    def pump_later(self, transport: ServedTransport) -> None:
        """Call `transport.pump` in a later turn; see `Backlogs`."""
        self.again.add(transport)

    def call_next_turn(self, function: Callable[[], object]) -> None:
        """See `Loop`."""
        raise NotImplementedError

    def schedule(self, transport: Any, due: float) -> None:
        """See `Loop`."""
        raise NotImplementedError

    def _call_posted(self) -> None:
        """Make the calls of other threads; what the turn has no time for comes in the next one."""
        until = self.time() + TURN_SECONDS
        for _ in range(len(self._posted)):
            function, arguments = self._posted.popleft()
            try:
                function(*arguments)
            except Exception:
                logger.exception("a call from another thread failed")
            if self.time() >= until:
                break

    def _next_request(self) -> HTTPRequest | None:
        """The next request for the application to answer."""
        while self._requests:
            request = self._requests.popleft()
            if request.pending and not self._stop_requests:
                return request
            request._session.go_away(self._goodbye.code, self._goodbye.reason, self.time())
        return None

    def _tidy_up(self) -> None:
        """Drop what is left of peers that are gone, once there is much of it."""
        if len(self._requests) > len(self._transports) + _SPARE_REQUESTS:
            kept = [request for request in self._requests if request.pending]
            self._requests.clear()
            self._requests.extend(kept)
        self._timers.forget_outdated(len(self._transports))

    def _fire_timers(self, now: float) -> None:
        for transport in self._timers.pop_due(now):
            try:
                transport.tick(now)
            except Exception:  # the others are due all the same
                logger.exception("what was due failed")

    def _continue_stopping(self) -> None:
        now = self.time()
        if not self._stopping:
            self._stopping = True
            self._drain_until = now + self._options.drain
            self._stop_listening()
            self._leaving.extend(self._transports)
            half = self._options.drain / 2
            self._goodbye_pause = min(_GOODBYE_PAUSE, half / max(1, len(self._leaving)))
            self._goodbye_due = now + self._goodbye_pause
            self._say_goodbye(now, _GOODBYES)
        else:
            self._say_goodbye(now, 0)
        if self._stop_requests > 1 or now >= self._drain_until:
            self._cut_off()

    def _say_goodbye(self, now: float, at_once: int) -> None:
        """Close those whose turn it is: if all left at once, all would come back at once."""
        end = self._goodbye
        while self._leaving and (at_once or self._goodbye_due <= now):
            if at_once:
                at_once -= 1
            else:
                self._goodbye_due += self._goodbye_pause
            self._leaving.popleft().go_away(end.code, end.reason, now)
        next_due = self._goodbye_due if self._leaving else math.inf
        self._stop_due = min(self._drain_until, next_due)

    def at_end(self, function: Callable[[], object]) -> None:
        """See `Loop`."""
        self._at_end.append(function)

    def _end_all(self) -> None:
        """Nobody is connected any more: say so to those who want to know, once."""
        functions, self._at_end = self._at_end, []
        for function in functions:
            try:
                function()
            except Exception:
                logger.exception("what was to be done at the end failed")

    def _cut_off(self) -> None:
        for transport in list(self._transports):
            try:
                transport.layer.lost()
            except Exception as error:
                transport.call_failed(error)


def _secured(session: Session, context: tls.SSLContext, turn: Turn) -> Layer:
    from sono_core.tls import MEMORY, SecureSession

    session.reserve(MEMORY)
    return SecureSession(session, context, turn=turn)
