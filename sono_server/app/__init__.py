"""`Sono`, its clients and its channels: what applications are written against."""

from .clients import Channel, Client
from .sono import Sono

__all__ = ["Channel", "Client", "Sono"]
