"""What clients of either kind make of their arguments and of the environment."""

import os
import sys

import msgspec

from sono_core import Limits
from sono_core.connect import ProxyChoice, proxy_for

PING_BYTES = 8
"""Random bytes of a ping, by which its pong is known."""


def client_limits(limits: Limits) -> Limits:
    """Those for a client's session on asyncio.

    That much waits to be written does not stop it from reading: else two sides that both send
    large messages would wait for each other. What pongs may take is bounded by the transport.
    """
    return msgspec.structs.replace(limits, pause_reading_at=sys.maxsize)


def blocking_limits(limits: Limits) -> Limits:
    """Those for a session of the blocking client."""
    return msgspec.structs.replace(
        limits,
        # What follows a message is not looked at before the application has answered it, so that
        # an answer still goes out when what follows ends the connection.
        max_turn_messages=1,
        # The application waits until what it sends is written, and the link bounds the pongs.
        pause_reading_at=sys.maxsize,
        max_queue=sys.maxsize,
    )


def chosen_proxy(proxy: str | bool | None) -> ProxyChoice:
    """Which proxy to use: a URL, the environment's for True, or none.

    Raises:
        TypeError: it is nothing of that.
    """
    if proxy is True:
        return lambda target: proxy_for(target, os.environ)
    if isinstance(proxy, str):
        return proxy
    if proxy in (None, False):
        return None
    raise TypeError(f"proxy must be a URL, True or None, not {proxy!r}")
