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
from sono_core.lifecycle import Layer, Session, Timers, Transport, ends
from sono_io import RECEIVE_SIZE, LoopContext, new_context

from .forwarded import TrustedProxies
from .listeners import default_max_connections
from .options import Options
from .requests import HTTPRequest, RequestHandler
from .watchdog import Watchdog
from .websocket import logger

_MAX_POSTED = 100_000  # calls from other threads that wait for the loop
_SPARE_REQUESTS = 64  # requests of peers that are gone, kept before a search removes them
_GOODBYES = 100  # connections that are closed at once when the server stops,
_GOODBYE_PAUSE = 0.001  # seconds between the others, or less: all fit into half the drain time
_REFUSALS = 32  # connections beyond the maximum that get 503; further ones are dropped


class ServedTransport(Transport, Protocol):
    """A connection of a server."""

    layer: Layer
    scheduled: float

    def flush(self, now: float) -> None:
        """Write what is waiting, then schedule whatever else this connection needs."""

    def tick(self, now: float) -> None:
        """Handle the deadlines that are due."""


class BaseServer:
    """A server without its loop.

    Args:
        listeners: bound, listening and non-blocking; they belong to the server from now on.
    """

    create_task: Callable[..., Any] | None = None
    """See `Loop`."""

    def __init__(self, listeners: list[socket.socket], options: Options) -> None:
        self.address: Any = listeners[0].getsockname() if listeners else None
        """Where the first socket listens: (host, port) and more for IPv6, a path for Unix."""
        self._listeners = listeners
        self._options = options
        self._max_connections = options.max_connections or default_max_connections()
        self._deflaters = SharedDeflaters()
        self.buffer: memoryview = memoryview(bytearray(RECEIVE_SIZE))
        """The buffer that all connections receive into."""
        self.context: LoopContext = new_context(self.buffer, options.limits)
        """Shared by all connections of this server."""
        self._transports: set[ServedTransport] = set()
        self._requests: deque[HTTPRequest] = deque()
        self._posted: deque[tuple[Callable[..., object], tuple[object, ...]]] = deque()
        self._timers: Timers[ServedTransport] = Timers()
        self._stop_requests = 0
        self._stopping = False
        self._drain_until = math.inf
        self._leaving: deque[ServedTransport] = deque()  # still to be told that the server stops
        self._goodbye_due = self._goodbye_pause = 0.0
        self._stop_due = math.inf  # when the next step of stopping is due
        self._proxies = TrustedProxies(options.trusted_proxies) if options.trusted_proxies else None
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

    def stop(self) -> None:
        """Stop accepting, close every connection with `close_code` and end the iteration.

        Connections that are still open after the drain time are cut off; a second call cuts them
        off at once. May be called from any thread, or a signal handler.
        """
        self._stop_requests += 1
        self._wake()

    def time(self) -> float:
        """Seconds of the clock that all deadlines are measured with."""
        return time.monotonic()

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
        if self._watchdog:
            self._watchdog.stop()

    # -- connections ------------------------------------------------------------------------------

    def admit(
        self,
        transport: ServedTransport,
        address: Any,
        now: float,
        connection: Connection | None = None,
        scheme: str = "",
    ) -> bool:
        """Begin a connection's session; False if there are too many, and it is refused.

        Args:
            connection: one of another kind than this server's own.
            scheme: `http` or `https`, if this server does not decide that.
        """
        excess = len(self._transports) - self._max_connections
        options = self._options
        proxies = self._proxies if self._proxies and self._proxies.trusts(address) else None
        scheme = scheme or ("https" if options.ssl else "http")
        handler = RequestHandler(self, address, self._queue, scheme, proxies)
        session = Session(
            connection or self._connection(proxies),
            transport,
            handler,
            now=now,
            limits=options.limits,
            timeouts=options.timeouts,
        )
        handler.session = session
        transport.layer = _secured(session, options.ssl) if options.ssl else session
        self._transports.add(transport)
        dropped = excess >= _REFUSALS and not connection  # another server's is not ours to drop
        if dropped or self._closed:  # closed: accepted in the server's last turn
            transport.layer.lost()
        elif excess >= 0 or self._stop_requests:
            excessive = ends.TOO_MANY_CONNECTIONS
            transport.layer.go_away(excessive.code, excessive.reason, now)
            transport.flush(now)
        return excess < 0 and not self._stop_requests

    def _connection(self, proxies: TrustedProxies | None) -> Connection:
        options = self._options
        return Connection(
            Role.SERVER,
            limits=options.limits,
            deflate=options.deflate,
            origins=options.origins,
            deflaters=self._deflaters,
            rewrite=proxies.seen if proxies else None,
        )

    def _queue(self, request: HTTPRequest) -> None:
        """Keep a request until the application asks for the next one."""
        self._requests.append(request)

    def forget(self, transport: ServedTransport) -> None:
        """The peer's stream is closed."""
        self._transports.discard(transport)

    # -- parts of a turn --------------------------------------------------------------------------

    def _call_posted(self) -> None:
        for _ in range(len(self._posted)):
            function, arguments = self._posted.popleft()
            try:
                function(*arguments)
            except Exception:
                logger.exception("a call from another thread failed")

    def _next_request(self) -> HTTPRequest | None:
        """The next request for the application to answer."""
        while self._requests:
            request = self._requests.popleft()
            if request.pending and not self._stop_requests:
                return request
            request.respond(503, "the server is stopping\n")
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
            transport.tick(now)

    def _continue_stopping(self) -> None:
        now = self.time()
        if not self._stopping:
            self._stopping = True
            self._drain_until = now + self._options.drain
            self._stop_listening()
            self._leaving.extend(self._transports)
            half = self._options.drain / 2
            self._goodbye_pause = min(_GOODBYE_PAUSE, half / max(1, len(self._leaving)))
            self._goodbye_due = now - _GOODBYES * self._goodbye_pause
        self._say_goodbye(now)
        if self._stop_requests > 1 or now >= self._drain_until:
            self._cut_off()

    def _say_goodbye(self, now: float) -> None:
        """Close those whose turn it is: if all left at once, all would come back at once."""
        end = ends.SERVER_STOPS[self._options.close_code]
        while self._leaving and self._goodbye_due <= now:
            self._goodbye_due += self._goodbye_pause
            layer = self._leaving.popleft().layer
            layer.go_away(end.code, end.reason, now)
        next_due = self._goodbye_due if self._leaving else math.inf
        self._stop_due = min(self._drain_until, next_due)

    def _cut_off(self) -> None:
        for transport in list(self._transports):
            transport.layer.lost()


def _secured(session: Session, context: tls.SSLContext) -> Layer:
    from sono_core.tls import SecureSession

    return SecureSession(session, context)
