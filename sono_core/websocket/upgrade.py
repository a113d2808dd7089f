"""The rules of a server's opening handshake, and the responses that follow from them.

RFC 6455, sections 4.2 and 10.2; RFC 9110, section 15 (status codes). Pure functions, which
`handshake` calls in order.
"""

import binascii
import functools
import hashlib
import re
from collections.abc import Collection

from sono_core.errors import HandshakeFailure, LocalProtocolError
from sono_core.events import Accept, Request
from sono_core.http import checked_fields, encode_head, parse_extensions, parse_list, parse_tokens

from . import deflate
from .deflate import Agreement, Deflate
from .origin import AllowedHosts, check_origin

# Base64 of 16 bytes as an encoder writes it: the last character stands for two bits.
_is_key = re.compile(r"[A-Za-z0-9+/]{21}[AQgw]==").fullmatch
_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_SWITCHING = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade"


def accept_key(key: str) -> str:
    """Sec-WebSocket-Accept for a Sec-WebSocket-Key (section 4.2.2)."""
    digest = hashlib.sha1(key.encode() + _GUID, usedforsecurity=False).digest()
    return binascii.b2a_base64(digest, newline=False).decode()


class Upgrade:
    """What the answer to a valid upgrade request depends on."""

    __slots__ = ("agreement", "key", "subprotocols")

    def __init__(self, key: str, subprotocols: list[str], agreement: Agreement | None) -> None:
        self.key: str = key
        self.subprotocols: list[str] = subprotocols
        self.agreement: Agreement | None = agreement


def check_upgrade(
    request: Request,
    origins: Collection[str],
    options: Deflate | None,
    hosts: AllowedHosts | None = None,
) -> Upgrade:
    """Check a request against section 4.2.1, the allowed origins and hosts.

    Raises:
        HandshakeFailure: 400, 403, 405 or 426, with the headers that go with it.
    """
    # Repeated fields are joined by ", ": harmless in a list, never legal in a single value.
    fields = request.headers.combined()
    if request.method != "GET":
        raise HandshakeFailure(405, "a WebSocket is opened with GET", (("allow", "GET"),))
    if request.http_version == "1.0":  # in which Upgrade is ignored: RFC 9110, section 7.8
        raise HandshakeFailure(426, "a WebSocket is opened with HTTP/1.1")
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
    check_origin(fields.get("origin"), request, origins, hosts)
    extensions = fields.get("sec-websocket-extensions")
    agreement = _agree(extensions, options) if extensions else None
    subprotocols = fields.get("sec-websocket-protocol")
    return Upgrade(key, _offered(subprotocols) if subprotocols else [], agreement)


@functools.lru_cache(maxsize=64)  # at most 64 lines of heads; browsers send the same few
def _agree(offers: str, options: Deflate | None) -> Agreement | None:
    """The agreement on the offers in Sec-WebSocket-Extensions, or None.

    Raises:
        HandshakeFailure: 400 if they are malformed.
    """
    try:
        extensions = parse_extensions([offers])
    except ValueError:
        raise HandshakeFailure(400, "malformed Sec-WebSocket-Extensions") from None
    return deflate.answer(extensions, options) if options else None


def _offered(subprotocols: str) -> list[str]:
    """The subprotocols that a request offers, in order.

    Raises:
        HandshakeFailure: 400 if they are not a list of tokens.
    """
    try:
        return parse_tokens([subprotocols])
    except ValueError:
        raise HandshakeFailure(400, "malformed Sec-WebSocket-Protocol") from None


@functools.lru_cache(maxsize=64)  # as above
def upgrade_protocols(value: str) -> tuple[str, ...]:
    """The protocols of Upgrade in lower case; all but websocket may have a version."""
    return tuple(parse_list([value.lower()]))


@functools.lru_cache(maxsize=64)  # as above
def connection_options(value: str) -> tuple[str, ...]:
    """The tokens of Connection in lower case.

    Raises:
        HandshakeFailure: 400 if it is not a list of tokens.
    """
    try:
        return tuple(parse_tokens([value.lower()]))
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
    """Check that a server may agree to a subprotocol (section 4.2.2).

    Raises:
        LocalProtocolError: it was not offered.
    """
    if agreed is not None and agreed not in offered:
        raise LocalProtocolError("the subprotocol was not offered")
