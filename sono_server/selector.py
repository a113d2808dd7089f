"""The built-in server on selectors: one thread, one receive buffer, many connections.

How bytes flow in a turn of the loop: what other threads posted is called; sockets with output
are written to; the selector waits; what is readable is received into the shared buffer, handed
to its session and answered with one write; what is due is done. What a session decides is not
decided here again.
"""

import contextlib
import errno
import heapq
import itertools
import math
import selectors
import socket
import threading
import time
from collections import deque
from collections.abc import Callable, Collection
from typing import Any

from sono_core import (
    CloseCode,
    Connection,
    Deflate,
    Limits,
    Role,
    SharedDeflaters,
    Timeouts,
)
from sono_core.limits import DEFAULT_LIMITS, DEFAULT_TIMEOUTS
from sono_core.session import Session

from .fast import loop as loop_in_c
from .fast import new_turn
from .listeners import default_max_connections, listen
from .peer import READ, Peer
from .requests import HTTPRequest, RequestHandler
from .signals import StopSignals
from .websocket import logger

_EPOLL = getattr(selectors, "EpollSelector", None)  # on Linux
_RECEIVE_BUFFER = 256 * 1024  # bytes read from one connection in a turn: a fair share
_ACCEPTS = 64  # connections accepted in one turn, for the same reason
_OUT_OF_RESOURCES = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)
_MAX_POSTED = 100_000  # calls of other threads that wait for the loop
_SPARE_REQUESTS = 64  # of peers that are gone, kept before they are looked for
_SPARE_TIMERS = 1024  # beside four a connection, kept before outdated ones are looked for
_ACCEPT_PAUSE = 1.0  # seconds without accepting when descriptors ran out
_REFUSALS = 32  # connections beyond the maximum that are told 503; more are just dropped


class Server:
    """Serves HTTP/1.1 requests, which may become WebSockets; made by `serve`.

    Iterating runs the loop and yields each request, to be answered before the next. It ends
    after `stop`, SIGINT or SIGTERM. As a context manager it closes everything at its end.
    """

    def __init__(
        self,
        listeners: list[socket.socket],
        *,
        limits: Limits,
        timeouts: Timeouts,
        deflate: Deflate | None,
        origins: Collection[str],
        max_connections: int,
        drain: float,
    ) -> None:
        self._listeners = listeners
        self._listening = {listener.fileno(): listener for listener in listeners}
        self._limits = limits
        self._timeouts = timeouts
        self._deflate = deflate
        self._origins = origins
        self._max_connections = max_connections
        self._drain = drain
        self._deflaters = SharedDeflaters()
        self.address: Any = listeners[0].getsockname()
        """What the first socket is bound to: (host, port) and more for IPv6."""
        self._selector = selectors.DefaultSelector()
        self._epoll = -1  # the selector's, where C can wait on it
        if loop_in_c and _EPOLL and isinstance(self._selector, _EPOLL):
            self._epoll = self._selector.fileno()
        self.buffer = memoryview(bytearray(_RECEIVE_BUFFER))
        self.turn = new_turn(self.buffer, limits)
        self.again: list[Peer] = []
        self._peers: set[Peer] = set()
        self._requests: deque[HTTPRequest] = deque()
        self._posted: deque[tuple[Callable[..., object], tuple[object, ...]]] = deque()
        self._timers: list[tuple[float, int, Peer]] = []
        self._timer_ids = itertools.count()
        self._accepting = False
        self._accept_again = math.inf
        self._stop_requests = 0
        self._drain_until = math.inf
        self._closed = False
        self._turning = False
        self._thread: int | None = None
        self._wake_receiver, self._wake_sender = socket.socketpair()
        self._wake_receiver.setblocking(False)
        self._wake_sender.setblocking(False)
        self._signals = StopSignals(self.stop, self._wake_sender.fileno())
        self._selector.register(self._wake_receiver, READ, None)
        self._watch_listeners(True)

    # -- for applications -----------------------------------------------------------------------

    def __iter__(self) -> "Server":
        return self

    def __next__(self) -> HTTPRequest:
        if self._thread is None and not self._closed:
            self._thread = self.turn.thread = threading.get_ident()
            self._signals.take()
        if self._turning:
            raise RuntimeError("a handler may not run the server that calls it")
        while not self._closed:
            self._turning = True
            try:
                self._turn()
            finally:
                self._turning = False
            while self._requests:
                request = self._requests.popleft()
                if request.pending and not self._stop_requests:
                    return request
                request.respond(503, "the server is stopping\n")
            if self._stop_requests and not self._peers:
                self.close()
        raise StopIteration

    def __enter__(self) -> "Server":
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def stop(self) -> None:
        """Stop accepting, close every connection with 1001 and end the iteration.

        What is not closed within the drain time is cut off. A second call cuts off at once.
        From any thread, or a signal handler.
        """
        self._stop_requests += 1
        self._wake()

    def close(self) -> None:
        """Cut everything off and free all sockets. Idempotent; in the server's thread.

        Called by a handler, it takes effect when the loop's turn is over.
        """
        if self._closed:
            return
        if self._turning:  # no handler is called in the middle of another
            self._stop_requests += 2
            self._wake()
            return
        self.turn.flush(self.time())  # what was just answered
        self._closed = True
        self._posted.clear()
        self._signals.give_back()
        self._watch_listeners(False)
        for listener in self._listeners:
            listener.close()
        for peer in list(self._peers):
            peer.session.lost()
        self._selector.close()
        self._wake_receiver.close()
        self._wake_sender.close()

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
        """Call a function in the loop's thread, soon. From any thread; order is kept.

        Returns:
            False if the loop has ended: the function will not be called.

        Raises:
            BufferError: 100,000 calls wait already.
        """
        if self._closed:
            return False
        if len(self._posted) >= _MAX_POSTED:
            raise BufferError(f"{_MAX_POSTED} calls from other threads wait for the server")
        self._posted.append((function, arguments))
        self._wake()
        return True

    def _wake(self) -> None:
        # A full socket wakes just as well; a closed one belongs to a loop that has ended.
        with contextlib.suppress(OSError):
            self._wake_sender.send(b"\0")

    # -- one turn -------------------------------------------------------------------------------

    def _turn(self) -> None:
        if self._posted:
            self._call_posted()
        if self._stop_requests:
            self._continue_stopping()
        if self.turn.dirty:
            self.turn.flush(self.time())
        again, self.again = self.again, []
        now, others = self._wait(self._due(bool(again)))
        for fd in others:
            if fd in self._listening:
                self._accept(self._listening[fd], now)
            else:
                self._drain_wakes()
        if again:
            self._pump(again, now)
        if len(self._requests) > len(self._peers) + _SPARE_REQUESTS:
            self._requests = deque(request for request in self._requests if request.pending)
        # Deadlines come last: what a peer sent in time has been read, however long it took.
        if self._timers and self._timers[0][0] <= now:
            self._fire_timers(now)
        if len(self._timers) > 4 * len(self._peers) + _SPARE_TIMERS:
            self._drop_outdated_timers()
        if self._accept_again <= now:
            self._watch_listeners(True)

    def _wait(self, due: float) -> tuple[float, list[int]]:
        """Wait for sockets and tell peers; the time then, and the descriptors of all others."""
        if self._epoll >= 0:
            return self.turn.run(self._epoll, due, time.monotonic)
        timeout = None if due == math.inf else max(0.0, due - time.monotonic())
        ready = self._selector.select(timeout)
        now = self.time()
        others = []
        for key, events in ready:
            if type(key.data) is Peer:
                key.data.ready(events, now)
            else:
                others.append(key.fd)
        return now, others

    def _due(self, busy: bool) -> float:
        """Until when to wait.

        Args:
            busy: whether there is something to do anyway.
        """
        if busy or self.turn.dirty or self._posted or self._requests:
            return -math.inf
        if self._stop_requests and not self._peers:
            return -math.inf
        due = self._accept_again if self._accept_again < self._drain_until else self._drain_until
        if self._timers and self._timers[0][0] < due:
            return self._timers[0][0]
        return due

    def _pump(self, peers: list[Peer], now: float) -> None:
        for peer in peers:
            peer.listed = False
            if not peer.session.over:
                peer.session.pump(now)
                peer.flush(now)

    def _call_posted(self) -> None:
        for _ in range(len(self._posted)):
            function, arguments = self._posted.popleft()
            try:
                function(*arguments)
            except Exception:
                logger.exception("a call from another thread failed")

    def _drain_wakes(self) -> None:
        with contextlib.suppress(BlockingIOError):
            self._wake_receiver.recv(4096)

    # -- timers ---------------------------------------------------------------------------------

    def schedule(self, peer: Peer, due: float) -> None:
        """Look at the peer's deadlines then. Only ever moved forward; else the tick moves on."""
        peer.scheduled = due
        heapq.heappush(self._timers, (due, next(self._timer_ids), peer))

    def _drop_outdated_timers(self) -> None:
        live = [entry for entry in self._timers if entry[0] == entry[2].scheduled]
        self._timers = [entry for entry in live if not entry[2].session.over]
        heapq.heapify(self._timers)

    def _fire_timers(self, now: float) -> None:
        while self._timers and self._timers[0][0] <= now:
            due, _, peer = heapq.heappop(self._timers)
            if due == peer.scheduled and not peer.session.over:
                peer.scheduled = math.inf
                peer.session.tick(now)
                peer.flush(now)

    # -- accepting ------------------------------------------------------------------------------

    def _watch_listeners(self, accepting: bool) -> None:
        self._accept_again = math.inf
        if accepting != self._accepting:
            self._accepting = accepting
            for listener in self._listeners:
                if accepting:
                    self._selector.register(listener, READ, listener)
                else:
                    self._selector.unregister(listener)

    def _accept(self, listener: socket.socket, now: float) -> None:
        for _ in range(_ACCEPTS):
            try:
                sock, address = listener.accept()
            except OSError as error:
                if error.errno in _OUT_OF_RESOURCES and self._accepting:
                    # The waiting connection keeps the listener readable: look away for a while.
                    self._watch_listeners(False)
                    self._accept_again = now + _ACCEPT_PAUSE
                    logger.warning("cannot accept connections: %s", error.strerror)
                elif error.errno == errno.ECONNABORTED:
                    continue
                return
            self._add(sock, address, now)

    def _add(self, sock: socket.socket, address: Any, now: float) -> None:
        excess = len(self._peers) - self._max_connections
        if excess >= _REFUSALS:
            sock.close()
            return
        sock.setblocking(False)
        peer = Peer(self, sock)
        handler = RequestHandler(self, address, self._queue)
        connection = Connection(
            Role.SERVER,
            limits=self._limits,
            deflate=self._deflate,
            origins=self._origins,
            deflaters=self._deflaters,
        )
        session = Session(
            connection, peer, handler, now=now, limits=self._limits, timeouts=self._timeouts
        )
        peer.session = handler.session = session
        self._peers.add(peer)
        if excess >= 0:
            session.go_away(CloseCode.TRY_AGAIN_LATER, "", now)
            peer.flush(now)
        else:
            peer.ready_slowly(READ, now)  # the request is often there already

    def watch(self, sock: socket.socket, peer: Peer, before: int, events: int) -> None:
        """Let the selector watch a peer's socket for other events."""
        if not events:
            self._selector.unregister(sock)
        elif before:
            self._selector.modify(sock, events, peer)
        else:
            self._selector.register(sock, events, peer)

    def _queue(self, request: HTTPRequest) -> None:
        self._requests.append(request)

    def forget(self, peer: Peer) -> None:
        """The peer's socket is closed."""
        self._peers.discard(peer)
        if self._accept_again < math.inf and not self._stop_requests:
            self._watch_listeners(True)  # a descriptor is free again

    # -- stopping -------------------------------------------------------------------------------

    def _continue_stopping(self) -> None:
        now = self.time()
        if self._drain_until == math.inf:
            self._drain_until = now + self._drain
            self._watch_listeners(False)
            for listener in self._listeners:
                listener.close()
            for peer in list(self._peers):
                peer.session.go_away(CloseCode.GOING_AWAY, "the server is stopping", now)
        if self._stop_requests > 1 or now >= self._drain_until:
            for peer in list(self._peers):
                peer.session.lost()


def serve(
    host: str | None = None,
    port: int = 8080,
    *,
    sock: socket.socket | None = None,
    limits: Limits = DEFAULT_LIMITS,
    timeouts: Timeouts = DEFAULT_TIMEOUTS,
    deflate: Deflate | None = Deflate(),  # noqa: B008 - immutable
    origins: Collection[str] = (),
    max_connections: int | None = None,
    drain: float = 10.0,
) -> Server:
    """Listen, and serve requests to whoever iterates over the result.

    SIGINT and SIGTERM end the iteration, if it runs in the main thread. A loop that is left early
    wants a `with` statement around it, which frees the sockets and gives the signals back.

    Args:
        host: a name or an address; None for the loopback addresses of IPv4 and IPv6.
        port: 0 for a free one; see `Server.address`.
        sock: a bound and listening socket to use instead; it is closed at the end.
        limits: what a peer may ask for.
        timeouts: how long a peer may take.
        deflate: how permessage-deflate is used, None to refuse it.
        origins: origins whose pages may connect, beside the server's own; `"*"` allows all.
        max_connections: beyond it 503; None for the limit of file descriptors less 64.
        drain: seconds that connections get to close after `stop`.

    Raises:
        OSError: the address cannot be listened on.
        ValueError: `port`, `max_connections` or `drain` is out of range, or `sock` does not
            listen.
    """
    if not 0 <= port <= 65535:
        raise ValueError(f"port must be from 0 to 65535, not {port}")
    if max_connections is None:
        max_connections = default_max_connections()
    if max_connections < 1:
        raise ValueError(f"max_connections must be at least 1, not {max_connections}")
    if not drain >= 0:
        raise ValueError(f"drain must not be negative, but is {drain}")
    if sock and not sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
        raise ValueError("sock must be a listening socket")
    listeners = [sock] if sock else listen(host, port)
    for listener in listeners:
        listener.setblocking(False)
        if listener.family != getattr(socket, "AF_UNIX", None):
            listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # connections inherit it
    return Server(
        listeners,
        limits=limits,
        timeouts=timeouts,
        deflate=deflate,
        origins=origins,
        max_connections=max_connections,
        drain=drain,
    )
