"""The built-in server on selectors: one thread, one receive buffer, many connections.

A turn of the loop calls what other threads have posted, writes to sockets with output, and waits
for the selector. Then it receives from readable sockets into the shared buffer, hands the bytes to
their sessions, answers each with one write, and handles the deadlines that are due. It decides
nothing that a session decides.
"""

import contextlib
import errno
import math
import selectors
import socket
import threading
import time
from collections.abc import Callable
from typing import Any

from sono_core.arguments import Unpack, takes_options
from sono_io import loop as loop_in_c
from sono_server.serving import (
    BaseServer,
    HTTPRequest,
    Options,
    ServedTransport,
    ServeOptions,
    StopSignals,
    forks,
    listen,
    logger,
    remove_file,
)

from .transport import READ, SelectorTransport

_EPOLL = getattr(selectors, "EpollSelector", None)  # on Linux
_ACCEPTS = 64  # connections accepted in one turn: a fair share
_ANSWERS = 64  # requests answered in one turn, likewise
_FLUSH = 0.01  # seconds of writing in one turn; what is left is written in the next
_TOLD_A_LOOK = 8  # sockets that are told to be ready between two looks at the clock, as in C
_ACCEPT_PAUSE = 1.0  # seconds without accepting when descriptors ran out
_OF_ONE_CONNECTION = [  # what goes wrong with a connection before it is accepted: accept(2)
    getattr(errno, name)
    for name in (
        *("ECONNABORTED", "ECONNRESET", "EHOSTDOWN", "EHOSTUNREACH", "ENETDOWN", "ENETUNREACH"),
        *("ENONET", "ENOPROTOOPT", "EOPNOTSUPP", "EPERM", "EPROTO"),
    )
    if hasattr(errno, name)
]


class Server(BaseServer):
    """Serves HTTP/1.1 requests, which may become WebSockets; made by `serve`.

    Iterating runs the loop and yields each request, to be answered before the next. It ends
    after `stop`, SIGINT or SIGTERM. As a context manager it closes everything at its end.
    """

    def __init__(
        self, listeners: list[socket.socket], options: Options, name: str | None = None
    ) -> None:
        super().__init__(listeners, options, name)
        self._listening = {listener.fileno(): listener for listener in listeners}
        self._selector = selectors.DefaultSelector()
        self._epoll = -1  # the selector's, where C can wait on it
        if loop_in_c and _EPOLL and isinstance(self._selector, _EPOLL):
            self._epoll = self._selector.fileno()
        self._accepting = False
        self._accept_again = math.inf
        self._turning = False
        self._answers = 0  # requests that may still be answered in this turn
        self._next_turn: list[Callable[[], object]] = []
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
            self._thread = self.context.thread = threading.get_ident()
            forks.begin(self)
            self._signals.take()
            self._begin_watch()
        if self._turning:
            raise RuntimeError("a handler may not run the server that calls it")
        while not self._closed:
            if self._answers and (request := self._next_request()):
                self._answers -= 1
                return request
            self._turning = True
            try:
                self._turn()
            finally:
                self._turning = False
            self._answers = _ANSWERS
            if self._requests:
                continue
            if self._stop_requests and not self._transports:
                self.close()
        raise StopIteration

    def __enter__(self) -> "Server":
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Cut everything off and free all sockets. Idempotent; in the server's thread.

        If a handler calls it, it takes effect when the loop's turn is over.
        """
        if self._closed:
            return
        if self._turning:  # no handler runs in the middle of another
            self._stop_requests += 2
            self._wake()
            return
        self.context.flush(self.time())  # answers that are still waiting
        self._closed = True
        self._end_watch()
        self._posted.clear()
        self._next_turn.clear()
        self._signals.give_back()
        self._stop_listening()
        self._cut_off()
        self._end_all()
        self._selector.close()
        self._wake_receiver.close()
        self._wake_sender.close()

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
        if self.context.to_flush:
            now = self.time()
            self.context.flush(now, now + _FLUSH)
        if self._next_turn:
            self.context.begin(self.time())
            functions, self._next_turn = self._next_turn, []
            for function in functions:
                function()
        again = self.again.counts if self.again.waiting else None
        now, others = self._wait(self._due())
        for fd in others:
            if fd in self._listening:
                self._accept(self._listening[fd], now)
            else:
                self._drain_wakes()
        if again:
            self.again.pump(again, self.context, self.time)
        # Deadlines come last, so that everything a peer sent in time has been read.
        if self._timers.next <= now:
            self._fire_timers(now)
        self._tidy_up()
        if self._accept_again <= now:
            self._watch_listeners(True)

    def _wait(self, due: float) -> tuple[float, list[int]]:
        """Wait for sockets and tell their transports; the time, and all other ready descriptors."""
        if self._epoll >= 0:
            return self.context.run(self._epoll, due)
        timeout = None if due == math.inf else max(0.0, due - time.monotonic())
        ready = self._selector.select(timeout)
        now = self.time()
        self.context.begin(now)
        others = []
        for told, (key, events) in enumerate(ready, 1):
            if type(key.data) is SelectorTransport:
                key.data.ready(events, now)
            else:
                others.append(key.fd)
            if told % _TOLD_A_LOOK == 0:
                self.context.look()
        return now, others

    def _due(self) -> float:
        """The time until which to wait."""
        if self.again.waiting or self.context.to_flush or self._next_turn:
            return -math.inf
        if self._posted or self._requests:
            return -math.inf
        if self._stop_requests and not self._transports:
            return -math.inf
        return min(self._accept_again, self._stop_due, self._timers.next)

    def call_next_turn(self, function: Callable[[], object]) -> None:
        self._next_turn.append(function)

    def _drain_wakes(self) -> None:
        with contextlib.suppress(BlockingIOError):
            self._wake_receiver.recv(4096)

    def schedule(self, transport: SelectorTransport, due: float) -> None:
        """Handle the transport's deadlines then, or earlier if that was due earlier."""
        self._timers.schedule(transport, due)

    def descriptors(self) -> list[int]:
        """See `BaseServer`."""
        found: list[Any] = [self._wake_receiver, self._wake_sender, *self._sockets()]
        if hasattr(self._selector, "fileno"):
            found.append(self._selector)
        return [*super().descriptors(), *(one.fileno() for one in found)]

    def _sockets(self) -> list[socket.socket]:
        return [one._sock for one in self._transports if isinstance(one, SelectorTransport)]

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

    def _stop_listening(self) -> None:
        self._watch_listeners(False)
        for listener in self._listeners:
            remove_file(listener)
            listener.close()

    def _accept(self, listener: socket.socket, now: float) -> None:
        for _ in range(_ACCEPTS):
            try:
                sock, address = listener.accept()
            except BlockingIOError:  # all have been accepted
                return
            except Exception as error:
                if getattr(error, "errno", None) in _OF_ONE_CONNECTION:
                    continue
                if self._accepting:
                    # The waiting connection keeps the listener readable: stop watching for a while.
                    self._watch_listeners(False)
                    self._accept_again = now + _ACCEPT_PAUSE
                    why = getattr(error, "strerror", None) or repr(error)
                    logger.warning("cannot accept connections: %s", why)
                return
            try:
                self._add(sock, address, now)
            except MemoryError:
                logger.error("a connection was dropped for lack of memory")
                sock.close()

    def _add(self, sock: socket.socket, address: Any, now: float) -> None:
        transport = None
        try:
            sock.setblocking(False)
            transport = SelectorTransport(self, sock)
            if self.admit(transport, address, now):
                transport.ready(READ, now)  # the request is often there already
        except Exception:
            logger.exception("a connection cannot be served, and is closed")
            if transport:
                transport.abort()
            sock.close()

    def watch(
        self, sock: socket.socket, transport: SelectorTransport, before: int, events: int
    ) -> None:
        """Let the selector watch a transport's socket for other events."""
        if self._epoll >= 0:
            self.context.watch(self._epoll, sock.fileno(), before, events)
        elif not events:
            self._selector.unregister(sock)
        elif before:
            self._selector.modify(sock, events, transport)
        else:
            self._selector.register(sock, events, transport)

    def forget(self, transport: ServedTransport) -> None:
        """The transport's socket is closed."""
        super().forget(transport)
        if self._accept_again < math.inf and not self._stop_requests:
            self._watch_listeners(True)  # a descriptor is free again


@takes_options(Options)
def serve(
    host: str | None = None,
    port: int = 8080,
    *,
    sock: socket.socket | None = None,
    unix: str | None = None,
    **options: Unpack[ServeOptions],
) -> Server:
    """Listen, and serve requests to whoever iterates over the result.

    SIGINT and SIGTERM end the iteration, if it runs in the main thread. A loop that is left early
    wants a `with` statement around it, which frees the sockets and gives the signals back.

    Args:
        host: a name or an address; None for the loopback addresses of IPv4 and IPv6.
        port: 0 for a free one; see `Server.address`.
        sock: a bound and listening socket to use instead; it is closed at the end.
        unix: the path of a Unix socket to listen on instead.
        options: the fields of `Options`, in sono_server/serving/options.py.

    Raises:
        OSError: the address cannot be listened on.
        ValueError: `port` or another argument is out of range, `sock` does not listen, or there
            is both a `sock` and a `unix`.
    """
    chosen = Options(**options)
    return Server(listen(host, port, sock, unix), chosen, host)
