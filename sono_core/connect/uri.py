"""WebSocket URIs. RFC 6455, section 3."""

import re
from collections.abc import Iterable
from urllib.parse import quote, urlsplit

from sono_core.events import Request
from sono_core.headers import Headers
from sono_core.quoting import Discreet, shown_path, shown_url

from .hosts import parse_host

_PORTS = {"ws": 80, "wss": 443}
WEBSOCKET_SCHEMES = {"http": "ws", "https": "wss"}
"""What is meant where HTTP's schemes stand; the default ports are the same."""
_is_place = re.compile(r"(?P<host>\[[^\[\]]*\]|[^:\[\]]*)(?::(?P<port>0*[0-9]{0,5}))?").fullmatch
_UNRESERVED = "/?%:@!$&'()*+,;=~"  # legal in a path and a query as they are (RFC 3986)


class WebSocketURI(Discreet, frozen=True):
    """The parts of a WebSocket URI."""

    secure: bool
    host: str
    port: int
    request_target: str
    authority: str
    """Host and, unless it is the scheme's default, port: the Host header."""

    def shown(self) -> Iterable[tuple[str, object]]:
        """See `Discreet`."""
        yield "secure", self.secure
        yield "authority", self.authority
        yield "path", shown_path(self.request_target)

    def request(self, subprotocols: tuple[str, ...] = (), headers: Headers = Headers()) -> Request:  # noqa: B008 - immutable
        """The request that opens a connection there."""
        return Request(self.request_target, headers, host=self.authority, subprotocols=subprotocols)


def parse_uri(url: str) -> WebSocketURI:
    """Parse a `ws` or `wss` URI (RFC 6455, section 3).

    Raises:
        ValueError: it is not such a URI, or has a user name or a fragment. The text quotes no more
            of it than `quoting` allows.
        TypeError: it is not a str.
    """
    if not isinstance(url, str):
        raise TypeError(f"url must be a str, not {type(url).__name__}")
    quoted = f"'{shown_url(url)}'"
    try:
        parts = urlsplit(url)
        place = _is_place(parts.netloc.rpartition("@")[2])
    except ValueError:  # its own text quotes all of the URL
        place = None
    if place is None or parts.scheme not in _PORTS or not place["host"]:
        raise ValueError(f"{quoted} is not a WebSocket URL, such as ws://host/path")
    if parts.fragment or "@" in parts.netloc:
        raise ValueError(f"{quoted}: a WebSocket URL has no fragment and no user name")
    port = int(place["port"] or _PORTS[parts.scheme])
    if not 0 < port <= 65535:
        raise ValueError(f"{quoted}: the port must be from 1 to 65535")
    try:
        host = parse_host(place["host"])
    except ValueError:
        kind = "an address without a zone" if "[" in place["host"] else "a domain name"
        raise ValueError(f"{quoted}: the host is not {kind}") from None
    try:
        target = quote(parts.path, safe=_UNRESERVED) or "/"
        query = quote(parts.query, safe=_UNRESERVED)
    except UnicodeEncodeError:
        raise ValueError(f"{quoted}: a lone surrogate cannot be sent") from None
    authority = f"[{host}]" if ":" in host else host
    if port != _PORTS[parts.scheme]:
        authority = f"{authority}:{port}"
    if query:
        target = f"{target}?{query}"
    return WebSocketURI(parts.scheme == "wss", host, port, target, authority)
