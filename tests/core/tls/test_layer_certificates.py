"""Certificates, names and versions: what either side refuses, and what it tells the other."""

from __future__ import annotations

import ssl

import pytest

from sono_core import Role
from tests import certificates
from tests.certificates import client_side, server_side
from tests.secure import End, Pair

REFUSED = {
    "wrong name": (
        certificates.wrong_name,
        "Hostname mismatch, certificate is not valid for 'localhost'.",
    ),
    "self-signed": (certificates.self_signed, "self-signed certificate"),
    "expired": (certificates.expired, "certificate has expired"),
}


@pytest.mark.parametrize("fault", REFUSED)
def test_a_bad_certificate_is_refused(fault: str) -> None:
    make, reason = REFUSED[fault]
    told = Pair(server=server_side(make())).refusal()
    assert told.replace("self signed", "self-signed") == f"certificate verify failed: {reason}"


def test_a_certificate_for_another_address_is_refused() -> None:
    reason = Pair(hostname="127.0.0.2").refusal()
    assert reason.startswith("certificate verify failed: IP address mismatch")


def test_an_authority_that_is_not_known_is_refused() -> None:
    reason = Pair(client=client_side(trusting=False)).refusal()
    assert reason == "certificate verify failed: unable to get local issuer certificate"


def test_the_server_sees_why_it_was_refused() -> None:
    pair = Pair(server=server_side(certificates.expired()))
    pair.server.receive(pair.client.take())
    pair.client.receive(pair.server.take())
    assert not pair.client.tls.over  # the alert first
    pair.server.receive(pair.client.take())
    assert pair.server.tls._failure == "the peer refused TLS: certificate expired"


def test_a_client_without_the_certificate_that_is_wanted_is_told() -> None:
    context = server_side()
    context.verify_mode = ssl.CERT_REQUIRED
    certificates.authority().configure_trust(context)
    pair = Pair(server=context)
    reason = pair.refusal()
    assert reason in (
        "the peer refused TLS: certificate required",  # RFC 8446, section 6.2
        "the peer refused TLS: handshake failure",
    )


def test_a_clients_certificate_can_be_asked_for() -> None:
    context = server_side()
    context.verify_mode = ssl.CERT_REQUIRED
    certificates.authority().configure_trust(context)
    mine = client_side()
    certificates.of_client().configure_cert(mine)
    pair = Pair(server=context, client=mine).opened()
    assert pair.server.tls.tls is not None
    assert pair.server.tls.tls.getpeercert()


def test_a_version_that_the_server_does_not_speak_is_told() -> None:
    context = server_side()
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    mine = client_side()
    mine.maximum_version = ssl.TLSVersion.TLSv1_2
    assert Pair(server=context, client=mine).refusal() == "the peer refused TLS: protocol version"


def test_a_context_of_the_other_side_is_refused() -> None:
    with pytest.raises((ssl.SSLError, ValueError)):  # from Python 3.14 on ssl says ValueError
        End(Role.SERVER, ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT))
