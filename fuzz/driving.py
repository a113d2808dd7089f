"""Feeds one input to one `Connection`: with which settings, in which pieces, on which path."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from random import Random
from typing import NamedTuple

from sono_core import BinaryMessage, Close, Connection, Event, Limits, Role, State, TextMessage
from sono_core.native.kernels import pure_apply_mask
from sono_core.websocket import connection as connection_module
from sono_core.websocket import frames as frames_module
from sono_core.websocket.deflate import Agreement
from sono_core.websocket.outbox import Outbox
from sono_core.websocket.reader import MessageReader

LIMITS = (Limits(), Limits(max_message=1000, max_frame=600, max_fragments=8))
AGREEMENTS = (
    None,
    Agreement(),
    Agreement(
        server_no_context_takeover=True,
        client_no_context_takeover=True,
        server_max_window_bits=9,
        client_max_window_bits=9,
    ),
)
PULLS = ("events", "next", "deliver")
"""Ways to get the events: from the iterator, at the end only, or with messages to a callback."""

_ONE_BY_ONE = 500  # bytes; a longer input is cut into this many pieces at most


class Setting(NamedTuple):
    """The result of the handshake."""

    role: Role
    agreement: Agreement | None
    limits: Limits


SETTINGS = tuple(
    Setting(role, agreement, limits)
    for role in (Role.SERVER, Role.CLIENT)
    for agreement in AGREEMENTS
    for limits in LIMITS
)


class Way(NamedTuple):
    """How an input is handed over."""

    cuts: str
    """ "whole", "bytes", or "random"."""
    pull: str

    def pieces(self, data: bytes, source: Random) -> list[bytes]:
        """The data in pieces, none of them empty."""
        if self.cuts == "whole":
            edges = [0, len(data)]
        elif self.cuts == "bytes":
            step = 1 + len(data) // _ONE_BY_ONE
            edges = [*range(0, len(data), step), len(data)]
        else:
            inner = (source.randint(0, len(data)) for _ in range(source.randint(1, 5)))
            edges = [0, *sorted(inner), len(data)]
        return [data[start:end] for start, end in itertools.pairwise(edges) if start < end]


class Outcome(NamedTuple):
    """The result of an input, and then of the end of the stream."""

    events: list[Event]
    before_end: int
    """How many of them came before the end."""
    sent: bytes
    state_before_end: State
    state: State


# Where a connection enters the native path.
_PURE = (
    (connection_module, "message_reader", MessageReader),
    (connection_module, "new_outbox", Outbox),
    (frames_module, "apply_mask", pure_apply_mask),
)


@contextmanager
def pure_path() -> Iterator[None]:
    """Connections that are opened and messages that are encoded here do not use the extension."""
    saved = [(module, name, getattr(module, name)) for module, name, _ in _PURE]
    for module, name, pure in _PURE:
        setattr(module, name, pure)
    try:
        yield
    finally:
        for module, name, native in saved:
            setattr(module, name, native)


def opened(setting: Setting) -> Connection:
    """An open connection.

    It takes only the last step of the handshake: the handshake itself is all Python, and takes ten
    times as long as most inputs.
    """
    source = Random(0).randbytes if setting.role is Role.CLIENT else None
    connection = Connection(setting.role, limits=setting.limits, random=source)
    connection._open(setting.agreement, b"")
    return connection


def outcome(setting: Setting, pieces: list[bytes], pull: str) -> Outcome:
    """Hand the pieces over, then the end of the stream."""
    connection = opened(setting)
    events: list[Event] = []

    def take(message: str | bytes) -> None:
        events.append(TextMessage(message) if isinstance(message, str) else BinaryMessage(message))

    def deliver() -> bool:
        if connection.state is not State.OPEN or connection.reader is None:
            return False
        connection.outbox.room = 1 << 30  # as a session grants it
        messages, *_ = connection.reader.deliver(take, connection.outbox, 1 << 30, 3, 1 << 20)
        return messages > 0

    def rest() -> None:
        while True:
            if pull == "deliver" and deliver():
                continue
            event = connection.next_event()
            if event is None:
                break
            events.append(event)

    for piece in pieces:
        found = connection.receive_data(piece)
        if pull == "events":
            events.extend(found)
        elif pull == "deliver":
            rest()
    rest()
    before_end, state = len(events), connection.state
    connection.receive_data(b"")
    rest()
    return Outcome(events, before_end, connection.data_to_send(), state, connection.state)


def faults(found: Outcome) -> list[str]:
    """The rule that an outcome breaks by itself, without comparing."""
    wrong = []
    closes = [event for event in found.events if isinstance(event, Close)]
    if len(closes) != 1 or found.events[-1] is not closes[0]:
        wrong.append("Close is not once and last")
    if found.state is not State.CLOSED:
        wrong.append(f"the connection ended {found.state.value}")
    for event in found.events:
        if isinstance(event, TextMessage) and type(event.text) is not str:
            wrong.append("a text is no str")
        if isinstance(event, BinaryMessage) and type(event.data) is not bytes:
            wrong.append("binary data is not bytes")
    return wrong
