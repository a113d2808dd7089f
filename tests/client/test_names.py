"""A host's name has one use in the look-up, one in TLS and one in the request; on both clients."""

from __future__ import annotations

import socket
from typing import Any

import pytest

from sono_server.serving.requests import HTTPRequest
from tests import certificates
from tests.client.blocking_peers import echo, serving
from tests.client.each_client import Client


@pytest.mark.parametrize(
    ("host", "looked_up"),
    [
        ("localhost", "localhost"),
        ("localhost.", "localhost."),
        ("LOCALHOST", "localhost"),
        ("0x7f.1", "127.0.0.1"),
        ("ｌocalhost", "localhost"),
    ],
)
def test_each_use_has_its_name(
    each_client: Client, host: str, looked_up: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    look_up, asked, hosts, names = socket.getaddrinfo, [], [], []

    def getaddrinfo(name: str, *arguments: Any, **options: Any) -> Any:
        asked.append(name)
        return look_up("127.0.0.1", *arguments, **options)

    def handle(request: HTTPRequest) -> None:
        hosts.append(request.headers["host"])
        echo(request)

    context = certificates.server_side()
    context.sni_callback = lambda _socket, name, _context: names.append(name)
    with serving(handle, host="127.0.0.1", ssl=context) as server:
        port = server.address[1]
        monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
        url = f"wss://{host}:{port}/"
        assert each_client(url, proxy=None, ssl=certificates.client_side()) == "x"
    assert asked == [looked_up]
    assert hosts == [f"{looked_up}:{port}"]
    assert names == [None if host == "0x7f.1" else "localhost"]
