"""What both clients do in `sono.v2`, without I/O: the words, the tickets, who is told what.

`sono_core.messaging.lossless.client` decides; the clients move the bytes and call the application.
"""

from .channels import ChannelView
from .hooks import Handlers, Hooks
from .listening import Listening
from .options import CodecName, Dialect, LosslessOptions
from .talk import Talk
from .tickets import Job, Question, Renewal, Ticket, failure_of
from .values import (
    About,
    ClientSession,
    ClientStatus,
    Gap,
    History,
    HistoryEntry,
    Received,
)

__all__ = [
    "About",
    "ChannelView",
    "ClientSession",
    "ClientStatus",
    "CodecName",
    "Dialect",
    "Gap",
    "Handlers",
    "History",
    "HistoryEntry",
    "Hooks",
    "Job",
    "Listening",
    "LosslessOptions",
    "Question",
    "Received",
    "Renewal",
    "Talk",
    "Ticket",
    "failure_of",
]
