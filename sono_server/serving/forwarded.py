"""Trusted reverse proxies: the client's address, and the scheme and host that it asked for."""

import ipaddress
from collections.abc import Collection
from typing import Any

import msgspec

from sono_core import Request
from sono_core.http import is_host

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
_SCHEMES = {"http": "http", "https": "https", "ws": "http", "wss": "https"}


class TrustedProxies:
    """Reads X-Forwarded-For, -Proto and -Host of requests that a trusted proxy passed on.

    Each proxy appends to these headers, and a client may have forged what stands before. They are
    therefore read from the end, and only as far as the proxies are trusted.

    Args:
        trusted: addresses and networks of the proxies; `unix` for connections to a Unix socket.

    Raises:
        ValueError: one is neither.
        TypeError: `trusted` is a str.
    """

    def __init__(self, trusted: Collection[str]) -> None:
        if isinstance(trusted, str):
            raise TypeError("trusted_proxies must be a collection of str, not a str")
        self._unix = "unix" in trusted
        try:
            self._networks = [ipaddress.ip_network(text) for text in trusted if text != "unix"]
        except ValueError as error:
            raise ValueError(f"trusted_proxies: {error}") from None

    def trusts(self, address: Any) -> bool:
        """Whether a peer is a trusted proxy.

        Args:
            address: the peer's socket address.
        """
        if not isinstance(address, tuple):
            return self._unix
        found = _parsed(address[0])
        return found is not None and self._covers(found)

    def _covers(self, address: Address) -> bool:
        return any(address in network for network in self._networks)

    def client(self, request: Request, proxy: Any) -> Any:
        """The address of the client: (host, port), the port 0 if it was not told.

        Args:
            proxy: the address of the peer, which is trusted.
        """
        found = proxy
        for entry in reversed(_entries(request, "x-forwarded-for")):
            address = _parsed(entry)
            if address is None:
                break
            found = (str(address), 0)
            if not self._covers(address):
                break
        return found

    def scheme(self, request: Request, otherwise: str) -> str:
        """The scheme that the client used with the proxy: `http` or `https`.

        Schemes have no case (RFC 3986, section 3.1). Some proxies call it `ws` or `wss`.
        """
        entries = _entries(request, "x-forwarded-proto")
        return _SCHEMES.get(entries[-1].lower(), otherwise) if entries else otherwise

    def seen(self, request: Request) -> Request:
        """The request with the scheme and the host that the client used."""
        entries = _entries(request, "x-forwarded-host")
        host = entries[-1] if entries and is_host(entries[-1]) else request.host
        scheme = self.scheme(request, request.scheme)
        return msgspec.structs.replace(request, host=host, scheme=scheme)


def is_loopback(address: Any) -> bool:
    """Whether a socket address is one that only this machine reaches, and browsers on it do."""
    found = _parsed(address[0]) if isinstance(address, (tuple, list)) and address else None
    return found is not None and found.is_loopback


def _entries(request: Request, name: str) -> list[str]:
    value = request.headers.get(name, "")
    return [entry.strip() for entry in value.split(",")] if value else []


def _parsed(text: str) -> Address | None:
    """Parse an address as proxies write it: maybe quoted, in brackets, or with a port."""
    text = str(text).strip('"')
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None
    mapped = getattr(address, "ipv4_mapped", None)  # of a socket for both families
    return mapped or address
