"""Where a client connects, through what, and when it tries again."""

from .backoff import Backoff, Reconnection
from .connector import Connector, Endpoint, ProxyChoice
from .proxy import proxy_for

__all__ = ["Backoff", "Connector", "Endpoint", "ProxyChoice", "Reconnection", "proxy_for"]
