"""Which pages may connect. RFC 6455, section 10.2."""

from collections.abc import Collection
from urllib.parse import SplitResult, urlsplit

from sono_core.errors import HandshakeFailure
from sono_core.http import is_host

_DEFAULT_PORTS = {"http": 80, "https": 443, "ws": 80, "wss": 443}


def origin_allowed(origin: str | None, host: str, allowed: Collection[str]) -> bool:
    """Whether a page of that origin may connect (section 10.2).

    Requests without an origin do not come from browsers, and are allowed. So is the origin of
    `host` itself, where a missing port means the default of the origin's scheme on both sides.
    Any other must be in `allowed`, character for character; `"*"` in it allows all.
    """
    if origin is None or origin in allowed or "*" in allowed:
        return True
    if origin in (f"http://{host}", f"https://{host}"):  # the common case, without parsing
        return True
    try:
        page, own = urlsplit(origin), urlsplit(f"//{host}")
        default = _DEFAULT_PORTS.get(page.scheme)
        return (
            default is not None
            and origin == f"{page.scheme}://{page.netloc}"
            and is_host(page.netloc)  # rules out a user, and text around an IPv6 literal
            and page.hostname == own.hostname
            and _port(page, default) == _port(own, default)
        )
    except ValueError:
        return False


def check_origin(origin: str | None, host: str, allowed: Collection[str]) -> None:
    """Check that a page of that origin may connect; see `origin_allowed`.

    Raises:
        HandshakeFailure: 403.
    """
    if not origin_allowed(origin, host, allowed):
        raise HandshakeFailure(403, "this origin is not allowed")


def _port(address: SplitResult, default: int) -> int:
    return default if address.port is None else address.port
