"""TLS around sessions: bytes in any chunking, and one layer in another."""

from __future__ import annotations

import contextlib
import ssl
from collections.abc import Callable, Iterator
from typing import Any

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


class Reading:
    """An `SSLObject` that counts how often it is read from."""

    def __init__(self, tls: ssl.SSLObject) -> None:
        self._tls = tls
        self.count = 0

    def read(self, size: int) -> bytes:
        self.count += 1
        return self._tls.read(size)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._tls, name)


def test_each_record_is_read_once_and_nothing_beyond() -> None:
    """OpenSSL would raise, which takes longer than to read one."""
    pair = Pair().opened()
    layer = pair.server.tls
    reading: Any = Reading(layer.tls)  # type: ignore[arg-type]
    layer.tls = reading
    for number in range(10):
        pair.client.session.send(TextMessage(str(number)))
        pair.client.transport.write()
    pair.server.receive(pair.client.take())
    assert len(pair.server.log) == reading.count == 10


def test_answers_over_tls_leave_together() -> None:
    pair = Pair().opened()
    assert pair.server.tls.answers_together
    assert not pair.server.session.answers_together


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


def test_a_path_around_it_is_for_who_uses_its_engine() -> None:
    pair = Pair().opened()
    tls, session = pair.server.tls, pair.server.session
    assert tls.fast_path() is session.fast_path() is session.connection.reader
    assert tls.engine is not None
    assert tls.engine.inner is session
    assert session.outbox is not tls.outbox
    session.transport.abort()
    assert tls.engine is None


@pytest.mark.parametrize("sent", [0, 10])
def test_records_of_which_a_part_was_sent_follow(sent: int) -> None:
    """What a transport encrypts with the engine, and the stream does not take."""
    pair = Pair().opened()
    tls, session = pair.server.tls, pair.server.session
    engine = tls.engine
    assert engine is not None
    assert session.send(TextMessage("a" * 100))
    plain = engine.write(memoryview(session.outbox.peek()))
    records = engine.give()
    tls.half_written(plain, records, sent, 1.0)
    assert tls.fast_path() is None
    if sent:
        pair.client.receive(records[:sent])
    pair.client.receive(pair.server.take())
    assert pair.client.log[-1] == "a" * 100
    assert not session.outbox.size


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
    assert client.tls.fast_path() is None  # C decrypts once
    server.session.send(BinaryMessage(bytes(300 * KIB)))
    server.session.close(1000, "bye", 0.0)
    client.receive(proxy.encrypted(server.take()))
    while client.tls.pump_due:
        client.tls.pump(0.0)
    assert client.log[1:] == [bytes(300 * KIB), Close(1000, "bye", True)]
