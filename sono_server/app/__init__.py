"""`Sono`, its clients and its channels: what applications are written against."""

from sono_core.errors import RequestFailed
from sono_core.messaging.lossless import History

from .clients import Channel, Client, RemoteClient
from .pages import HistoryEntry, HistoryPage, Presence
from .receipts import Promise
from .sono import Sono

__all__ = [
    "Channel",
    "Client",
    "History",
    "HistoryEntry",
    "HistoryPage",
    "Presence",
    "Promise",
    "RemoteClient",
    "RequestFailed",
    "Sono",
]
