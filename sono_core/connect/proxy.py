"""Which proxy a client goes through, and what stands in a proxy's URL.

The environment is a mapping that the caller passes in. Its rules are those of the standard
library's `urllib.request`, which this cannot import, for that loads `socket`.
"""

import base64
from collections.abc import Mapping
from urllib.parse import unquote

import msgspec

from .uri import WEBSOCKET_SCHEMES, WebSocketURI, parse_uri

# Variables that name the proxy, by whether the connection is to be secure; the first one counts.
_VARIABLES = {
    True: ("wss_proxy", "https_proxy", "all_proxy"),
    False: ("ws_proxy", "http_proxy", "all_proxy"),
}


class Proxy(msgspec.Struct, frozen=True):
    """An HTTP proxy."""

    secure: bool
    """Whether TLS is spoken with the proxy itself, whatever goes through its tunnel."""
    host: str
    port: int
    address: str
    """Host and port, for people."""
    authorization: str | None
    """The value of Proxy-Authorization."""


def parse_proxy(url: str) -> Proxy:
    """Take a proxy's URL apart: `http://user:password@host:port`, or `host:port` alone.

    Raises:
        ValueError: it is no such URL, or of another kind of proxy. The text holds no password.
    """
    scheme, _, rest = url.partition("://") if "://" in url else ("http", "", url)
    userinfo, at, place = rest.removesuffix("/").rpartition("@")
    if scheme.lower() not in WEBSOCKET_SCHEMES:
        raise ValueError(f"proxy {place!r}: only those with an http or https URL are supported")
    try:
        target = parse_uri(f"{WEBSOCKET_SCHEMES[scheme.lower()]}://{place}")
    except ValueError:
        target = None
    if target is None or target.request_target != "/":
        raise ValueError(f"proxy {place!r}: a proxy's URL is http://host:port")
    return Proxy(
        secure=target.secure,
        host=target.host,
        port=target.port,
        address=address(target.host, target.port),
        authorization=_basic(userinfo) if at else None,
    )


def address(host: str, port: int) -> str:
    """Both in one, as they stand in a URL."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _basic(userinfo: str) -> str:
    """The credentials of RFC 7617, of what a URL holds before the @."""
    user, _, password = userinfo.partition(":")
    if ":" in unquote(user):  # the other side could not tell where the password begins
        raise ValueError("proxy: a user name with a colon cannot be sent")
    credentials = f"{unquote(user)}:{unquote(password)}".encode()
    return f"Basic {base64.b64encode(credentials).decode()}"


def proxy_for(target: WebSocketURI, environ: Mapping[str, str]) -> str | None:
    """The URL of the proxy that the environment names for a connection, or None.

    `wss_proxy`, `https_proxy` and `all_proxy`, or `ws_proxy`, `http_proxy` and `all_proxy`, each
    in lower case, then in upper case; an empty one in lower case hides the other. `no_proxy`
    lists the hosts that are reached without: `*` for all, or names, addresses and `host:port`,
    where a name stands for its subdomains too.
    """
    if _is_exempt(target, _variable("no_proxy", environ)):
        return None
    found = (_variable(name, environ) for name in _VARIABLES[target.secure])
    return next(filter(None, found), None)


def _variable(name: str, environ: Mapping[str, str]) -> str:
    if name in environ:
        return environ[name].strip()
    if name == "http_proxy" and "REQUEST_METHOD" in environ:
        return ""  # in a CGI script a request's header Proxy sets HTTP_PROXY ("httpoxy")
    return environ.get(name.upper(), "").strip()


def _is_exempt(target: WebSocketURI, rules: str) -> bool:
    names = [target.host, address(target.host, target.port)]
    if ":" in target.host:
        names.append(f"[{target.host}]")
    for rule in rules.lower().split(","):
        rule = rule.strip().lstrip(".")
        if rule == "*" or any(rule and f".{name}".endswith(f".{rule}") for name in names):
            return True
    return False
