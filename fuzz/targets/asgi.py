"""Any order of an ASGI server's events: nothing is raised, and Close comes once, at the end.

Each line of an input is an event: its first byte selects the kind, the rest is its content. The
first line is the scope's path and headers.
"""

from __future__ import annotations

from sono_core import BinaryMessage, Close, Limits, Request, State, TextMessage
from sono_core.events import Accept, Event
from sono_core.websocket.asgi import ASGIConnection, ASGIEvent, Scope

from .checks import Target, check_end

_LIMITS = Limits(max_message=100)
_KINDS = {b"c": "websocket.connect", b"x": "websocket.unknown"}


def scope_of(line: bytes) -> Scope:
    """A scope: the path, then headers, each after a space."""
    path, *fields = line.split(b" ")
    pairs = [field.partition(b":")[::2] for field in fields]
    headers = [(b"host", b"host"), *((name.lower(), value) for name, value in pairs)]
    extensions: dict[str, object] | None = {"websocket.http.response": {}} if b"!" in path else None
    text = path.decode("latin-1")
    return {"path": text, "headers": headers, "extensions": extensions, "query_string": b"a=b"}


def event_of(line: bytes) -> ASGIEvent:
    """An event of the kind that the first byte selects."""
    kind, rest = line[:1], line[1:]
    if kind == b"t":
        return {"type": "websocket.receive", "text": rest.decode(errors="replace")}
    if kind == b"b":
        return {"type": "websocket.receive", "bytes": rest, "text": None}
    if kind == b"d":
        code = int.from_bytes(rest[:2], "big")
        reason = rest[2:].decode(errors="replace")
        return {"type": "websocket.disconnect", "code": code, "reason": reason}
    return {"type": _KINDS.get(kind, "websocket.receive")}


def _size(event: Event) -> int:
    if isinstance(event, TextMessage):
        return len(event.text.encode())
    return len(event.data) if isinstance(event, BinaryMessage) else 0


def _check(data: bytes) -> None:
    first, *lines = data.split(b"\n")
    connection = ASGIConnection(scope_of(first), limits=_LIMITS)
    connection.take_event({"type": "websocket.connect"})
    request = connection.next_event()
    assert isinstance(request, Request), f"the first event is {request}"
    refused = connection.verify()
    connection.send(Accept())
    assert (refused is None) == (connection.state is State.OPEN), "verify foretold otherwise"
    for line in lines:
        connection.take_event(event_of(line))
    connection.take_in(b"")
    events: list[Event] = []
    while (event := connection.next_event()) is not None:
        events.append(event)
    assert connection.state is State.CLOSED, f"it ended {connection.state.value}"
    if refused:
        assert not events, f"there were events after a refusal: {events}"
        return
    check_end(events, len(data))
    for event in events:
        assert isinstance(event, (TextMessage, BinaryMessage, Close)), f"there was {event}"
        assert _size(event) <= _LIMITS.max_message, "a message is beyond its limit"


WORDS = (b"\n", b"\nt", b"\nb", b"\nd\x03\xe8", b"\nd\x03\xee", b"\nc", b"!", b" origin:null")
TARGET = Target("asgi", _check, WORDS)
