"""Where a client connects, through what, and when it tries again."""

from .backoff import Backoff, Reconnection
from .connector import Opening, Place, ProxyChoice
from .proxy import proxy_for

__all__ = ["Backoff", "Opening", "Place", "ProxyChoice", "Reconnection", "proxy_for"]
