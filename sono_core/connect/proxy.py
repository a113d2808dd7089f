"""Which proxy a client goes through, and what a proxy's URL says.

The caller passes the environment in as a mapping. The rules are those of the standard library's
`urllib.request`, which cannot be imported here because it loads `socket`.
"""

import base64
from collections.abc import Iterable, Mapping
from urllib.parse import unquote

from sono_core.quoting import Discreet, shown_url

from .uri import WEBSOCKET_SCHEMES, WebSocketURI, parse_uri

# Variables that name the proxy, by whether the connection is secure; the first one counts.
_VARIABLES = {
    True: ("wss_proxy", "https_proxy", "all_proxy"),
    False: ("ws_proxy", "http_proxy", "all_proxy"),
}


class Proxy(Discreet, frozen=True):
    """An HTTP proxy."""

    secure: bool
    """Whether the connection to the proxy itself uses TLS, whatever its tunnel carries."""
    host: str
    port: int
    address: str
    """Host and port, as errors name them."""
    authorization: str | None
    """The value of Proxy-Authorization, or None."""

    def shown(self) -> Iterable[tuple[str, object]]:
        """See `Discreet`."""
        yield "secure", self.secure
        yield "address", self.address


def parse_proxy(url: str) -> Proxy:
    """Parse a proxy's URL: `http://user:password@host:port`, or `host:port` alone.

    Raises:
        ValueError: it is malformed, or for another kind of proxy. The text holds no password.
    """
    scheme, _, rest = url.partition("://") if "://" in url else ("http", "", url)
    userinfo, at, place = rest.removesuffix("/").rpartition("@")
    shown = f"'{shown_url(place)}'"
    if scheme.lower() not in WEBSOCKET_SCHEMES:
        raise ValueError(f"proxy {shown}: only http and https proxies are supported")
    try:
        target = parse_uri(f"{WEBSOCKET_SCHEMES[scheme.lower()]}://{place}")
    except ValueError:
        target = None
    if target is None or target.request_target != "/":
        raise ValueError(f"proxy {shown}: a proxy's URL has the form http://host:port")
    return Proxy(
        secure=target.secure,
        host=target.host,
        port=target.port,
        address=address(target.host, target.port),
        authorization=_basic(userinfo) if at else None,
    )


def address(host: str, port: int) -> str:
    """Host and port as in a URL."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _basic(userinfo: str) -> str:
    """The credentials of RFC 7617, from the part of a URL before the @."""
    user, _, password = userinfo.partition(":")
    if ":" in unquote(user):  # the other side could not tell where the password begins
        raise ValueError("proxy: a user name with a colon cannot be sent")
    credentials = f"{unquote(user)}:{unquote(password)}".encode()
    return f"Basic {base64.b64encode(credentials).decode()}"


def proxy_for(target: WebSocketURI, environ: Mapping[str, str]) -> str | None:
    """The URL of the proxy that the environment names for a connection, or None.

    It reads `wss_proxy`, `https_proxy` and `all_proxy`, or `ws_proxy`, `http_proxy` and
    `all_proxy`, each in lower case, then in upper case; an empty one in lower case hides the
    other. `no_proxy` lists the hosts that need no proxy: `*` for all, or names, addresses and
    `host:port`, where a name includes its subdomains. As with curl, this machine has no other rule.

    Raises:
        ValueError: the proxy is not supported; the text names the variable.
    """
    if _is_exempt(target, _variable("no_proxy", environ)):
        return None
    for name in _VARIABLES[target.secure]:
        if url := _variable(name, environ):
            try:
                parse_proxy(url)
            except ValueError as error:
                name = name if name in environ else name.upper()
                without = f"to go without, put {target.host} into no_proxy, or pass proxy=None"
                raise ValueError(f"{name} in the environment: {error}; {without}") from None
            return url
    return None


def _variable(name: str, environ: Mapping[str, str]) -> str:
    if name in environ:
        return environ[name].strip()
    if name == "http_proxy" and "REQUEST_METHOD" in environ:
        return ""  # in a CGI script a request's header Proxy sets HTTP_PROXY ("httpoxy")
    return environ.get(name.upper(), "").strip()


def _is_exempt(target: WebSocketURI, rules: str) -> bool:
    host = target.host.removesuffix(".")
    names = [host, address(host, target.port)]
    if ":" in host:
        names.append(f"[{host}]")
    for rule in rules.lower().split(","):
        rule = rule.strip().strip(".")
        if rule == "*" or any(rule and f".{name}".endswith(f".{rule}") for name in names):
            return True
    return False
