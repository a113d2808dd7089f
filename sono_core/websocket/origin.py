"""Which pages may connect, and under which names they reach the server. RFC 6455, section 10.2."""

import re
from collections.abc import Collection
from urllib.parse import SplitResult, urlsplit

from sono_core.errors import HandshakeFailure
from sono_core.events import Request
from sono_core.http import is_host

_DEFAULT_PORTS = {"http": 80, "https": 443}
_is_name = re.compile(r"\*|\.?[\w-]+(?:\.[\w-]+)*\.?|[0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*")
_is_ipv4 = re.compile(r"[0-9.]+").fullmatch  # a browser takes a name that ends in a number for one
_MAX_NAME = 253  # characters of a host's name: RFC 1035, section 2.3.4
# Proxies add these. No page can: WebSocket of browsers takes no headers.
_OF_PROXIES = (
    "forwarded",
    "via",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-proto",
    "x-real-ip",
)


class AllowedHosts:
    """The names under which pages reach a server as pages of its own: against DNS rebinding.

    Whoever owns a name can let it point to this server's address. A page of that name is then of
    the same origin as the server that it reaches, and only the name tells that it is foreign.
    Addresses, `localhost` and names in it are always allowed, because nobody can own them.

    Args:
        names: host names without port; with a period before it, a domain and every name in it;
            `"*"` stands for every name.
        proxied: allow any name if a proxy passed the request on.

    Raises:
        ValueError: a name is none.
        TypeError: `names` is a str.
    """

    __slots__ = ("_names", "_proxied")

    def __init__(self, names: Collection[str] = (), *, proxied: bool = False) -> None:
        if isinstance(names, str):  # each letter would count as one
            raise TypeError("hosts must be a collection of str, not a str")
        for name in names:
            if not _is_name.fullmatch(name):
                raise ValueError(f"hosts: {name!r} is not the name of a host")
        self._names = frozenset(name.lower().rstrip(".") for name in names)
        self._proxied = proxied

    def allow(self, request: Request) -> bool:
        """Whether the host that a request names is one of them."""
        try:
            name = (urlsplit(f"//{request.host}").hostname or "").rstrip(".")
        except ValueError:
            return False
        if len(name) > _MAX_NAME:
            return False
        if name == "localhost" or name.endswith(".localhost") or ":" in name or _is_ipv4(name):
            return True
        names = self._names
        if name in names or "*" in names:
            return True
        labels = name.split(".")
        if any(f".{'.'.join(labels[first:])}" in names for first in range(len(labels))):
            return True
        return self._proxied and any(field in request.headers for field in _OF_PROXIES)


def origin_allowed(
    origin: str | None, host: str, allowed: Collection[str], scheme: str = "http"
) -> bool:
    """Whether a page of that origin may connect (section 10.2).

    Requests without an origin do not come from browsers, and are allowed. So is the origin of
    `host` itself, where a missing port means the default of the origin's scheme on both sides.
    Any other must be in `allowed`, character for character; `"*"` in it allows all.

    Args:
        scheme: of the request. A page of http is foreign to a server of https. A page of https is
            not foreign to a server of http, which may stand behind a proxy that ends TLS.
    """
    return origin is None or origin in allowed or "*" in allowed or _is_own(origin, host, scheme)


def _is_own(origin: str, host: str, scheme: str) -> bool:
    """Whether an origin is the server's own."""
    plain = scheme != "https"
    if origin == f"https://{host}" or (plain and origin == f"http://{host}"):
        return True  # the common case, without parsing
    try:
        page, own = urlsplit(origin), urlsplit(f"//{host}")
        default = _DEFAULT_PORTS.get(page.scheme)
        return (
            default is not None
            and (plain or page.scheme == "https")
            and origin == f"{page.scheme}://{page.netloc}"
            and is_host(page.netloc)  # rules out a user, and text around an IPv6 literal
            and page.hostname == own.hostname
            and _port(page, default) == _port(own, default)
        )
    except ValueError:
        return False


def check_origin(
    origin: str | None,
    request: Request,
    allowed: Collection[str],
    hosts: AllowedHosts | None = None,
) -> None:
    """Check that a page of that origin may connect; see `origin_allowed`.

    Args:
        hosts: names under which an origin counts as the server's own; None for any.

    Raises:
        HandshakeFailure: 403.
    """
    if not origin_allowed(origin, request.host, allowed, request.scheme):
        raise HandshakeFailure(403, "this origin is not allowed")
    named = origin is None or origin in allowed or "*" in allowed
    if hosts is not None and not named and not hosts.allow(request):
        raise HandshakeFailure(
            403, "this host is not allowed; the server's option `hosts` names it"
        )


def _port(address: SplitResult, default: int) -> int:
    return default if address.port is None else address.port
