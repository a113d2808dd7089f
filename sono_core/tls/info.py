"""What TLS has agreed on with a peer, and who the peer is. RFC 8446; RFC 7301 (ALPN)."""

import ssl
from typing import Any

import msgspec


class TLSInfo(msgspec.Struct, frozen=True):
    """TLS of one connection, as it was when somebody asked.

    With a proxy between, it is the proxy's own connection that is described.
    """

    version: str | None
    """Such as `TLSv1.3`."""
    cipher: str | None
    """The cipher suite's name; under ASGI its number, such as `0x1302`. None if it is not told."""
    alpn: str | None = None
    """The protocol that was negotiated, or None."""
    certificate: bytes | None = None
    """The peer's certificate in DER, or None if it showed none."""
    subject: dict[str, Any] | None = None
    """The same as `ssl.SSLSocket.getpeercert` decodes it: `subject`, `subjectAltName` and others.
    None if there is no verified certificate, and under ASGI."""


def tls_info(connection: ssl.SSLObject | ssl.SSLSocket) -> TLSInfo:
    """What a connection of the standard library says."""
    cipher = connection.cipher()
    return TLSInfo(
        connection.version(),
        cipher[0] if cipher else None,
        connection.selected_alpn_protocol(),
        connection.getpeercert(True),
        connection.getpeercert() or None,
    )
