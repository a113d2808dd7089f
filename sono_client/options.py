"""The options of `connect` and `connect_async`, and what is made of them and the environment.

A new option is a field of `Options`, a line of `ConnectOptions` and its use. Signatures and
docstrings of the functions that take it are made from the field.
"""

import os
import ssl as tls
import sys
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, TypedDict

import msgspec

from sono_core import Deflate, Limits, Timeouts
from sono_core.arguments import require_type
from sono_core.connect import Connector, ProxyChoice, proxy_for
from sono_core.limits import DEFAULT_LIMITS, DEFAULT_TIMEOUTS, require_positive
from sono_core.tls import check_context
from sono_core.websocket import DEFAULT_DEFLATE

PING_BYTES = 8
"""Random bytes of a ping, by which its pong is known."""


@dataclass(frozen=True, kw_only=True, repr=False)  # which would show headers and passwords
class Options:
    """How to connect. This and `connector` raise if an option is wrong."""

    subprotocols: Annotated[Sequence[str], "to offer, in order of preference."] = ()
    headers: Annotated[
        Mapping[str, str] | Sequence[tuple[str, str]],
        "more header fields of the request, Origin or Authorization for instance. After a redirect "
        "no other origin sees them; see `credentials`.",
    ] = ()
    credentials: Annotated[
        Collection[str] | None,
        "names of those fields in `headers` that are secret: all others go along on a redirect to "
        "another scheme, host or port. Authorization, Cookie and Proxy-Authorization always are. "
        "None for all fields. The subprotocols are offered everywhere, and no redirect leads from "
        "wss to ws.",
    ] = None
    timeout: Annotated[
        float,
        "seconds for the connection, over all addresses of the host, of which the next is tried as "
        "soon as one fails or after 0.25 s (RFC 8305); to look the host up takes as long as the "
        "system lets it. Proxy, TLS and handshake together have `timeouts.handshake`. "
        "Both count anew for each redirect.",
    ] = 10.0
    limits: Annotated[
        Limits,
        "what the server may ask for; and for a Sono client, what it accepts of names and packets: "
        "`max_name`, `max_depth`, `max_containers` and `max_message`. `pause_reading_at`, "
        "`max_queue` and the fair share are a server's matter: here the application waits while it "
        "sends.",
    ] = DEFAULT_LIMITS
    timeouts: Annotated[Timeouts, "how long it may take."] = DEFAULT_TIMEOUTS
    deflate: Annotated[Deflate | None, "how permessage-deflate is offered, None not to."] = (
        DEFAULT_DEFLATE
    )
    ssl: Annotated[
        tls.SSLContext | None,
        "for wss; by default a context that verifies the server's certificate.",
    ] = None
    unix: Annotated[
        str | None,
        "the path of a Unix socket to connect to instead of the URL's host.",
    ] = None
    proxy: Annotated[
        str | bool | None,
        "the URL of an HTTP proxy, as `http://user:password@host:port`; True for what the "
        "environment says (`https_proxy`, `http_proxy`, `all_proxy`, `no_proxy`), for this machine "
        "too unless `no_proxy` names it; None for none.",
    ] = True
    max_redirects: Annotated[int, "beyond which the server is given up; 0 follows none."] = 10

    def __post_init__(self) -> None:
        require_positive("timeout", self.timeout, float)
        require_type("limits", self.limits, Limits)
        if self.ssl is not None:
            check_context("ssl", self.ssl, server_side=False)


class ConnectOptions(TypedDict, total=False):
    """The fields of `Options`, for type checkers."""

    subprotocols: Sequence[str]
    headers: Mapping[str, str] | Sequence[tuple[str, str]]
    credentials: Collection[str] | None
    timeout: float
    limits: Limits
    timeouts: Timeouts
    deflate: Deflate | None
    ssl: tls.SSLContext | None
    unix: str | None
    proxy: str | bool | None
    max_redirects: int


def connector(url: str, options: Options, limits: Limits) -> Connector:
    """The attempts to open one connection.

    Args:
        limits: those of its session.

    Raises:
        ValueError, TypeError, LocalProtocolError: as `Connector`.
    """
    return Connector(
        url,
        random=os.urandom,
        subprotocols=options.subprotocols,
        headers=options.headers,
        credentials=options.credentials,
        limits=limits,
        timeouts=options.timeouts,
        deflate=options.deflate,
        proxy=chosen_proxy(options.proxy),
        tls=options.ssl,
        unix=options.unix,
        max_redirects=options.max_redirects,
    )


def client_limits(limits: Limits) -> Limits:
    """Those for a client's session on asyncio.

    That much waits to be written does not stop it from reading: else two sides that both send
    large messages would wait for each other. The transport bounds the space for pongs.
    """
    return msgspec.structs.replace(limits, pause_reading_at=sys.maxsize)


def blocking_limits(limits: Limits) -> Limits:
    """Those for a session of the blocking client."""
    return msgspec.structs.replace(
        limits,
        # The application answers a message before the next one is parsed, so that the answer
        # still leaves if the next one ends the connection.
        max_turn_messages=1,
        # The application waits until its messages are written, and the transport bounds the pongs.
        pause_reading_at=sys.maxsize,
        max_queue=sys.maxsize,
    )


def chosen_proxy(proxy: str | bool | None) -> ProxyChoice:
    """Which proxy to use: a URL, the environment's for True, or none.

    Raises:
        TypeError: it is none of these.
    """
    if proxy is True:
        return lambda target: proxy_for(target, os.environ)
    if isinstance(proxy, str):
        return proxy
    if proxy is None or proxy is False:
        return None
    raise TypeError(f"proxy must be a URL, True or None, not {type(proxy).__name__}")
