"""What the tests of the rules share: connections in each state, raw frames, and every cut.

Each rule is tested with three ways in which its bytes may arrive, because the answer must depend
on the bytes alone: at once, one by one, and cut in two.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable, Iterator
from typing import Any

from sono_core import Accept, Close, Connection, Event, Reject, Request, Role, State
from sono_core.websocket.upgrade import accept_key

KEY = "dGhlIHNhbXBsZSBub25jZQ=="
MASK = b"\x37\xfa\x21\x3d"
DEFLATE = "permessage-deflate"
TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10
FIN, RSV1, RSV2, RSV3 = 0x80, 0x40, 0x20, 0x10


class Counter:
    """A source of bytes that never repeats, but is predictable."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, size: int) -> bytes:
        start = self.calls << 24
        self.calls += 1
        words = b"".join((start + n).to_bytes(4, "big") for n in range(size // 4 + 1))
        return words[:size]


# -- frames -----------------------------------------------------------------------------------


def xor(data: bytes, mask: bytes) -> bytes:
    """Masking, byte by byte as in RFC 6455, section 5.3."""
    return bytes(byte ^ mask[i % 4] for i, byte in enumerate(data))


def raw(
    first: int,
    payload: bytes = b"",
    *,
    masked: bool = True,
    form: int | None = None,
    length: int | None = None,
) -> bytes:
    """A frame made by hand.

    Args:
        first: FIN, RSV and opcode.
        form: 7, 16 or 64 bits for the length; the shortest by default.
        length: in the header, if it differs from the payload's.
    """
    size = len(payload) if length is None else length
    if form is None:
        form = 7 if size < 126 else 16 if size < 65536 else 64
    bit = 0x80 if masked else 0
    if form == 7:
        head = bytes((first, bit | size))
    else:
        head = bytes((first, bit | (126 if form == 16 else 127))) + size.to_bytes(form // 8, "big")
    return head + MASK + xor(payload, MASK) if masked else head + payload


def frames(role: Role, *parts: tuple[int, bytes]) -> bytes:
    """Frames for a connection of that role: masked for a server."""
    return b"".join(raw(first, payload, masked=role is Role.SERVER) for first, payload in parts)


def split(stream: bytes) -> list[tuple[int, bytes]]:
    """First byte and unmasked payload of each sent frame."""
    found = []
    position = 0
    while position < len(stream):
        first, second = stream[position], stream[position + 1]
        position += 2
        size = second & 0x7F
        if size > 125:
            width = 2 if size == 126 else 8
            size = int.from_bytes(stream[position : position + width], "big")
            position += width
        mask = b""
        if second & 0x80:
            mask = stream[position : position + 4]
            position += 4
        payload = stream[position : position + size]
        assert len(payload) == size
        found.append((first, xor(payload, mask) if mask else payload))
        position += size
    return found


def close_payload(code: int, reason: bytes = b"") -> bytes:
    return code.to_bytes(2, "big") + reason


def deflated(data: bytes, **options: int) -> bytes:
    """One message's payload in the form of RFC 7692, section 7.2.1."""
    stream = zlib.compressobj(wbits=-15, **options)
    return (stream.compress(data) + stream.flush(zlib.Z_SYNC_FLUSH))[:-4]


# -- the opening handshake --------------------------------------------------------------------

FIELDS = (
    ("Host", "example.com"),
    ("Upgrade", "websocket"),
    ("Connection", "Upgrade"),
    ("Sec-WebSocket-Key", KEY),
    ("Sec-WebSocket-Version", "13"),
)


def request(
    *more: tuple[str, str],
    line: str = "GET /ws HTTP/1.1",
    without: tuple[str, ...] = (),
    **instead: str,
) -> bytes:
    """An upgrade request.

    Args:
        more: further fields.
        without: names of fields to leave out.
        instead: other values; `host="b"` or `sec_websocket_key=""`.
    """
    values = {name.replace("_", "-"): value for name, value in instead.items()}
    known = [field for field in FIELDS if field[0] not in without]
    fields = [(name, values.pop(name.lower(), value)) for name, value in known]
    assert not values, "no such field"
    lines = [f"{name}: {value}" for name, value in (*fields, *more)]
    return "\r\n".join([line, *lines, "", ""]).encode("latin-1")


def response(
    client: Connection,
    *more: tuple[str, str],
    status: str = "HTTP/1.1 101 Switching Protocols",
    without: tuple[str, ...] = (),
    key: str | None = None,
    **instead: str,
) -> bytes:
    """Take the request of `client` and answer it; arguments as for `request`."""
    asked = client.data_to_send().decode("latin-1")
    match = re.search(r"^sec-websocket-key: (\S+)\r$", asked, re.IGNORECASE | re.MULTILINE)
    assert match
    values = {name.replace("_", "-"): value for name, value in instead.items()}
    known = (
        ("Upgrade", "websocket"),
        ("Connection", "Upgrade"),
        ("Sec-WebSocket-Accept", accept_key(key or match[1])),
    )
    kept = [field for field in known if field[0] not in without]
    fields = [(name, values.pop(name.lower(), value)) for name, value in kept]
    assert not values, "no such field"
    lines = [f"{name}: {value}" for name, value in (*fields, *more)]
    return "\r\n".join([status, *lines, "", ""]).encode("latin-1")


def connecting(role: Role, **options: Any) -> Connection:
    """A connection before it has sent or received anything."""
    return Connection(role, random=Counter() if role is Role.CLIENT else None, **options)


def requesting(*, subprotocols: tuple[str, ...] = (), **options: Any) -> Connection:
    """A client that has sent its request."""
    client = connecting(Role.CLIENT, **options)
    client.send(Request("/ws", host="example.com", subprotocols=subprotocols))
    return client


def opened(role: Role, extensions: str | None = None, **options: Any) -> Connection:
    """A connection after its handshake; `extensions` is the value of the peer's header."""
    more = [("Sec-WebSocket-Extensions", extensions)] if extensions else []
    if role is Role.SERVER:
        connection = connecting(role, **options)
        (event,) = connection.receive_data(request(*more))
        assert isinstance(event, Request)
        connection.send(Accept())
        assert connection.data_to_send().startswith(b"HTTP/1.1 101 ")
    else:
        connection = requesting(**options)
        (event,) = connection.receive_data(response(connection, *more))
        assert isinstance(event, Accept), event
    return connection


# -- arrivals ---------------------------------------------------------------------------------

MAX_CUTS = 16  # cuts to try: every one in short data, else evenly spread


def arrivals(data: bytes) -> Iterator[list[bytes]]:
    """The ways in which the same bytes may arrive."""
    yield [data]
    step = 1 if len(data) < 10_000 else 1009
    yield [
        *(data[i : i + 1] for i in range(min(20, len(data)))),
        *(data[i : i + step] for i in range(20, len(data), step)),
    ]
    if len(data) < 1000:
        for cut in range(1, len(data), 1 + len(data) // MAX_CUTS):
            yield [data[:cut], data[cut:]]


class Outcome:
    """The results of some bytes: the events, the bytes to send, and the connection."""

    def __init__(self, connection: Connection, events: list[Event]) -> None:
        self.connection = connection
        self.state = connection.state
        self.events = events
        self.sent = connection.data_to_send()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Outcome) and (
            (self.state, self.events, self.sent) == (other.state, other.events, other.sent)
        )

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"Outcome({self.state}, {self.events!r}, {self.sent!r})"

    @property
    def frames(self) -> list[tuple[int, bytes]]:
        return split(self.sent)

    @property
    def status(self) -> int:
        """The status of the HTTP response that was sent."""
        match = re.match(rb"HTTP/1\.1 (\d{3}) ", self.sent)
        assert match, self.sent
        return int(match[1])

    @property
    def headers(self) -> list[tuple[str, str]]:
        """The headers of the HTTP response that was sent."""
        head = self.sent.partition(b"\r\n\r\n")[0].decode("latin-1")
        fields = (line.partition(": ") for line in head.split("\r\n")[1:])
        return [(name.lower(), value) for name, _, value in fields]


def outcome(make: Callable[[], Connection], data: bytes, *, end: bool = False) -> Outcome:
    """The results of `data`, which are the same however it arrives.

    Servers accept the request.

    Args:
        end: the stream ends after the data.
    """
    outcomes = []
    for pieces in arrivals(data):
        connection = make()
        events: list[Event] = []
        for piece in [*pieces, b""] if end else pieces:
            for event in connection.receive_data(piece):
                events.append(event)
                if isinstance(event, Request):
                    connection.send(Accept())
        outcomes.append(Outcome(connection, events))
    first = outcomes[0]
    for other in outcomes:
        assert other == first
    return first


def fails(
    role: Role,
    data: bytes,
    code: int,
    *before: Event,
    extensions: str | None = None,
    **options: Any,
) -> None:
    """`data` fails the connection with `code`, after the events `before` and the pongs for them.

    The rest of the data is ignored, and nothing follows the Close.
    """
    after = frames(role, (FIN | TEXT, b"never seen"), (FIN | PING, b"nor this"))
    for following in (b"", after):
        result = outcome(lambda: opened(role, extensions, **options), data + following)
        *events, close = result.events
        assert events == list(before)
        assert isinstance(close, Close)
        assert (close.code, close.clean) == (code, False)
        first, payload = result.frames[-1]
        assert first == FIN | CLOSE
        assert payload == close_payload(code, close.reason.encode())
        assert result.state.value == "closed"
        assert list(result.connection.receive_data(after)) == []
        assert list(result.connection.receive_data(b"")) == []
        assert result.connection.data_to_send() == b""


def passes(
    role: Role, data: bytes, *expected: Event, extensions: str | None = None, **options: Any
) -> None:
    """`data` gives exactly these events, and the connection stays open."""
    result = outcome(lambda: opened(role, extensions, **options), data)
    assert result.events == list(expected)
    assert result.state.value == "open"


def refuses(data: bytes, status: int, **options: Any) -> Outcome:
    """A server refuses the request with that status, in one line, and the connection ends."""
    result = outcome(lambda: connecting(Role.SERVER, **options), data)
    assert result.status == status
    assert result.state.value == "closed"
    fields = dict(result.headers)
    assert "close" in fields["connection"].lower()
    body = result.sent.partition(b"\r\n\r\n")[2]
    assert body.count(b"\n") <= 1
    assert b"Traceback" not in body
    if body:
        assert int(fields["content-length"]) == len(body)
    return result


def client_refuses(
    make: Callable[[Connection], bytes],
    *,
    subprotocols: tuple[str, ...] = (),
    end: bool = False,
    **options: Any,
) -> Reject:
    """The answer of `make` is no valid 101 to a client, which says so in one `Reject`."""
    outcomes = []
    data = make(requesting(subprotocols=subprotocols, **options))
    for pieces in arrivals(data):
        client = requesting(subprotocols=subprotocols, **options)
        client.data_to_send()
        events: list[Event] = []
        for piece in [*pieces, b""] if end else pieces:
            events.extend(client.receive_data(piece))
        assert list(client.receive_data(b"more")) == []
        outcomes.append(Outcome(client, events))
    first = outcomes[0]
    for other in outcomes:
        assert other == first
    assert first.state.value == "closed"
    assert first.sent == b""
    (reject,) = first.events
    assert isinstance(reject, Reject)
    return reject


def accepted(data: bytes, **options: object) -> list[tuple[str, str]]:
    """The server opens the connection; the headers of its 101."""
    result = outcome(lambda: connecting(Role.SERVER, **options), data)
    assert result.status == 101
    assert result.state is State.OPEN
    (event,) = result.events
    assert isinstance(event, Request)
    return result.headers
