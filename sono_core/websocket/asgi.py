"""A `Connection` on ASGI's WebSocket events instead of bytes: an ASGI server does the framing.

Source: the ASGI specification 3.0, "HTTP & WebSocket ASGI Message Format" 2.5. No I/O here.
"""

from collections import deque
from collections.abc import Callable, Collection, Iterable, Mapping, MutableMapping
from sys import getsizeof
from typing import Any, ClassVar, NoReturn
from urllib.parse import quote

from sono_core.close_codes import CloseCode
from sono_core.errors import LocalProtocolError
from sono_core.events import (
    Accept,
    BinaryMessage,
    Close,
    Event,
    Ping,
    Pong,
    Reject,
    Request,
    TextMessage,
)
from sono_core.events import Role as _Role
from sono_core.headers import Headers
from sono_core.http import check_reject, checked_fields
from sono_core.limits import DEFAULT_LIMITS, Limits

from .close import decode_close
from .connection import Connection, State
from .origin import AllowedHosts, check_origin
from .outbox import Outbox
from .payloads import close_payload, payload_of
from .prepared import Prepared
from .upgrade import check_subprotocol

Scope = MutableMapping[str, Any]
ASGIEvent = MutableMapping[str, Any]

_EVENT = 128  # bytes: of a queued event's tuple and its place in the queue
_LARGE = 4096  # bytes: of an event that is worth counting only once
_RESPONSE = "websocket.http.response"  # the extension that lets a refusal have a status


def request_of(scope: Mapping[str, Any]) -> Request:
    """The request that a scope of type `websocket` or `http` describes."""
    path = scope.get("raw_path") or quote(scope["path"]).encode()
    query = scope.get("query_string") or b""
    target = (b"?".join((path, query)) if query else path).decode("latin-1")
    headers = Headers(
        (name.decode("latin-1"), value.decode("latin-1")) for name, value in scope["headers"]
    )
    subprotocols = tuple(scope.get("subprotocols") or ())
    return Request(
        target,
        headers,
        scope.get("method", "GET"),
        headers.get("host", ""),
        subprotocols,
        scope.get("http_version", "1.1"),
        "https" if scope.get("scheme") in ("https", "wss") else "http",
    )


def encoded_fields(fields: Iterable[tuple[str, str]]) -> list[tuple[bytes, bytes]]:
    """Checked header fields in ASGI's form."""
    return [(name.encode("latin-1"), value.encode("latin-1")) for name, value in fields]


class EventOutbox(Outbox):
    """An outbox of ASGI events; each counts as its payload's bytes plus one."""

    __slots__ = ("_waiting",)

    size: int
    held: int

    def __init__(self) -> None:
        super().__init__()
        self._waiting: deque[tuple[ASGIEvent | str | bytes, int, int]] = deque()

    def add(self, event: ASGIEvent | str | bytes, carried: int = 0) -> None:
        """Add an event or a message to the end, kept by reference."""
        # a str may take four bytes for each character, of which UTF-8 takes one
        memory = getsizeof(event) + carried * (not isinstance(event, (str, bytes))) + _EVENT
        self._waiting.append((event, carried + 1, memory))
        self.size += carried + 1
        self.held += memory

    def first(self) -> tuple[ASGIEvent, int]:
        """The next event to send, and its size; the outbox must not be empty."""
        event, size, _ = self._waiting[0]
        if isinstance(event, str):
            return {"type": "websocket.send", "text": event}, size
        if isinstance(event, bytes):
            return {"type": "websocket.send", "bytes": event}, size
        return event, size

    def advance(self, size: int) -> None:
        """Drop the first event, which was sent; `size` is its size."""
        self.size -= size
        self.held -= self._waiting.popleft()[2]

    def distinct(self, seen: set[int], /) -> int:
        """See `Outbox`."""
        kept = self.held
        for event, _, memory in self._waiting:
            if memory > _LARGE:
                if id(event) in seen:
                    kept -= memory - _EVENT
                seen.add(id(event))
        return kept

    def clear(self) -> None:
        """Drop everything."""
        super().clear()
        self._waiting.clear()


class ASGIConnection(Connection):
    """A server's connection whose handshake and framing an ASGI server does.

    It is driven like any other, with two differences: `take_event` takes what arrives, with
    `take_in(b"")` after the last event; and `outbox` holds events. The ASGI server also sends the
    pings.

    Args:
        scope: of type `websocket`.
        limits: only `max_message` applies; the ASGI server limits heads and frames.
        origins, hosts: as for `Connection`.
    """

    __slots__ = ("_hosts", "_origins", "_parting", "_received", "_refusable", "_request")

    outbox: EventOutbox
    subprotocol: str | None

    def __init__(
        self,
        scope: Scope,
        *,
        limits: Limits = DEFAULT_LIMITS,
        origins: Collection[str] = (),
        hosts: AllowedHosts | None = None,
    ) -> None:
        super().__init__(_Role.SERVER, limits=limits, deflate=None, origins=origins)
        self.outbox = EventOutbox()  # `frames` remains the base's, which never has room
        self._origins = origins
        self._hosts = hosts
        self._request = request_of(scope)
        self._refusable = _RESPONSE in (scope.get("extensions") or ())
        self._received: deque[ASGIEvent] = deque()
        self._parting: Close | None = None  # the Close that this side sent

    # -- in ---------------------------------------------------------------------------------------

    def take_event(self, event: ASGIEvent) -> None:
        """Take an event from the ASGI server's `receive`."""
        if self.state is not State.CLOSED:
            self._received.append(event)

    def take_in(self, data: bytes) -> None:
        """Take `b""`: nothing more will come."""
        if not data:
            self._ended = True

    def next_event(self) -> Event | None:
        """See `Connection`."""
        while self._received and self.state is not State.CLOSED:
            received = self._received.popleft()
            taken = self._TAKERS.get(received["type"], _ignored)(self, received)
            if taken:
                return taken
        if self._ended and self.state is not State.CLOSED:
            return self._end(CloseCode.ABNORMAL_CLOSURE, "the connection ended")
        return None

    def _take_connect(self, received: ASGIEvent) -> Event | None:
        if self.state is not State.CONNECTING:
            return None
        self._enter(State.REQUESTED)
        return self._request

    def _take_message(self, received: ASGIEvent) -> Event | None:
        text, data = received.get("text"), received.get("bytes")
        limit = self._limits.max_message
        size = len(data or b"") if text is None else len(text)
        if size <= limit and text is not None and not text.isascii():
            size = len(text.encode(errors="surrogatepass"))
        if size > limit:
            return self._fail_with(CloseCode.MESSAGE_TOO_BIG, "message too big")
        return BinaryMessage(data or b"") if text is None else TextMessage(text)

    def _take_disconnect(self, received: ASGIEvent) -> Event | None:
        code = received.get("code") or CloseCode.NO_STATUS_RECEIVED
        return self._end(code, received.get("reason") or "")

    def _end(self, code: int, reason: str) -> Close | None:
        """The ASGI server has ended the connection, or will say nothing more."""
        opened = self.state in (State.OPEN, State.CLOSING)
        self._enter(State.CLOSED)
        self.outbox.clear()
        clean = code != CloseCode.ABNORMAL_CLOSURE
        if self._parting and clean:  # this answers it
            code, reason = self._parting.code, self._parting.reason
        return Close(code, reason, clean) if opened else None

    def _fail_with(self, code: int, reason: str) -> Close:
        self._append_close(Close(code, reason))
        self._enter(State.CLOSED)
        return Close(code, reason, False)

    # -- out --------------------------------------------------------------------------------------

    def _send_message(self, message: TextMessage | BinaryMessage) -> None:
        payload = payload_of(message)[1]
        self.outbox.add(message.text if isinstance(message, TextMessage) else payload, len(payload))

    def _send_prepared(self, prepared: Prepared) -> None:
        payload, text = prepared.payload, prepared.text
        self.outbox.add(payload if text is None else text, len(payload))

    def _send_close(self, close: Close) -> None:
        self._append_close(close)
        self._enter(State.CLOSING)

    def _append_close(self, close: Close) -> None:
        code, reason = decode_close(close_payload(close))
        if code == CloseCode.NO_STATUS_RECEIVED:  # which ASGI cannot send
            code = CloseCode.NORMAL_CLOSURE
        self._parting = Close(code, reason)
        self.outbox.add({"type": "websocket.close", "code": int(code), "reason": reason})

    def _send_accept(self, accept: Accept) -> None:
        request = self._request
        check_subprotocol(accept.subprotocol, request.subprotocols)
        headers = encoded_fields(checked_fields(accept.headers))
        if refused := self.verify():
            self._send_reject(refused)
            return
        self.subprotocol = accept.subprotocol
        self.outbox.add(
            {"type": "websocket.accept", "subprotocol": accept.subprotocol, "headers": headers}
        )
        self._enter(State.OPEN)

    def _check_upgrade(self) -> None:
        request = self._request
        check_origin(request.headers.get("origin"), request, self._origins, self._hosts)

    def _send_reject(self, reject: Reject) -> None:
        headers = encoded_fields(check_reject(reject))
        if self._refusable:
            start = {"type": f"{_RESPONSE}.start", "status": reject.status, "headers": headers}
            self.outbox.add(start)
            body = {"type": f"{_RESPONSE}.body", "body": reject.body}
            self.outbox.add(body, len(reject.body))
        else:  # the server answers with 403
            self.outbox.add({"type": "websocket.close"})
        self._enter(State.CLOSED)

    def _send_ping(self, ping: Ping | Pong) -> NoReturn:
        raise LocalProtocolError("pings are the ASGI server's to send")

    _TAKERS: ClassVar[dict[str, Callable[[Any, ASGIEvent], Event | None]]] = {
        "websocket.connect": _take_connect,
        "websocket.receive": _take_message,
        "websocket.disconnect": _take_disconnect,
    }
    _SENDERS: ClassVar[dict[type, Callable[..., None]]] = {
        Accept: _send_accept,
        BinaryMessage: _send_message,
        Close: _send_close,
        Ping: _send_ping,
        Pong: _send_ping,
        Prepared: _send_prepared,
        Reject: _send_reject,
        TextMessage: _send_message,
    }


def _ignored(connection: ASGIConnection, received: ASGIEvent) -> None:
    """Ignore an event that this version of ASGI does not define."""
