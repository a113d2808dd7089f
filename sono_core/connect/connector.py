"""How a client opens its connection: where it connects, through what, and what an answer means.

The procedure of every client, without its I/O. RFC 6455, sections 3 and 4.1; RFC 9110, section
15.4 (redirects).
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import urldefrag, urljoin

import msgspec

from sono_core.arguments import require_strings, require_type
from sono_core.errors import ConnectError, LocalProtocolError
from sono_core.events import Accept, Reject, Role
from sono_core.headers import Headers
from sono_core.http import REDIRECTS, is_token
from sono_core.lifecycle import Handler, Layer, Session, Transport
from sono_core.limits import DEFAULT_LIMITS, DEFAULT_TIMEOUTS, Limits, Timeouts
from sono_core.quoting import shown_text, shown_url
from sono_core.websocket import DEFAULT_DEFLATE, Connection, Deflate

from .proxy import Proxy, address, parse_proxy
from .tunnel import Tunnel
from .uri import WEBSOCKET_SCHEMES, WebSocketURI, parse_uri

_CREDENTIALS = ("authorization", "cookie", "proxy-authorization")
_UNTRUSTED = "certificate verify failed"  # how `tls` begins its reason then
_NO_TLS = "the peer does not speak TLS"  # and how it ends then
_LOST = Reject(0, body=b"the connection was lost")

ProxyChoice = str | Callable[[WebSocketURI], str | None] | None
"""A proxy's URL for every connection, or a function that returns one for each, or None."""


class Endpoint(msgspec.Struct, frozen=True):
    """Where a transport is to connect."""

    host: str
    port: int
    unix: str | None = None
    """The path of a Unix socket; then host and port are only names."""


class Connector:
    """The attempts to open one connection: the first, and one for each redirect.

    Connect to `endpoint`, let that transport drive the layer that `begin` returns, and pass the
    response that the handler gets to `answered`. As long as that returns None, start over.

    Args:
        url: `ws://` or `wss://`.
        random: a secure source of bytes, such as `os.urandom`.
        subprotocols: to offer, in order of preference.
        headers: more header fields of the request, such as Origin or Authorization.
        credentials: names of those header fields that no other origin may see after a redirect,
            besides Authorization, Cookie and Proxy-Authorization; None for all of `headers`.
        limits: how much the server and a proxy may use.
        timeouts: how long it may take. The handshake's deadline counts anew for each attempt,
            from `begin` on, and covers proxy, TLS and handshake together.
        deflate: how permessage-deflate is offered, or None.
        proxy: the URL of an HTTP proxy, or a function that finds one; see `proxy.proxy_for`.
        tls: an `ssl.SSLContext` for wss, wherever redirects lead; by default one that verifies.
        proxy_tls: the same for a proxy with an https URL.
        unix: the path of a Unix socket to connect to instead of the URL's host.
        max_redirects: how many to follow before giving up; 0 follows none.

    Raises:
        ValueError: `url` is not a WebSocket URL, the proxy is not supported, or the arguments
            exclude each other.
        LocalProtocolError: a subprotocol or a header is illegal.
        TypeError: an argument is of the wrong type.
    """

    def __init__(
        self,
        url: str,
        *,
        random: Callable[[int], bytes],
        subprotocols: Sequence[str] = (),
        headers: Mapping[str, str] | Iterable[tuple[str, str]] = (),
        credentials: Collection[str] | None = None,
        limits: Limits = DEFAULT_LIMITS,
        timeouts: Timeouts = DEFAULT_TIMEOUTS,
        deflate: Deflate | None = DEFAULT_DEFLATE,
        proxy: ProxyChoice = None,
        tls: Any = None,
        proxy_tls: Any = None,
        unix: str | None = None,
        max_redirects: int = 10,
    ) -> None:
        target = parse_uri(url)
        require_strings("subprotocols", subprotocols)
        if credentials is not None:
            require_strings("credentials", credentials)
        if isinstance(headers, Iterator):  # would be empty when it is read again
            raise TypeError("headers must be a mapping or a sequence of pairs, not an iterator")
        require_type("limits", limits, Limits)
        require_type("timeouts", timeouts, Timeouts)
        require_type("deflate", deflate, Deflate, None)
        require_type("unix", unix, str, None)
        require_type("max_redirects", max_redirects, int)
        if not callable(proxy):
            require_type("proxy", proxy, str, None)
        for name, value in (("tls", tls), ("proxy_tls", proxy_tls)):
            if value is not None:
                from sono_core.tls import check_context  # loads ssl

                check_context(name, value, server_side=False)
        if unix == "":
            raise ValueError("unix must be the path of a socket, not empty")
        if tls is not None and not target.secure:
            raise ValueError(f"'{shown_url(url)}': tls is for wss URLs")
        if unix is not None and isinstance(proxy, str):
            raise ValueError("a Unix socket is not reached through a proxy")
        self._random = random
        self._subprotocols = tuple(subprotocols)
        self._headers = Headers(headers)
        self._credentials = None if credentials is None else _field_names(credentials)
        self._limits = limits
        self._timeouts = timeouts
        self._deflate = deflate
        self._choice = proxy
        self._tls = tls
        self._proxy_tls = proxy_tls
        self._unix = unix
        self._redirects_left = max_redirects
        self._layer: Layer | None = None
        self._tunnel: Tunnel | None = None
        self._aim(target)

    def _aim(self, target: WebSocketURI) -> None:
        """Prepare an attempt; it raises if the request is illegal."""
        connection = Connection(
            Role.CLIENT, limits=self._limits, deflate=self._deflate, random=self._random
        )
        connection.send(target.request(self._subprotocols, self._headers))
        url = None
        if self._unix is None:
            url = self._choice(target) if callable(self._choice) else self._choice
        self._proxy: Proxy | None = parse_proxy(url) if url else None
        self._connection: Connection | None = connection
        self.target = target
        """The server of this attempt."""

    @property
    def endpoint(self) -> Endpoint:
        """Where the transport of this attempt is to connect."""
        through = self._proxy or self.target
        return Endpoint(through.host, through.port, self._unix)

    def begin(self, transport: Transport, handler: Handler, now: float) -> tuple[Layer, Session]:
        """Send the request over a transport that is connected to `endpoint`.

        Returns:
            The layer that the transport is to drive, and the session inside it.

        Raises:
            LocalProtocolError: this attempt has already begun.
        """
        connection, self._connection = self._connection, None
        if connection is None:
            raise LocalProtocolError("this attempt has already begun")
        session = Session(
            connection, transport, handler, now=now, limits=self._limits, timeouts=self._timeouts
        )
        layer: Layer = session
        if self.target.secure:
            layer = self._tls_around(layer, self._tls, self.target.host)
        if self._proxy:
            server = address(self.target.host, self.target.port)
            layer = self._tunnel = Tunnel(layer, server, self._proxy, self._limits)
            if self._proxy.secure:
                layer = self._tls_around(layer, self._proxy_tls, self._proxy.host)
        self._layer = layer
        transport.write_soon()
        return layer, session

    def _tls_around(self, inner: Layer, context: Any, host: str) -> Layer:
        from sono_core.tls import SecureSession, client_context  # loads ssl

        return SecureSession(inner, context or client_context(), server_hostname=host)

    def answered(self, response: Accept | Reject | None) -> Accept | None:
        """Decide what follows from the answer to an attempt, and end an attempt that failed.

        Call it once for each attempt, and not in the middle of a call of its session.

        Args:
            response: what `Handler.on_response` was given; None if the connection ended without.

        Returns:
            The answer that opened the connection; None to connect to `endpoint` and begin again.

        Raises:
            ConnectError: the server refused, or did not answer as a WebSocket server; the text
                names it and the reason.
        """
        layer, self._layer = self._layer, None
        tunnel, self._tunnel = self._tunnel, None
        if isinstance(response, Accept):
            return response
        if layer:
            layer.lost()
        response = response or _LOST
        if response.status in REDIRECTS:
            self._follow(response)
            return None
        raise self._refusal(response, tunnel)

    def failed(self, reason: str) -> ConnectError:
        """The error to raise if connecting to `endpoint` failed."""
        return self._error(f"{self._through}{reason}")

    @property
    def _through(self) -> str:
        """How a proxy's reasons begin."""
        return f"proxy {self._proxy.address}: " if self._proxy else ""

    # -- redirects --------------------------------------------------------------------------------

    def _follow(self, response: Reject) -> None:
        locations = response.headers.get_all("location")
        if len(locations) != 1:
            raise self._error("redirected without exactly one Location", response)
        if self._redirects_left <= 0:
            raise self._error(f"redirected once too often: {shown_url(locations[0])}", response)
        self._redirects_left -= 1
        old, new = self.target, self._resolved(locations[0], response)
        if (old.secure, old.host, old.port) != (new.secure, new.host, new.port):
            if self._unix is not None:
                raise self._error("redirected away from a Unix socket", response)
            self._headers = self._harmless()
        try:
            self._aim(new)
        except ValueError as error:  # there is no way through the proxy that is meant for it
            raise self._error(f"redirected to {new.authority}: {error}", response) from None

    def _harmless(self) -> Headers:
        """The caller's header fields that another origin may see."""
        secret = self._credentials
        if secret is None:
            return Headers()
        return Headers.parsed(field for field in self._headers.fields() if field[0] not in secret)

    def _resolved(self, location: str, response: Reject) -> WebSocketURI:
        """Where a Location leads (RFC 9110, section 10.2.2)."""
        old = self.target
        base = f"{'wss' if old.secure else 'ws'}://{old.authority}{old.request_target}"
        try:
            url = urldefrag(urljoin(base, location)).url
            scheme, _, rest = url.partition("://")
            new = parse_uri(f"{WEBSOCKET_SCHEMES.get(scheme.lower(), scheme)}://{rest}")
        except ValueError:
            reason = f"redirected to what is not a WebSocket URL: {shown_url(location)}"
            raise self._error(reason, response) from None
        if old.secure and not new.secure:
            raise self._error(f"redirected from wss to ws: {shown_url(location)}", response)
        return new

    # -- refusals ---------------------------------------------------------------------------------

    def _refusal(self, response: Reject, tunnel: Tunnel | None) -> ConnectError:
        reason = shown_text(response.body.decode("utf-8", "replace"))
        if response.status:
            refused = f"refused with status {response.status}: {reason}".removesuffix(": ")
            return self._error(refused, response)
        if tunnel and tunnel.status:
            return self._error(reason, Reject(tunnel.status, tunnel.headers))
        of_proxy = self._through and reason.startswith(self._through)
        if reason.endswith(_NO_TLS):
            reason = f"{reason}: use {'http' if of_proxy else 'ws'}:// if that is meant"
        untrusted = reason.removeprefix(self._through).startswith(_UNTRUSTED)
        return self._error(reason, untrusted=untrusted)

    def _error(
        self, reason: str, response: Reject | None = None, untrusted: bool = False
    ) -> ConnectError:
        headers = response.headers if response else Headers()
        return ConnectError(
            f"{self.target.authority}: {reason}",
            response.status if response else None,
            retry_after=_retry_after(headers),
            headers=headers,
            untrusted=untrusted,
        )


def _field_names(credentials: Collection[str]) -> set[str]:
    for name in credentials:
        if not is_token(name):  # it would protect nothing
            raise LocalProtocolError(f"credentials: {name!r} is not the name of a header field")
    return {*_CREDENTIALS, *(name.lower() for name in credentials)}


def _retry_after(headers: Headers) -> float | None:
    """The seconds of Retry-After; a date is ignored, because it needs a clock that is right."""
    values = headers.get_all("retry-after")
    if len(values) == 1 and values[0].isascii() and values[0].isdecimal():
        return float(values[0])
    return None
