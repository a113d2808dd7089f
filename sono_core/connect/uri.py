"""WebSocket URIs. RFC 6455, section 3."""

from urllib.parse import quote, urlsplit

import msgspec

from sono_core.events import Request
from sono_core.headers import Headers
from sono_core.http import is_host

_PORTS = {"ws": 80, "wss": 443}
WEBSOCKET_SCHEMES = {"http": "ws", "https": "wss"}
"""What is meant where HTTP's schemes stand; the default ports are the same."""


_UNRESERVED = "/?%:@!$&'()*+,;=~"  # what a path and a query may hold as it is (RFC 3986)


class WebSocketURI(msgspec.Struct, frozen=True):
    """What a WebSocket URI names."""

    secure: bool
    host: str
    port: int
    request_target: str
    authority: str
    """Host and, unless it is the scheme's default, port: the Host header."""

    def request(self, subprotocols: tuple[str, ...] = (), headers: Headers = Headers()) -> Request:  # noqa: B008 - immutable
        """The request that opens a connection there."""
        return Request(self.request_target, headers, host=self.authority, subprotocols=subprotocols)


def parse_uri(url: str) -> WebSocketURI:
    """Take a `ws` or `wss` URI apart (RFC 6455, section 3).

    Raises:
        ValueError: it is no such URI, or holds a user name or a fragment.
    """
    try:
        parts = urlsplit(url)
        port = _PORTS.get(parts.scheme) if parts.port is None else parts.port
    except ValueError as error:
        raise ValueError(f"{url!r} is no URL: {error}") from None
    if not port or not parts.hostname or parts.scheme not in _PORTS:
        raise ValueError(f"{url!r} is no WebSocket URL: ws://host/path is")
    if parts.fragment or "@" in parts.netloc:
        raise ValueError(f"{url!r}: a WebSocket URL has no fragment and no user name")
    try:
        host = parts.hostname.encode("idna").decode()
    except UnicodeError:
        raise ValueError(f"{url!r}: the host is no domain name") from None
    authority = f"[{host}]" if ":" in host else host
    if not is_host(authority):
        raise ValueError(f"{url!r}: the host is no domain name")
    if port != _PORTS[parts.scheme]:
        authority = f"{authority}:{port}"
    target = quote(parts.path, safe=_UNRESERVED) or "/"
    if parts.query:
        target = f"{target}?{quote(parts.query, safe=_UNRESERVED)}"
    return WebSocketURI(parts.scheme == "wss", host, port, target, authority)
