"""TLS around sessions: bytes in any chunking, and one layer in another."""

from __future__ import annotations

import contextlib
import ssl
from collections.abc import Callable, Iterator

import pytest

from sono_core import BinaryMessage, Close, Request, Role, TextMessage
from sono_core.connect.proxy import parse_proxy
from sono_core.connect.tunnel import Tunnel
from sono_core.tls.layer import SecureSession
from tests.certificates import client_side, server_side
from tests.secure import CUTS, VERSIONS, End, Pair

KIB = 1024


# -- bytes ------------------------------------------------------------------------------------


@pytest.mark.parametrize("cut", CUTS)
@pytest.mark.parametrize("version", VERSIONS)
def test_any_chunking_carries_the_same(
    cut: Callable[[bytes], Iterator[bytes]], version: ssl.TLSVersion
) -> None:
    context = client_side()
    context.minimum_version = context.maximum_version = version
    pair = Pair(client=context, cut=cut).opened()
    messages: list[str | bytes] = ["small", b"", "é" * 9000, b"x" * 16384, b"y" * 40000]
    for message in messages:
        event = TextMessage(message) if isinstance(message, str) else BinaryMessage(message)
        assert pair.client.session.send(event)
        assert pair.server.session.send(event)
    pair.carry()
    assert pair.client.log == messages
    assert pair.server.log == messages


def test_nothing_is_sent_in_the_clear() -> None:
    pair = Pair()
    seen = b""
    for _ in range(5):
        for end, other in ((pair.client, pair.server), (pair.server, pair.client)):
            seen += (data := end.take())
            if data:
                other.receive(data)
    assert pair.client.session.open
    assert pair.client.session.send(TextMessage("a secret"))
    seen += pair.client.take()
    assert b"HTTP" not in seen
    assert b"secret" not in seen


def test_what_comes_with_the_end_of_the_handshake_is_read_at_once() -> None:
    pair = Pair()
    pair.server.receive(pair.client.take())  # ClientHello
    pair.client.receive(pair.server.take())  # everything of the server's
    pair.server.receive(pair.client.take())  # Finished, and the request in the same segment
    assert isinstance(pair.server.log[0], Request)


def test_a_flight_of_records_in_one_read_is_dealt_with_at_once() -> None:
    pair = Pair().opened()
    for number in range(100):
        pair.client.session.send(TextMessage(str(number)))
        pair.client.transport.write()  # each in a record of its own
    pair.server.receive(pair.client.take())
    assert pair.server.log == [str(number) for number in range(100)]


def test_a_record_that_has_not_come_whole_waits_for_its_rest() -> None:
    pair = Pair().opened()
    pair.client.session.send(TextMessage("one"))
    data = pair.client.take()
    pair.server.receive(data[:-1])
    assert pair.server.log == []
    assert pair.server.tls.reading
    pair.server.receive(data[-1:])
    assert pair.server.log == ["one"]


@pytest.mark.parametrize("hostname", ["localhost", "127.0.0.1", "::1"])
def test_names_and_addresses_are_verified(hostname: str) -> None:
    Pair(hostname=hostname).opened()


def test_the_servers_name_is_told_to_the_server() -> None:
    names: list[str | None] = []
    context = server_side()
    context.sni_callback = lambda tls, name, context: names.append(name)
    Pair(server=context).opened()
    Pair(server=context, hostname="127.0.0.1").opened()
    assert names == ["localhost", None]


def test_http_1_1_is_agreed_on() -> None:
    pair = Pair().opened()
    for end in (pair.client, pair.server):
        assert end.tls.tls is not None
        assert end.tls.tls.selected_alpn_protocol() == "http/1.1"


def test_there_is_no_path_around_tls() -> None:
    pair = Pair().opened()
    assert pair.server.session.fast_path() is not None
    assert pair.server.tls.fast_path() is None


def test_the_outbox_is_always_the_same() -> None:
    pair = Pair()
    outboxes = [end.tls.outbox for end in (pair.client, pair.server)]
    pair.opened().client.session.close(1000, "", 0.0)
    pair.carry()
    assert [end.tls.outbox for end in (pair.client, pair.server)] == outboxes


# -- layers -----------------------------------------------------------------------------------


class TLSProxy:
    """A proxy's end of TLS, by OpenSSL."""

    def __init__(self) -> None:
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._tls = server_side().wrap_bio(self._incoming, self._outgoing, server_side=True)

    def decrypted(self, data: bytes) -> bytes:
        self._incoming.write(data)
        plain = b""
        with contextlib.suppress(ssl.SSLWantReadError):
            self._tls.do_handshake()
            while piece := self._tls.read():
                plain += piece
        return plain

    def encrypted(self, plain: bytes) -> bytes:
        """The bytes for this plaintext, and whatever TLS itself has to send."""
        if plain:
            self._tls.write(plain)
        return self._outgoing.read()


def test_tls_goes_through_a_tunnel_that_is_in_tls_itself() -> None:
    server, proxy = End(Role.SERVER, server_side()), TLSProxy()
    client = End(Role.CLIENT, client_side(), "localhost")
    client.session.connect(Request("/ws", host="localhost"))
    tunnel = Tunnel(client.tls, "localhost:443", parse_proxy("http://127.0.0.1"))
    client.tls = SecureSession(tunnel, client_side(), server_hostname="127.0.0.1")
    client.transport.session = client.tls  # type: ignore[assignment]
    for _ in range(6):
        if data := proxy.decrypted(client.take()):
            if data.startswith(b"CONNECT localhost:443 "):
                client.receive(proxy.encrypted(b"HTTP/1.1 200 OK\r\n\r\n"))
            else:
                server.receive(data)
        if data := proxy.encrypted(server.take()):
            client.receive(data)
    assert client.session.open
    server.session.send(BinaryMessage(bytes(300 * KIB)))
    server.session.close(1000, "bye", 0.0)
    client.receive(proxy.encrypted(server.take()))
    while client.tls.pump_due:
        client.tls.pump(0.0)
    assert client.log[1:] == [bytes(300 * KIB), Close(1000, "bye", True)]
