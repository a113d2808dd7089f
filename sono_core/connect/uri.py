"""WebSocket URIs. RFC 6455, section 3."""

from urllib.parse import quote, urlsplit

import msgspec

from sono_core.events import Request
from sono_core.headers import Headers
from sono_core.http import is_host

_PORTS = {"ws": 80, "wss": 443}
WEBSOCKET_SCHEMES = {"http": "ws", "https": "wss"}
"""What is meant where HTTP's schemes stand; the default ports are the same."""

_UNRESERVED = "/?%:@!$&'()*+,;=~"  # legal in a path and a query as they are (RFC 3986)


class WebSocketURI(msgspec.Struct, frozen=True):
    """The parts of a WebSocket URI."""

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
    """Parse a `ws` or `wss` URI (RFC 6455, section 3).

    Raises:
        ValueError: it is not such a URI, or has a user name or a fragment.
    """
    try:
        parts = urlsplit(url)
        port = _PORTS.get(parts.scheme) if parts.port is None else parts.port
    except ValueError as error:
        raise ValueError(f"{url!r} is not a URL: {error}") from None
    if not port or not parts.hostname or parts.scheme not in _PORTS:
        raise ValueError(f"{url!r} is not a WebSocket URL, such as ws://host/path")
    if parts.fragment or "@" in parts.netloc:
        raise ValueError(f"{url!r}: a WebSocket URL has no fragment and no user name")
    try:
        host = parts.hostname.encode("idna").decode()
    except UnicodeError:
        raise ValueError(f"{url!r}: the host is not a domain name") from None
    authority = f"[{host}]" if ":" in host else host
    if not is_host(authority):
        raise ValueError(f"{url!r}: the host is not a domain name")
    if port != _PORTS[parts.scheme]:
        authority = f"{authority}:{port}"
    target = quote(parts.path, safe=_UNRESERVED) or "/"
    if parts.query:
        target = f"{target}?{quote(parts.query, safe=_UNRESERVED)}"
    return WebSocketURI(parts.scheme == "wss", host, port, target, authority)
