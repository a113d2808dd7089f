"""Transcripts of the dialect `sono.v2`, and what plays them. docs/transcripts.md.

`python -m sono_server.conformance ws://…` plays them to a server in any language.
"""

from .matching import Mismatch
from .player import Client, Closed, Failed, Message, Server, Skipped, play
from .transcripts import Transcript, TranscriptError, load, parse

__all__ = [
    "Client",
    "Closed",
    "Failed",
    "Message",
    "Mismatch",
    "Server",
    "Skipped",
    "Transcript",
    "TranscriptError",
    "load",
    "parse",
    "play",
]
