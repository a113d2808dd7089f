"""The HTTP request as applications see it, and the two ways to answer it."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from sono_core import Accept, Headers, Reject, SonoError, State
from sono_core.events import Request
from sono_core.lifecycle import BaseHandler, Session
from sono_core.quoting import shown_path
from sono_core.tls import TLSInfo

from .forwarded import TrustedProxies
from .log import logger
from .websocket import (
    AwaitingHandler,
    Loop,
    OnClose,
    OnMessage,
    WebSocket,
    WebSocketHandler,
    awaited,
)

TLSSource = Callable[[], TLSInfo | None]
HeaderFields = Mapping[str, str] | Iterable[tuple[str, str]]

HEALTHY = (200, "ok\n", {"cache-control": "no-store"})
NOT_READY = (503, "the backplane does not answer\n", {"cache-control": "no-store"})
"""The answer of `/healthz`, which shows that the loop runs: status, body, headers."""


class Refused(SonoError):  # noqa: N818 - what became of the request
    """Raise this in `authenticate` to refuse a request.

    Args:
        status: 200 to 599.
        body: a str is sent as UTF-8 text.
        headers: as for `HTTPRequest.respond`.
    """

    def __init__(self, status: int, body: str | bytes = b"", headers: HeaderFields = ()) -> None:
        super().__init__(f"refused with {status}")
        self.status = status
        self.body = body
        # an iterator could be used once, and not be copied
        self.headers: HeaderFields = tuple(headers) if isinstance(headers, Iterator) else headers


class HTTPRequest:
    """A request that waits for its one answer: `accept` or `respond`.

    A request that nobody answers gets 503 at the handshake's deadline. Use it only in the
    server's own thread: in another one, `accept`, `respond` and `verify` raise RuntimeError.
    """

    __slots__ = ("_session", "_tls", "client", "event", "loop", "token")

    def __init__(
        self,
        event: Request,
        session: Session,
        loop: Loop,
        client: Any,
        tls: TLSSource | None = None,
    ) -> None:
        self._session = session
        self._tls: TLSSource | TLSInfo | None = tls
        self.loop: Loop = loop
        """The server."""
        self.event: Request = event
        """The event of the core that describes the request."""
        self.client: Any = client
        """The peer's socket address: (host, port) and more for IPv6; behind a trusted proxy
        the client's address, with port 0."""
        self.token: str | None = None
        """What a client of `sono.v2` sent with its `hello`; its WebSocket is open then."""

    @property
    def scheme(self) -> str:
        """`http` or `https`; behind a trusted proxy what the client used with it."""
        return self.event.scheme

    @property
    def tls(self) -> TLSInfo | None:
        """The version, the cipher and the peer's certificate of this connection's TLS.

        None without TLS; under ASGI what the ASGI server tells, which few do. Behind a proxy it is
        the proxy's connection. Ask before you answer: what has ended knows nothing any more.
        """
        if callable(self._tls):
            self._tls = self._tls()
        elif self._tls is None and (found := getattr(self._session.transport, "tls", None)):
            from sono_core.tls import tls_info

            self._tls = tls_info(found)
        return self._tls

    @property
    def method(self) -> str:
        """The method, as sent: methods are case-sensitive."""
        return self.event.method

    @property
    def target(self) -> str:
        """Path and query, percent-encoded."""
        return self.event.target

    @property
    def path(self) -> str:
        """The target without its query, percent-encoded."""
        return self.event.path

    @property
    def query(self) -> str:
        """The part after the question mark, percent-encoded."""
        return self.event.query

    @property
    def headers(self) -> Headers:
        """The header fields; names without regard to case."""
        return self.event.headers

    @property
    def subprotocols(self) -> tuple[str, ...]:
        """The subprotocols that the client offers, in its order of preference."""
        return self.event.subprotocols

    @property
    def cookies(self) -> dict[str, str]:
        """The cookies by name; the first wins if a name is repeated (RFC 6265)."""
        found: dict[str, str] = {}
        for pair in ";".join(self.event.headers.get_all("cookie")).split(";"):
            name, equals, value = pair.partition("=")
            if equals and name.strip():
                found.setdefault(name.strip(), value.strip().strip('"'))
        return found

    @property
    def pending(self) -> bool:
        """Whether the request can still be answered: it has no answer, and the peer is there."""
        session = self._session
        return session.connection.state is State.REQUESTED and not session.over

    @property
    def _transport(self) -> Any:
        """What moves the bytes of its connection, below TLS."""
        transport = self._session.transport
        return getattr(transport, "transport", transport)

    def verify(self) -> bool:
        """Refuse the request now if `accept` would: no valid upgrade, or a foreign origin.

        Returns:
            Whether it can be accepted. Ask this before you look up who sent it.
        """
        self._require_thread()
        try:
            return self._session.verify(self.loop.time())
        except Exception as error:
            return self._failed(error)

    def respond(self, status: int, body: str | bytes = b"", headers: HeaderFields = ()) -> bool:
        """Answer with a plain HTTP response, after which the connection ends.

        Args:
            status: 200 to 599.
            body: a str is sent as UTF-8 text.
            headers: Content-Length and Connection are added.

        Returns:
            False if the peer is gone, or the request has been answered.

        Raises:
            LocalProtocolError: the status or a header is illegal.
        """
        self._require_thread()
        fields = Headers(headers)
        if isinstance(body, str):
            body = body.encode()
            if "content-type" not in fields:
                content_type = ("content-type", "text/plain; charset=utf-8")
                fields = Headers((*fields.fields(), content_type))
        try:
            return self._session.respond(Reject(status, fields, body), self.loop.time())
        except Exception as error:
            return self._failed(error)

    def accept(
        self,
        on_message: OnMessage | None = None,
        on_close: OnClose | None = None,
        subprotocol: str | Sequence[str] | None = None,
        headers: HeaderFields = (),
    ) -> WebSocket:
        """Open the WebSocket, if the request is a valid upgrade from an allowed origin.

        Any other request is refused with the right status.

        Args:
            on_message: called as `on_message(ws, message)` with a str or bytes.
            on_close: called once as `on_close(ws, close)`; not if the request was refused.
            subprotocol: one or several in order of preference; the first that the client offers
                is chosen; if it offers none of them, none is.
            headers: more header fields of the 101.

        Returns:
            The WebSocket; `ws.open` is False if the request was refused or the peer is gone.

        Raises:
            LocalProtocolError: a header is illegal.
            TypeError: a callback cannot be called; or it is a coroutine function, and this server
                calls only plain functions. A server on asyncio awaits it before it handles the
                connection's next message.
        """
        self._require_thread()
        session, loop = self._session, self.loop
        is_awaited = awaited(loop, on_message, on_close)
        known = [subprotocol] if isinstance(subprotocol, str) else subprotocol or ()
        agreed = next((name for name in known if name in self.subprotocols), None)
        try:
            accepted = session.accept(Accept(agreed, Headers(headers)), self.loop.time())
        except Exception as error:
            accepted = self._failed(error)
        socket = WebSocket(session, loop, self.event)
        if accepted and is_awaited:
            session.handler = AwaitingHandler(socket, on_message, on_close, session, loop)
        elif accepted:
            session.handler = WebSocketHandler(socket, on_message, on_close)
        return socket

    def _require_thread(self) -> None:
        if not self.loop.in_loop():
            raise RuntimeError("a request can be answered in its server's thread only")

    def _failed(self, error: Exception) -> bool:
        """Raise the caller's mistake again; any other failure ends this connection alone."""
        if isinstance(error, (SonoError, TypeError)):
            raise error
        logger.error("answering a request failed; its connection is closed", exc_info=error)
        self._session.abort()
        return False

    def __repr__(self) -> str:
        return f"<HTTPRequest {self.method} {shown_path(self.target)}>"


class RequestHandler(BaseHandler):
    """The `Handler` of a connection until its request has been answered."""

    __slots__ = ("_client", "_deliver", "_loop", "_proxies", "_tls", "session")

    session: Session
    """Set it before anything is received."""

    def __init__(
        self,
        loop: Loop,
        client: Any,
        deliver: Callable[[HTTPRequest], object],
        proxies: TrustedProxies | None = None,
        tls: TLSSource | None = None,
    ) -> None:
        self._loop = loop
        self._client = client
        self._deliver = deliver
        self._proxies = proxies
        self._tls = tls

    def on_request(self, request: Request) -> None:
        client = self._client
        if self._proxies:
            client = self._proxies.client(request, client)
        self._deliver(HTTPRequest(request, self.session, self._loop, client, self._tls))

    def on_error(self, error: Exception) -> None:
        logger.error("answering a request failed", exc_info=error)
