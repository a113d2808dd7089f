"""A URL whose scheme does not fit the port says so, on both clients."""

from __future__ import annotations

import pytest

from sono_client import ConnectError
from sono_core import Timeouts
from tests import certificates
from tests.client.blocking_peers import echo, serving
from tests.client.each_client import Client

PATIENT = Timeouts(handshake=60.0)


def test_ws_to_a_port_of_tls(each_client: Client) -> None:
    with serving(echo, host="127.0.0.1", ssl=certificates.server_side()) as server:
        place = f"127.0.0.1:{server.address[1]}"
        with pytest.raises(ConnectError) as caught:
            each_client(f"ws://{place}/", proxy=None, timeouts=PATIENT)
    assert str(caught.value) == f"{place}: the peer speaks TLS: use wss://"


def test_wss_to_a_port_without_tls(each_client: Client) -> None:
    with serving(echo, host="127.0.0.1") as server:
        place = f"127.0.0.1:{server.address[1]}"
        with pytest.raises(ConnectError) as caught:
            each_client(f"wss://{place}/", proxy=None, timeouts=PATIENT)
    reason = "the peer does not speak TLS: use ws:// if that is meant"
    assert str(caught.value) == f"{place}: {reason}"


def test_an_https_proxy_on_a_port_without_tls(each_client: Client) -> None:
    with serving(echo, host="127.0.0.1") as server:
        place = f"127.0.0.1:{server.address[1]}"
        with pytest.raises(ConnectError) as caught:
            each_client("ws://far.test/", proxy=f"https://{place}", timeouts=PATIENT)
    reason = "the peer does not speak TLS: use http:// if that is meant"
    assert str(caught.value) == f"far.test: proxy {place}: {reason}"
