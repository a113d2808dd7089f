"""The rules of a server's opening handshake, and the responses that follow from them.

RFC 6455, sections 4.2 and 10.2; RFC 9110, section 15 (status codes). Pure functions: `handshake`
calls them in their order.
"""

import binascii
import functools
import hashlib
import http
import re
from collections.abc import Collection
from urllib.parse import SplitResult, urlsplit

from . import deflate
from .deflate import Agreement, Deflate
from .errors import HandshakeFailure, LocalProtocolError
from .events import Accept, Reject, Request
from .headers import (
    Headers,
    is_field_value,
    is_host,
    is_token,
    parse_extensions,
    parse_list,
    parse_tokens,
)

# Base64 of 16 bytes as an encoder writes it: the last character stands for two bits.
_is_key = re.compile(r"[A-Za-z0-9+/]{21}[AQgw]==").fullmatch
_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_DEFAULT_PORTS = {"http": 80, "https": 443, "ws": 80, "wss": 443}
_SWITCHING = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade"
# what the handshake writes itself
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


def accept_key(key: str) -> str:
    """Sec-WebSocket-Accept for a Sec-WebSocket-Key (section 4.2.2)."""
    digest = hashlib.sha1(key.encode() + _GUID, usedforsecurity=False).digest()
    return binascii.b2a_base64(digest, newline=False).decode()


def origin_allowed(origin: str | None, host: str, allowed: Collection[str]) -> bool:
    """Whether a page of that origin may connect (section 10.2).

    A missing origin is not a browser's and is allowed, as is the origin of `host` itself, where
    a missing port is the default of the origin's scheme on both sides. Beyond these only what
    `allowed` names, character for character; `"*"` in it allows everything.
    """
    if origin is None or origin in allowed or "*" in allowed:
        return True
    if origin in (f"http://{host}", f"https://{host}"):  # most are, and need not be taken apart
        return True
    try:
        page, own = urlsplit(origin), urlsplit(f"//{host}")
        default = _DEFAULT_PORTS.get(page.scheme)
        return (
            default is not None
            and origin == f"{page.scheme}://{page.netloc}"
            and is_host(page.netloc)  # so no user either, and nothing around an IPv6 literal
            and page.hostname == own.hostname
            and _port(page, default) == _port(own, default)
        )
    except ValueError:
        return False


def check_origin(origin: str | None, host: str, allowed: Collection[str]) -> None:
    """See `origin_allowed`.

    Raises:
        HandshakeFailure: 403.
    """
    if not origin_allowed(origin, host, allowed):
        raise HandshakeFailure(403, "this origin is not allowed")


def _port(address: SplitResult, default: int) -> int:
    return default if address.port is None else address.port


class Upgrade:
    """A valid upgrade request: what of it the answer depends on."""

    __slots__ = ("agreement", "key", "subprotocols")

    def __init__(self, key: str, subprotocols: list[str], agreement: Agreement | None) -> None:
        self.key = key
        self.subprotocols = subprotocols
        self.agreement = agreement


def check_upgrade(request: Request, origins: Collection[str], options: Deflate | None) -> Upgrade:
    """Hold a request against section 4.2.1, and against the allowed origins.

    Raises:
        HandshakeFailure: 400, 403, 405 or 426, with the headers that go with it.
    """
    # A repeated field is joined by ", ": the same for lists, and never legal where one is required.
    fields = request.headers.combined()
    if request.method != "GET":
        raise HandshakeFailure(405, "a WebSocket is opened with GET", (("allow", "GET"),))
    if "transfer-encoding" in fields or fields.get("content-length", "0") != "0":
        raise HandshakeFailure(400, "an upgrade has no body")
    if "websocket" not in upgrade_protocols(fields.get("upgrade", "")):
        raise HandshakeFailure(426, "an upgrade to websocket is required")
    if "upgrade" not in connection_options(fields.get("connection", "")):
        raise HandshakeFailure(400, "Connection does not name Upgrade")
    if fields.get("sec-websocket-version") != "13":
        version = (("sec-websocket-version", "13"),)
        raise HandshakeFailure(426, "WebSocket version 13 is required", version)
    key = fields.get("sec-websocket-key", "")
    if not _is_key(key):
        raise HandshakeFailure(400, "exactly one Sec-WebSocket-Key of 16 bytes is required")
    check_origin(fields.get("origin"), request.host, origins)
    extensions = fields.get("sec-websocket-extensions")
    agreement = _agree(extensions, options) if extensions else None
    subprotocols = fields.get("sec-websocket-protocol")
    return Upgrade(key, _offered(subprotocols) if subprotocols else [], agreement)


@functools.lru_cache(maxsize=64)  # at most 64 lines of heads; browsers send the same few
def _agree(offers: str, options: Deflate | None) -> Agreement | None:
    """What is answered to Sec-WebSocket-Extensions.

    Raises:
        HandshakeFailure: 400 for what is malformed.
    """
    try:
        extensions = parse_extensions([offers])
    except ValueError:
        raise HandshakeFailure(400, "malformed Sec-WebSocket-Extensions") from None
    return deflate.answer(extensions, options) if options else None


def _offered(subprotocols: str) -> list[str]:
    """What a request offers in Sec-WebSocket-Protocol, in its order.

    Raises:
        HandshakeFailure: 400 for what is no list of tokens.
    """
    try:
        return parse_tokens([subprotocols])
    except ValueError:
        raise HandshakeFailure(400, "malformed Sec-WebSocket-Protocol") from None


def upgrade_protocols(value: str) -> list[str]:
    """The protocols of Upgrade in lower case; others than websocket may have a version."""
    return parse_list([value.lower()])


def connection_options(value: str) -> list[str]:
    """The tokens of Connection in lower case.

    Raises:
        HandshakeFailure: 400 for what is no list of tokens.
    """
    try:
        return parse_tokens([value.lower()])
    except ValueError:
        raise HandshakeFailure(400, "malformed Connection") from None


def accept_response(upgrade: Upgrade, accept: Accept) -> bytes:
    """The 101 (section 4.2.2).

    Raises:
        LocalProtocolError: the subprotocol was not offered, or a header is illegal.
    """
    fields = [("sec-websocket-accept", accept_key(upgrade.key))]
    check_subprotocol(accept.subprotocol, upgrade.subprotocols)
    if accept.subprotocol is not None:
        fields.append(("sec-websocket-protocol", accept.subprotocol))
    if upgrade.agreement:
        fields.append(("sec-websocket-extensions", upgrade.agreement.header()))
    fields += checked_fields(accept.headers)
    return encode_head(_SWITCHING, fields)


def check_subprotocol(agreed: str | None, offered: Collection[str]) -> None:
    """Whether a server may agree on it (section 4.2.2).

    Raises:
        LocalProtocolError: it was not offered.
    """
    if agreed is not None and agreed not in offered:
        raise LocalProtocolError(f"subprotocol {agreed!r} was not offered")


def reject_response(reject: Reject, method: str = "GET") -> bytes:
    """A final response, after which the connection ends; without its body if asked by HEAD.

    Raises:
        LocalProtocolError: the status is not that of a final response, or a header is illegal.
        TypeError: the status is no int, or the body not bytes.
    """
    fields = check_reject(reject)
    if reject.status == 426:  # it must name what to upgrade to (RFC 9110, section 15.5.22)
        fields += [("upgrade", "websocket"), ("connection", "Upgrade, close")]
    else:
        fields.append(("connection", "close"))
    bodiless = reject.status in (204, 304)
    if not bodiless:
        fields.append(("content-length", str(len(reject.body))))
    head = encode_head(_status_line(reject.status), fields)
    return head if bodiless or method == "HEAD" else head + reject.body


def check_reject(reject: Reject) -> list[tuple[str, str]]:
    """The caller's own header fields of a refusal.

    Raises:
        LocalProtocolError, TypeError: as for `reject_response`.
    """
    for name, value, wanted in (("status", reject.status, int), ("body", reject.body, bytes)):
        if not isinstance(value, wanted):
            kind = type(value).__name__
            raise TypeError(f"{name} must be of type {wanted.__name__}, not {kind}")
    if not 200 <= reject.status <= 599:
        raise LocalProtocolError(f"status {reject.status} is not that of a final response")
    # which version is spoken is said in a refusal (RFC 6455, section 4.4), and only there
    return checked_fields(reject.headers, allowed=("sec-websocket-version",))


def refusal(failure: HandshakeFailure) -> Reject:
    """The response to a request that the handshake refuses: its reason in one line of text."""
    headers = Headers((("content-type", "text/plain; charset=utf-8"), *failure.headers))
    return Reject(failure.status, headers, f"{failure.reason}\n".encode())


@functools.lru_cache(maxsize=256)
def _status_line(status: int) -> str:
    try:
        phrase = http.HTTPStatus(status).phrase
    except ValueError:
        phrase = ""
    return f"HTTP/1.1 {status} {phrase}"


def checked_fields(headers: Headers, *, allowed: Collection[str] = ()) -> list[tuple[str, str]]:
    """The caller's own header fields.

    Args:
        allowed: of the fields that the handshake writes itself.

    Raises:
        LocalProtocolError: a name or a value is illegal, or the handshake's own to write.
        TypeError: they are no `Headers`, or a value is no str.
    """
    if not isinstance(headers, Headers):
        raise TypeError(f"headers must be Headers, not {type(headers).__name__}")
    fields = list(headers.fields())
    for name, value in fields:
        if not is_token(name) or (name in _RESERVED_FIELDS and name not in allowed):
            raise LocalProtocolError(f"header name {name!r} is illegal or not the caller's to set")
        if not is_field_value(value):
            raise LocalProtocolError(f"the value of header {name!r} is illegal")
    return fields


@functools.lru_cache(maxsize=256)
def _spelled(name: str) -> str:
    """As in RFC 6455: names have no case, but some peers think they have."""
    return name.title().replace("Websocket", "WebSocket")


def encode_head(first_lines: str, fields: list[tuple[str, str]]) -> bytes:
    """A head as bytes; its parts have been checked."""
    lines = [f"{_spelled(name)}: {value}" for name, value in fields]
    return "\r\n".join([first_lines, *lines, "", ""]).encode("latin-1")
