"""The HTTP request as applications see it, and the two ways to answer it."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from sono_core import Accept, Headers, Reject, SonoError, State
from sono_core.events import Request
from sono_core.lifecycle import BaseHandler, Session

from .forwarded import TrustedProxies
from .websocket import (
    AwaitingHandler,
    Loop,
    OnClose,
    OnMessage,
    WebSocket,
    WebSocketHandler,
    awaited,
    logger,
)

HeaderFields = Mapping[str, str] | Iterable[tuple[str, str]]

HEALTHY = (200, "ok\n", {"cache-control": "no-store"})
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
        self.headers = headers


class HTTPRequest:
    """A request that waits for its one answer: `accept` or `respond`.

    A request that nobody answers gets 503 at the handshake's deadline. Use it only in the
    server's own thread.
    """

    __slots__ = ("_session", "client", "event", "loop", "scheme")

    def __init__(
        self, event: Request, session: Session, loop: Loop, client: Any, scheme: str = "http"
    ) -> None:
        self._session = session
        self.loop: Loop = loop
        """The server."""
        self.event: Request = event
        """The event of the core that describes the request."""
        self.client: Any = client
        """The peer's socket address: (host, port) and more for IPv6; behind a trusted proxy
        the client's address, with port 0."""
        self.scheme: str = scheme
        """`http` or `https`."""

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

    def verify(self) -> bool:
        """Refuse the request now if `accept` would: no valid upgrade, or a foreign origin.

        Returns:
            Whether it can be accepted. Ask this before you look up who sent it.
        """
        return self._session.verify(self.loop.time())

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
        fields = Headers(headers)
        if isinstance(body, str):
            body = body.encode()
            if "content-type" not in fields:
                content_type = ("content-type", "text/plain; charset=utf-8")
                fields = Headers((*fields.fields(), content_type))
        return self._session.respond(Reject(status, fields, body), self.loop.time())

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
        session, loop = self._session, self.loop
        is_awaited = awaited(loop, on_message, on_close)
        known = [subprotocol] if isinstance(subprotocol, str) else subprotocol or ()
        agreed = next((name for name in known if name in self.subprotocols), None)
        accepted = session.accept(Accept(agreed, Headers(headers)), self.loop.time())
        socket = WebSocket(session, loop, self.event)
        if accepted and is_awaited:
            session.handler = AwaitingHandler(socket, on_message, on_close, session, loop)
        elif accepted:
            session.handler = WebSocketHandler(socket, on_message, on_close)
        return socket

    def __repr__(self) -> str:
        return f"<HTTPRequest {self.method} {self.target!r}>"


class RequestHandler(BaseHandler):
    """The `Handler` of a connection until its request has been answered."""

    __slots__ = ("_client", "_deliver", "_loop", "_proxies", "_scheme", "session")

    session: Session
    """Set it before anything is received."""

    def __init__(
        self,
        loop: Loop,
        client: Any,
        deliver: Callable[[HTTPRequest], object],
        scheme: str = "http",
        proxies: TrustedProxies | None = None,
    ) -> None:
        self._loop = loop
        self._client = client
        self._deliver = deliver
        self._scheme = scheme
        self._proxies = proxies

    def on_request(self, request: Request) -> None:
        client, scheme = self._client, self._scheme
        if self._proxies:
            client = self._proxies.client(request, client)
            scheme = self._proxies.scheme(request, scheme)
        self._deliver(HTTPRequest(request, self.session, self._loop, client, scheme))

    def on_error(self, error: Exception) -> None:
        logger.error("answering a request failed", exc_info=error)
