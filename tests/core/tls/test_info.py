"""info.py: what a connection in TLS says of itself."""

from __future__ import annotations

import ssl

import pytest

from sono_core.tls import TLSInfo, tls_info
from tests.certificates import authority, client_side, of_client, server_side
from tests.secure import VERSIONS, Pair


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("shown", [True, False])
def test_both_sides_of_a_connection(version: ssl.TLSVersion, shown: bool) -> None:
    server, client = server_side(), client_side()
    server.maximum_version = version
    server.verify_mode = ssl.CERT_OPTIONAL
    authority().configure_trust(server)
    if shown:
        of_client().configure_cert(client)
    pair = Pair(server=server, client=client).opened()
    assert pair.server.tls.tls
    assert pair.client.tls.tls
    ours, theirs = tls_info(pair.server.tls.tls), tls_info(pair.client.tls.tls)
    assert ours.version == theirs.version == version.name.replace("v1_", "v1.")
    assert ours.cipher == theirs.cipher
    assert ours.alpn == theirs.alpn == "http/1.1"
    assert (ours.certificate is not None) is (ours.subject is not None) is shown
    assert theirs.subject
    assert ("DNS", "localhost") in theirs.subject["subjectAltName"]


def test_before_the_handshake_nothing_is_known() -> None:
    bios = ssl.MemoryBIO(), ssl.MemoryBIO()
    connection = server_side().wrap_bio(*bios, server_side=True)
    with pytest.raises(ValueError, match="handshake"):
        tls_info(connection)
    assert TLSInfo("TLSv1.3", None).subject is None
