"""Encodes heads and responses from checked parts. RFC 9110, section 15; RFC 9112."""

import functools
import http
from collections.abc import Collection

from sono_core.arguments import require_type
from sono_core.errors import HandshakeFailure, LocalProtocolError
from sono_core.events import Reject
from sono_core.headers import Headers
from sono_core.quoting import shown_name

from .grammar import is_field_value, is_token

# The handshake writes these itself.
_RESERVED_FIELDS = frozenset(
    (
        "connection",
        "content-length",
        "host",
        "sec-websocket-accept",
        "sec-websocket-extensions",
        "sec-websocket-key",
        "sec-websocket-protocol",
        "sec-websocket-version",
        "transfer-encoding",
        "upgrade",
    )
)


_RETRY_AFTER = (("retry-after", "1"),)  # seconds, to which a client adds a random time of its own


def reject_response(reject: Reject, method: str = "GET", date: str | None = None) -> bytes:
    """A final response, after which the connection ends; without its body if the method is HEAD.

    Args:
        date: the time, for Date (RFC 9110, section 6.6.1); None on a server without a clock.

    Raises:
        LocalProtocolError: the status is not that of a final response, or a header is illegal.
        TypeError: the status is not an int, or the body not bytes.
    """
    fields = check_reject(reject)
    if date is not None and "date" not in reject.headers:
        fields.append(("date", date))
    if reject.status == 426:  # it must name the protocol (RFC 9110, section 15.5.22)
        fields += [("upgrade", "websocket"), ("connection", "Upgrade, close")]
    else:
        fields.append(("connection", "close"))
    bodiless = reject.status in (204, 304)
    if not bodiless:
        fields.append(("content-length", str(len(reject.body))))
    head = encode_head(_status_line(reject.status), fields)
    return head if bodiless or method == "HEAD" else head + reject.body


def check_reject(reject: Reject) -> list[tuple[str, str]]:
    """Check a refusal, and return the caller's own header fields.

    Raises:
        LocalProtocolError, TypeError: as for `reject_response`.
    """
    for name, value, wanted in (("status", reject.status, int), ("body", reject.body, bytes)):
        if not isinstance(value, wanted):
            kind = type(value).__name__
            raise TypeError(f"{name} must be of type {wanted.__name__}, not {kind}")
    if not 200 <= reject.status <= 599:
        raise LocalProtocolError(f"status {reject.status} is not that of a final response")
    # Only a refusal may name the version that this side speaks (RFC 6455, section 4.4).
    return checked_fields(reject.headers, allowed=("sec-websocket-version",))


def refusal(failure: HandshakeFailure) -> Reject:
    """The response to a request that is refused: its reason in one line of text.

    A 503 says when to come again (RFC 9110, section 10.2.3).
    """
    more = _RETRY_AFTER if failure.status == 503 else ()
    headers = Headers((("content-type", "text/plain; charset=utf-8"), *failure.headers, *more))
    return Reject(failure.status, headers, f"{failure.reason}\n".encode())


@functools.lru_cache(maxsize=256)
def _status_line(status: int) -> str:
    try:
        phrase = http.HTTPStatus(status).phrase
    except ValueError:
        phrase = ""
    return f"HTTP/1.1 {status} {phrase}"


def checked_fields(headers: Headers, *, allowed: Collection[str] = ()) -> list[tuple[str, str]]:
    """Check and return the caller's own header fields.

    Args:
        allowed: exceptions among the fields that the handshake writes itself.

    Raises:
        LocalProtocolError: a name or a value is illegal, or the handshake writes the field itself.
        TypeError: they are not `Headers`, or a name or a value is not a str.
    """
    if not isinstance(headers, Headers):
        raise TypeError(f"headers must be Headers, not {type(headers).__name__}")
    fields = list(headers.fields())
    for name, value in fields:
        require_type("a header's name", name, str)
        if not is_token(name) or (name in _RESERVED_FIELDS and name not in allowed):
            text = f"header name '{shown_name(name)}' is illegal or not the caller's to set"
            raise LocalProtocolError(text)
        require_type(f"the value of header {name!r}", value, str)
        if not is_field_value(value):
            raise LocalProtocolError(f"the value of header {name!r} is illegal")
    return fields


@functools.lru_cache(maxsize=256)
def _spelled(name: str) -> str:
    """The spelling of RFC 6455: names are case-insensitive, but some peers do not know it."""
    return name.title().replace("Websocket", "WebSocket")


def encode_head(first_lines: str, fields: list[tuple[str, str]]) -> bytes:
    """Encode a head from checked parts."""
    lines = [f"{_spelled(name)}: {value}" for name, value in fields]
    return "\r\n".join([first_lines, *lines, "", ""]).encode("latin-1")
