"""A session's surroundings in memory: its transport, its handler, its peer and the time."""

from __future__ import annotations

import math
from collections.abc import Callable

from sono_core import Accept, Close, Connection, Event, Limits, Reject, Request, Role, Timeouts
from sono_core.lifecycle.interfaces import ENDLESS, Turn
from sono_core.lifecycle.session import Session
from sono_core.limits import DEFAULT_LIMITS, DEFAULT_TIMEOUTS
from tests.helpers import new_connection


class FakeTransport:
    """A stream whose other end takes `room` more bytes.

    It records whatever a session asks of it.
    """

    session: Session

    def __init__(self) -> None:
        self.now = 0.0
        self.room = math.inf
        self.wire = bytearray()
        """Written bytes that the peer has not taken yet."""
        self.asked: list[str] = []
        """The session's requests, in order."""

    def write_soon(self) -> None:
        self.asked.append("write_soon")

    def write_now(self) -> None:
        self.asked.append("write_now")
        self.write()

    def close(self) -> None:
        self.asked.append("close")

    def abort(self) -> None:
        self.asked.append("abort")

    def write(self) -> None:
        """Write what waits, as every transport does after each call of the session."""
        outbox = self.session.outbox
        while outbox.size:
            data = outbox.peek()
            size = int(min(len(data), self.room))
            self.room -= size
            self.wire += data[:size]
            if size:
                self.session.written(size, self.now)
            if size < len(data):
                self.session.blocked(self.now)
                return


class RecordingHandler:
    """Records what it is told, and does in each method what a test wants.

    Nested calls are an error.
    """

    def __init__(self) -> None:
        self.log: list[object] = []
        """The events in order; for messages and pongs their payloads; errors."""
        self.reactions: dict[str, Callable[[], object]] = {}
        """What to do in a method, by its name."""
        self._inside = False

    @property
    def closes(self) -> list[Close]:
        return [entry for entry in self.log if isinstance(entry, Close)]

    @property
    def errors(self) -> list[Exception]:
        return [entry for entry in self.log if isinstance(entry, Exception)]

    def on_request(self, request: Request) -> None:
        self._called("on_request", request)

    def on_response(self, response: Accept | Reject) -> None:
        self._called("on_response", response)

    def on_message(self, message: str | bytes, /) -> None:
        self._called("on_message", message)

    def on_pong(self, payload: bytes) -> None:
        self._called("on_pong", payload)

    def on_close(self, close: Close) -> None:
        self._called("on_close", close)

    def on_error(self, error: Exception) -> None:
        self.log.append(error)

    def _called(self, method: str, told: object) -> None:
        assert not self._inside, f"{method} in the middle of another call"
        self.log.append(told)
        self._inside = True
        try:
            self.reactions.get(method, lambda: None)()
        finally:
            self._inside = False


class CountedTurn:
    """A turn whose time is over after so many looks at the clock."""

    def __init__(self, looks: float = math.inf) -> None:
        self.looks = looks
        self.spent = False

    def look(self) -> bool:
        self.looks -= 1
        self.spent = self.looks <= 0
        return self.spent


class Rig:
    """A session of either role with everything around it.

    `now` is only a number; it starts at 0. Nothing is compressed.
    """

    def __init__(
        self,
        role: Role = Role.SERVER,
        *,
        opened: bool = True,
        limits: Limits = DEFAULT_LIMITS,
        timeouts: Timeouts = DEFAULT_TIMEOUTS,
        turn: Turn = ENDLESS,
    ) -> None:
        self.transport = FakeTransport()
        self.handler = RecordingHandler()
        self.session = Session(
            new_connection(role, deflate=None, limits=limits),
            self.transport,
            self.handler,
            now=0.0,
            limits=limits,
            timeouts=timeouts,
            turn=turn,
        )
        self.transport.session = self.session
        other = Role.CLIENT if role is Role.SERVER else Role.SERVER
        self.peer: Connection = new_connection(other, deflate=None, limits=limits)
        if opened:
            self._open(role)

    def _open(self, role: Role) -> None:
        if role is Role.SERVER:
            self.request()
            assert self.session.accept(Accept(), self.now)
            self.transport.write()
            self.pump()
            assert isinstance(self.seen()[0], Accept)
        else:
            self.session.connect(Request("/ws", host="example.com"))
            self.transport.write()
            assert isinstance(self.seen()[0], Request)
            self.sends(Accept())
        self.handler.log.clear()
        self.transport.asked.clear()

    @property
    def now(self) -> float:
        return self.transport.now

    @now.setter
    def now(self, value: float) -> None:
        self.transport.now = value

    @property
    def waiting(self) -> int:
        """Bytes in the session's outbox."""
        return self.session.outbox.size

    def request(self) -> None:
        """The peer, a client, sends its upgrade request."""
        self.sends(Request("/ws", host="example.com"))

    def sends(self, *events: Event) -> None:
        """The peer sends events, in one segment."""
        self.receives(self.encoded(*events))

    def encoded(self, *events: Event) -> bytes:
        """The bytes of events that the peer sends."""
        for event in events:
            self.peer.send(event)
        return self.peer.data_to_send()

    def receives(self, data: bytes) -> None:
        """Bytes arrive."""
        self.session.receive(data, self.now)
        self.transport.write()

    def ends(self) -> None:
        """The peer ends its half of the stream."""
        self.receives(b"")

    def pump(self) -> None:
        """The loop's next turn, without a read."""
        if self.session.pump_due:
            self.session.pump(self.now)
            self.transport.write()

    def tick(self, now: float) -> None:
        """The time is `now`, and the loop checks the deadlines."""
        self.now = now
        if self.session.deadlines.next <= now:
            self.session.tick(now)
            self.transport.write()

    def blocks(self) -> None:
        """The peer stops reading."""
        self.transport.room = 0

    def reads(self, size: float = math.inf) -> None:
        """The peer reads again, that many bytes."""
        self.transport.room = size
        self.transport.write()

    def seen(self) -> list[Event]:
        """The events in the bytes that were written since the last call."""
        data = bytes(self.transport.wire)
        self.transport.wire.clear()
        return list(self.peer.receive_data(data)) if data else []

    def raw(self) -> bytes:
        """The bytes that were written since the last call."""
        data = bytes(self.transport.wire)
        self.transport.wire.clear()
        return data
