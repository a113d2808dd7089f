"""Where a client connects, through what, and when it tries again."""

from .backoff import Backoff, Reconnection, retryable
from .connector import Connector, Endpoint, ProxyChoice
from .proxy import proxy_for
from .uri import WebSocketURI, parse_uri

__all__ = [
    "Backoff",
    "Connector",
    "Endpoint",
    "ProxyChoice",
    "Reconnection",
    "WebSocketURI",
    "parse_uri",
    "proxy_for",
    "retryable",
]
