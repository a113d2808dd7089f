"""A client in memory, for tests of servers."""

from collections import deque
from collections.abc import Callable

from sono_core.errors import ConnectionClosed
from sono_core.events import Accept, Close, Ping, Reject, Request, Role
from sono_core.lifecycle import BaseHandler, Session, Transport
from sono_core.limits import DEFAULT_LIMITS, DEFAULT_TIMEOUTS, Limits, Timeouts
from sono_core.websocket import Connection, Deflate, Frame, FrameDecoder, message_event

from .pipe import Builder, Clock, MemoryPipe

_ANY_SIZE = Limits(max_message=1 << 62, max_frame=1 << 62, max_fragments=1 << 62)
_REQUEST = Request("/", host="localhost")


def frames(sent: bytes | bytearray, receiver: Role) -> list[Frame]:
    r"""The frames that follow a request or a 101 in what was sent.

    >>> frames(b"HTTP/1.1 101 \r\n\r\n" b"\x81\x02hi", Role.CLIENT)
    [Frame(opcode=1, payload=b'hi', fin=True, rsv1=False, complete=True)]

    Args:
        sent: everything that was sent; an incomplete frame comes last.
        receiver: the receiving side; frames to a server are masked.

    Raises:
        ProtocolFailure: a frame breaks a rule.
    """
    decoder = FrameDecoder(receiver, _ANY_SIZE, compression=True)
    decoder.feed(bytes(sent).partition(b"\r\n\r\n")[2])
    return list(iter(decoder.next_frame, None))


class MemoryClient(BaseHandler):
    """A client in memory, connected to a server in memory.

    If the server answers at once, the request has been answered when the client is made. Each
    method lets everything happen that follows from it. `pipe.client` and `pipe.server` are the
    two ends of the stream, for tests that disturb it.

    >>> from sono_core import Handler, TextMessage
    >>> class Echo(Handler):
    ...     def on_request(self, request):
    ...         self.session.accept(Accept(), clock())
    ...     def on_message(self, message):
    ...         self.session.send(TextMessage(message))
    >>> def echo(transport):
    ...     handler = Echo()
    ...     handler.session = Session(Connection(Role.SERVER), transport, handler, now=clock())
    ...     return handler.session
    >>> clock = Clock()
    >>> client = MemoryClient(echo, clock=clock)
    >>> client.send("hello")
    True
    >>> client.recv()
    'hello'
    >>> client.pipe.cut()
    >>> client.pipe.advance(60)
    >>> client.closed.reason
    'no answer to a ping'

    Args:
        server: makes the layer at the server's end, for the transport there.
        request: the request to send.
        clock: the one that the server uses; a new one if None.
        limits, timeouts: of this client.
        deflate: what this client offers; nothing by default, so that tests can read frames.
        random: gives the masking keys; zeros by default, so that masking changes no bytes.
    """

    def __init__(
        self,
        server: Builder,
        request: Request = _REQUEST,
        *,
        clock: Clock | None = None,
        limits: Limits = DEFAULT_LIMITS,
        timeouts: Timeouts = DEFAULT_TIMEOUTS,
        deflate: Deflate | None = None,
        random: Callable[[int], bytes] = bytes,
    ) -> None:
        self.response: Accept | Reject | None = None
        """The server's answer."""
        self.messages: deque[str | bytes] = deque()
        """Messages that have come and that `recv` has not taken."""
        self.pongs: list[bytes] = []
        """The payloads of all pongs that have come."""
        self.closed: Close | None = None
        """How the connection ended, or None."""
        clock = clock or Clock()
        self.session: Session

        def begin(transport: Transport) -> Session:
            connection = Connection(Role.CLIENT, limits=limits, deflate=deflate, random=random)
            self.session = Session(
                connection, transport, self, now=clock.now, limits=limits, timeouts=timeouts
            )
            return self.session

        self.pipe: MemoryPipe = MemoryPipe(begin, server, clock)
        self.session.connect(request)
        self.pipe.run()

    @property
    def frames(self) -> list[Frame]:
        """All frames that the server has sent; see `frames`."""
        return frames(self.pipe.server.sent, Role.CLIENT)

    def send(self, message: str | bytes) -> bool:
        """Send a message; False if the connection is no longer open."""
        return self._said(self.session.send(message_event(message)))

    def recv(self) -> str | bytes:
        """Take the oldest message that has come.

        Raises:
            ConnectionClosed: there is none, and the connection has ended.
            TimeoutError: there is none, and none is on its way.
        """
        if self.messages:
            return self.messages.popleft()
        if self.closed:
            raise ConnectionClosed(self.closed.code, self.closed.reason)
        raise TimeoutError("no message is on its way")

    def ping(self, payload: bytes = b"") -> bool:
        """Send a ping; `pongs` gets its answer. False if the connection is not open."""
        return self._said(self.session.send(Ping(payload)))

    def close(self, code: int = 1000, reason: str = "") -> bool:
        """Begin the closing handshake; False if the connection is not open."""
        return self._said(self.session.close(code, reason, self.pipe.clock.now))

    def send_bytes(self, data: bytes) -> None:
        """Send bytes as they are, such as those that no client should send."""
        self.pipe.client.inject(data)
        self.pipe.run()

    def _said(self, said: bool) -> bool:
        self.pipe.run()
        return said

    # -- Handler ----------------------------------------------------------------------------------

    def on_response(self, response: Accept | Reject) -> None:
        self.response = response

    def on_message(self, message: str | bytes, /) -> None:
        self.messages.append(message)

    def on_pong(self, payload: bytes) -> None:
        self.pongs.append(payload)

    def on_close(self, close: Close) -> None:
        self.closed = close

    def on_error(self, error: Exception) -> None:
        raise error  # a bug in this class
