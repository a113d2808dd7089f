"""What the application hears of a client of `sono.v2` in its turn, beside the client's packets."""

from sono_core.events import Close
from sono_core.messaging.lossless import packets
from sono_core.messaging.lossless.server import Work
from sono_server.serving import WebSocket

from .away import Away
from .clients import Client
from .receipts import Promise

NO_PACKET = packets.Bye()
"""Stands for a packet where none has come."""


class News(Work, frozen=True):
    """Something about a client."""

    client: Client


class Connected(News, frozen=True):
    """A client is new."""


class Suspended(News, frozen=True):
    """It has lost its connection."""

    socket: WebSocket | Away
    """Which that was."""


class Resumed(News, frozen=True):
    """It has another."""


class Departed(News, frozen=True):
    """It has left a channel."""

    channel: str


class Review(News, frozen=True):
    """The application is asked about the channels where it is."""

    promise: Promise[list[str]]


class Gone(News, frozen=True):
    """It is gone."""

    close: Close
