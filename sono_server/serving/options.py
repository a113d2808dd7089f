"""The options of `serve` and `serve_async`: type, default, description and check of each.

A new option is a field of `Options`, a line of `ServeOptions` and its use. Signatures and
docstrings of the functions that take it are made from the field.
"""

import ssl as tls
import threading
from collections.abc import Collection
from dataclasses import dataclass
from typing import Annotated, TypedDict

from sono_core import CloseCode, Deflate, Limits, Timeouts
from sono_core.lifecycle import ends
from sono_core.limits import DEFAULT_LIMITS, DEFAULT_TIMEOUTS
from sono_core.websocket import DEFAULT_DEFLATE, AllowedHosts

from .forwarded import TrustedProxies


@dataclass(frozen=True, kw_only=True)
class Options:
    """How to serve.

    Raises:
        ValueError: an option is out of range, or `ssl` is not a server's context.
        TypeError: an option is of the wrong type, or a str where several are wanted.
    """

    ssl: Annotated[
        tls.SSLContext | None,
        "for TLS; `sono_core.tls.server_context` makes one.",
    ] = None
    limits: Annotated[Limits, "what a peer may ask for."] = DEFAULT_LIMITS
    timeouts: Annotated[Timeouts, "how long a peer may take."] = DEFAULT_TIMEOUTS
    deflate: Annotated[Deflate | None, "how permessage-deflate is used, None to refuse it."] = (
        DEFAULT_DEFLATE
    )
    origins: Annotated[
        Collection[str],
        """origins whose pages may connect, beside the server's own; `"*"` allows all.""",
    ] = ()
    hosts: Annotated[
        Collection[str] | None,
        "names of this server, beside `localhost` and addresses: a page whose name leads here and "
        """is not among them is foreign. `".example.com"` stands for a domain, `"*"` for any. """
        "None allows any, but on loopback addresses only if a proxy passed the request on.",
    ] = None
    max_connections: Annotated[
        int | None,
        "beyond it 503; None for the limit of file descriptors less 64.",
    ] = None
    drain: Annotated[
        float,
        "seconds that connections get to close after `stop`. The first 100 are closed at once, the "
        "others within half of that time, as most will come back elsewhere.",
    ] = 10.0
    close_code: Annotated[
        int,
        "what they are told: 1001, or 1012 if the server will be back at once.",
    ] = CloseCode.GOING_AWAY
    trusted_proxies: Annotated[
        Collection[str],
        "addresses and networks of reverse proxies whose X-Forwarded-For, -Proto and -Host are "
        """believed; `"unix"` for connections through the Unix socket.""",
    ] = ()
    watchdog: Annotated[
        float | None,
        "seconds after which is logged which handler blocks the loop; None for never.",
    ] = 1.0

    def __post_init__(self) -> None:
        for name, kind in (("limits", Limits), ("timeouts", Timeouts), ("deflate", Deflate)):
            value = getattr(self, name)
            if not isinstance(value, kind) and (name != "deflate" or value is not None):
                raise TypeError(f"{name} must be {kind.__name__}, not {type(value).__name__}")
        if self.ssl is not None:
            from sono_core.tls import check_context

            check_context("ssl", self.ssl, server_side=True)
        if self.max_connections is not None and self.max_connections < 1:
            raise ValueError(f"max_connections must be at least 1, not {self.max_connections}")
        if isinstance(self.origins, str):  # any part of it would be an allowed origin
            raise TypeError("origins must be a collection of str, not a str")
        if not self.drain >= 0:
            raise ValueError(f"drain must not be negative, but is {self.drain}")
        if self.close_code not in ends.SERVER_STOPS:
            raise ValueError(f"close_code must be 1001 or 1012, not {self.close_code}")
        if self.watchdog is not None and not 0 < self.watchdog <= threading.TIMEOUT_MAX:
            raise ValueError(f"watchdog must be finite and above 0, not {self.watchdog}")
        TrustedProxies(self.trusted_proxies)  # raises before anybody listens
        AllowedHosts(self.hosts or ())


class ASGIOptions(TypedDict, total=False):
    """The options that are not the ASGI server's business, for type checkers."""

    limits: Limits
    timeouts: Timeouts
    origins: Collection[str]
    hosts: Collection[str] | None
    max_connections: int | None


class StreamOptions(ASGIOptions, total=False):
    """Those that are not the business of whoever accepted a connection, for type checkers."""

    deflate: Deflate | None
    trusted_proxies: Collection[str]
    watchdog: float | None


class ServeOptions(StreamOptions, total=False):
    """The fields of `Options`, for type checkers."""

    ssl: tls.SSLContext | None
    drain: float
    close_code: int
