"""`request.tls`: who the peer is, on every server."""

from __future__ import annotations

import asyncio
import ssl
from typing import Any

import pytest

from sono_client import connect
from sono_core.tls import Certificates, TLSInfo, server_context
from sono_server import HTTPRequest, Sono
from sono_server.asgi import ASGIApplication
from sono_server.serving import Options
from tests.certificates import authority, client_side, of_client, save, server_side
from tests.server.stream_server import streaming
from tests.servers import PATIENCE, dial, running

KINDS = ["selector", "asyncio", "uvloop", "stream", "stream on uvloop"]


def asking(mode: ssl.VerifyMode) -> ssl.SSLContext:
    """A server's context that asks for the client's certificate."""
    context = server_side()
    authority().configure_trust(context)
    context.verify_mode = mode
    return context


def seen(
    kind: str, context: ssl.SSLContext | None, client: ssl.SSLContext | None, patch: Any
) -> Any:
    """What `authenticate` sees of one client."""
    found: list[tuple[TLSInfo | None, TLSInfo | None, str]] = []
    sono = Sono()

    @sono.authenticate
    def who(request: HTTPRequest) -> object:
        found.append((request.tls, request.tls, request.scheme))
        return "somebody"

    def talk(port: int) -> None:
        scheme = "wss" if context else "ws"
        with connect(f"{scheme}://localhost:{port}/ws", ssl=client) as ws:
            assert ws.ping(PATIENCE) >= 0

    if "uvloop" in kind:
        pytest.importorskip("uvloop")
    if kind.startswith("stream"):
        with streaming(sono.handle_stream, tls=context, kind=kind.rpartition(" ")[2]) as address:
            talk(address[1])
    else:
        patch.setattr("tests.servers.kind", kind)
        with running(sono._answer, ssl=context) as server:
            talk(server.address[1])
    ((first, again, scheme),) = found
    assert first is again  # looked at once
    assert scheme == ("https" if context else "http")
    return first


@pytest.mark.parametrize("kind", KINDS)
def test_without_tls_there_is_none(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert seen(kind, None, None, monkeypatch) is None


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("mode", [ssl.CERT_NONE, ssl.CERT_OPTIONAL])
def test_a_client_without_a_certificate(
    kind: str, mode: ssl.VerifyMode, monkeypatch: pytest.MonkeyPatch
) -> None:
    tls = seen(kind, asking(mode), client_side(), monkeypatch)
    assert tls.version == "TLSv1.3"
    assert tls.cipher.startswith("TLS_")
    assert tls.alpn == "http/1.1"
    assert tls.certificate is None
    assert tls.subject is None


@pytest.mark.parametrize("kind", KINDS)
def test_a_client_with_a_certificate(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    client = client_side()
    of_client().configure_cert(client)
    tls = seen(kind, asking(ssl.CERT_REQUIRED), client, monkeypatch)
    assert tls.subject["subjectAltName"] == (("email", "someone@example.com"),)
    shown = of_client().cert_chain_pems[0].bytes().decode()
    assert tls.certificate == ssl.PEM_cert_to_DER_cert(shown)


def test_certificates_that_can_be_replaced(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    files = save(tmp_path)
    certificates = Certificates(lambda: server_context(*files))
    tls = seen("selector", certificates.context, client_side(), monkeypatch)
    assert tls.version == "TLSv1.3"


# -- under ASGI -------------------------------------------------------------------------------


def told(**scope: Any) -> TLSInfo | None:
    """What a request under an ASGI server says that tells this."""
    found: list[TLSInfo | None] = []

    def answer(request: HTTPRequest) -> None:
        found.append(request.tls)
        request.respond(403)

    async def main() -> None:
        events = [{"type": "websocket.connect"}, {"type": "websocket.disconnect", "code": 1006}]

        async def receive() -> Any:
            return events.pop(0)

        async def send(event: Any) -> None:
            pass

        whole = {"type": "websocket", "path": "/", "headers": [(b"host", b"a")], **scope}
        await ASGIApplication(answer, Options())(whole, receive, send)

    asyncio.run(main())
    (tls,) = found
    return tls


@pytest.mark.parametrize("scope", [{}, {"extensions": None}, {"extensions": {}}])
def test_an_asgi_server_that_tells_nothing(scope: Any) -> None:
    assert told(**scope) is None
    assert told(**scope, scheme="wss") is None


def test_an_asgi_server_that_tells_of_tls() -> None:
    chain = [blob.bytes().decode() for blob in of_client().cert_chain_pems]
    tls = {"tls_version": 0x0304, "cipher_suite": 0x1302, "client_cert_chain": chain}
    found = told(scheme="wss", extensions={"tls": tls})
    der = ssl.PEM_cert_to_DER_cert(chain[0])
    assert found == TLSInfo("TLSv1.3", "0x1302", None, der, None)
    bare = {"tls_version": None, "cipher_suite": None, "client_cert_chain": []}
    assert told(extensions={"tls": bare}) == TLSInfo(None, None)


def test_a_connection_that_is_over_knows_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    requests: list[HTTPRequest] = []
    with running(requests.append, ssl=server_side()) as server:
        with client_side().wrap_socket(dial(server.address), server_hostname="localhost") as sock:
            sock.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            while not requests:
                pass
        while server.call(lambda: requests[0].pending):
            pass
        assert server.call(lambda: requests[0].tls) is None
