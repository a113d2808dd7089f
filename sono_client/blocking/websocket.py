"""The blocking client for plain WebSockets: `connect`.

Thin I/O over `sono_core`'s Session. Nothing runs in the background: bytes move while one of the
methods is called, so a program that computes for long answers no pings in that time.
"""

import os
import socket
import time
from collections.abc import Iterator
from typing import cast

from sono_client.dialing import Dialing, described
from sono_client.options import PING_BYTES, ConnectOptions, Options, blocking_limits, connector
from sono_core import Close, Limits, Ping
from sono_core.arguments import Unpack, takes_options
from sono_core.close_codes import NORMAL_ENDS
from sono_core.connect import Connector
from sono_core.errors import ConnectionClosed
from sono_core.events import Accept
from sono_core.websocket import message_event
from sono_io import MAX_WAIT

from .transport import BlockingTransport, Message


class WebSocket:
    """A client's open connection; made by `connect`.

    A context manager that closes, and an iterator over messages that ends with a normal close.
    Several threads may use it at once; a message goes to one of those that wait for it. A signal
    handler should raise, and not call it. It belongs to the process that opened it: in a child that
    was forked, its methods raise RuntimeError.
    """

    def __init__(self, transport: BlockingTransport, response: Accept) -> None:
        self._transport = transport
        self.response = response
        """The server's 101, with its headers."""

    @property
    def subprotocol(self) -> str | None:
        """The subprotocol that the handshake agreed on."""
        return self.response.subprotocol

    @property
    def closed(self) -> Close | None:
        """How the connection ended; None while it has not."""
        return self._transport.closed

    def send(self, message: str | bytes | bytearray | memoryview) -> None:
        """Send a text (str) or binary (bytes-like) message; returns when the kernel has it all.

        A program that only sends also answers pings in it and learns of a Close, a few calls after
        they have come. Messages that have come are kept for `recv`, up to 1,024 or 64 MiB. Beyond
        that, a server that does not read until it has been read is given up when it stalls. If the
        call is interrupted while it waits, the next call still sends the message.

        Raises:
            ConnectionClosed: the connection is no longer open.
            TypeError: `message` is neither.
            LocalProtocolError: a text holds a lone surrogate.
        """
        self._transport.send(message_event(message))

    def recv(self, timeout: float | None = None) -> str | bytes:
        """The next message.

        Args:
            timeout: seconds to wait at most; 0 returns a message only if one has come.

        Raises:
            ConnectionClosed: there is none and will be none.
            TimeoutError: none came in time.
        """
        return cast(Message, self._transport.until(self._transport.take, timeout))

    def __iter__(self) -> Iterator[str | bytes]:
        while True:
            try:
                message = self.recv()
            except ConnectionClosed as error:
                if error.code in NORMAL_ENDS:
                    return
                raise
            yield message

    def ping(self, timeout: float | None = None) -> float:
        """Send a ping and wait for its pong; the seconds that it took.

        Raises:
            ConnectionClosed: the connection ended before.
            TimeoutError: no pong came in time.
            BufferError: so many messages wait for `recv` that no pong can be read.
        """
        transport = self._transport
        payload = os.urandom(PING_BYTES)
        transport.pongs[payload] = None
        start = time.monotonic()
        try:
            transport.post(Ping(payload))
            return transport.until(lambda: transport.pong(payload), timeout) - start
        finally:
            del transport.pongs[payload]

    def close(self, code: int = 1000, reason: str = "") -> None:
        """Close, and wait for the server to do the same, for `Timeouts.close` at most.

        Messages that come in the meantime are dropped. If this is interrupted, the connection is
        cut off. Other waiting threads get ConnectionClosed.

        Raises:
            TypeError, LocalProtocolError: the code may not be sent, or the reason is not a str.
        """
        self._transport.close_with(code, reason)

    def cut_off(self) -> None:
        """End the connection now, without a word to the server."""
        self._transport.cut_off()

    def error(self) -> ConnectionClosed:
        """The exception for calls after the end of the connection."""
        return self._transport.error()

    def __enter__(self) -> "WebSocket":
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


@takes_options(Options)
def connect(
    url: str,
    **options: Unpack[ConnectOptions],
) -> WebSocket:
    """Open a WebSocket.

    Args:
        url: as `ws://localhost:8080/ws`, or `wss://`.
        options: the fields of `Options`, in sono_client/options.py.

    Raises:
        ConnectError: nobody answered, or not as a WebSocket server; the text names the server
            and the reason.
        ValueError: `url` is no WebSocket URL, the proxy none that is supported, or the arguments
            exclude each other.
        LocalProtocolError: a subprotocol or a header is illegal.
        TypeError: an argument is of the wrong type.
    """
    chosen = Options(**options)
    attempts = connector(url, chosen, blocking_limits(chosen.limits))
    while True:
        transport = _dial(attempts, chosen.limits, chosen.timeout)
        try:
            transport.open(attempts)
            accept = attempts.answered(transport.response)
        except BaseException:  # KeyboardInterrupt for one
            transport.cut_off()
            raise
        if accept:
            return WebSocket(transport, accept)


def _dial(connector: Connector, limits: Limits, timeout: float) -> BlockingTransport:
    endpoint = connector.endpoint
    try:
        if endpoint.unix is not None:
            sock = _connected_to_unix(endpoint.unix, timeout)
        else:
            found = socket.getaddrinfo(endpoint.host, endpoint.port, type=socket.SOCK_STREAM)
            sock = Dialing(found, timeout).run()
        try:
            return BlockingTransport(sock, limits)
        except BaseException:  # no descriptor is left, for one
            sock.close()
            raise
    except OSError as error:
        raise connector.failed(described(error)) from error.__cause__ or error


def _connected_to_unix(path: str, timeout: float) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        sock.settimeout(min(timeout, MAX_WAIT))
        sock.connect(path)
    except BaseException as error:
        sock.close()
        if isinstance(error, TimeoutError):
            raise TimeoutError("connecting took too long") from None
        raise
    return sock
