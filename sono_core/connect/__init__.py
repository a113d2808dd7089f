"""Where a client connects, through what, and when it tries again."""

from .backoff import ADVICE, Advice, Backoff, Reconnection, advice, retry_after, retryable
from .connector import Connector, Endpoint, ProxyChoice
from .happy_eyeballs import AddressInfo, HappyEyeballs
from .proxy import proxy_for
from .uri import WebSocketURI, parse_uri

__all__ = [
    "ADVICE",
    "AddressInfo",
    "Advice",
    "Backoff",
    "Connector",
    "Endpoint",
    "HappyEyeballs",
    "ProxyChoice",
    "Reconnection",
    "WebSocketURI",
    "advice",
    "parse_uri",
    "proxy_for",
    "retry_after",
    "retryable",
]
