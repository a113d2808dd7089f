"""Certificates for tests of TLS: made anew in every run, and trusted by nobody else.

`good` is what a server at `localhost`, 127.0.0.1 and ::1 should have; each of the others is wrong
in one way. `server_side` and `client_side` make contexts of them, `save` writes files.
"""

from __future__ import annotations

import datetime
import ssl
from functools import cache
from pathlib import Path

import trustme
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

PLACES = ("localhost", "127.0.0.1", "::1")
_LONG_AGO = datetime.datetime(2001, 1, 1, tzinfo=datetime.timezone.utc)
_A_YEAR = datetime.timedelta(days=365)


@cache
def authority() -> trustme.CA:
    """Signs all certificates except `self_signed`."""
    return trustme.CA()


@cache
def good() -> trustme.LeafCert:
    """For `localhost` and the loopback addresses."""
    return authority().issue_cert(*PLACES)


@cache
def renewed() -> trustme.LeafCert:
    """Another certificate for the same names, with another key."""
    return authority().issue_cert(*PLACES)


@cache
def wrong_name() -> trustme.LeafCert:
    """For another server's name."""
    return authority().issue_cert("elsewhere.example")


@cache
def expired() -> trustme.LeafCert:
    """For the right server, but long expired."""
    return authority().issue_cert(*PLACES, not_before=_LONG_AGO, not_after=_LONG_AGO + _A_YEAR)


@cache
def of_client() -> trustme.LeafCert:
    """A client certificate, for servers that ask for one."""
    return authority().issue_cert("someone@example.com")


@cache
def self_signed() -> trustme.LeafCert:
    """For the right server, signed by itself."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime.now(datetime.timezone.utc)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _A_YEAR)
        .not_valid_after(now + _A_YEAR)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return trustme.LeafCert(pem, certificate.public_bytes(Encoding.PEM), [])


def server_side(certificate: trustme.LeafCert | None = None) -> ssl.SSLContext:
    """A server's context as an application makes it; with `good` by default."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.set_alpn_protocols(["http/1.1"])
    (certificate or good()).configure_cert(context)
    return context


def client_side(*, trusting: bool = True) -> ssl.SSLContext:
    """A verifying client's context that trusts `authority`, or no certificate of this file."""
    context = ssl.create_default_context()
    context.set_alpn_protocols(["http/1.1"])
    if trusting:
        authority().configure_trust(context)
    return context


def save(
    folder: Path, certificate: trustme.LeafCert | None = None, password: str | None = None
) -> tuple[str, str]:
    """Write a certificate chain and its key into a folder; returns the paths of the two files."""
    certificate = certificate or good()
    chain, key = folder / "chain.pem", folder / "key.pem"
    chain.write_bytes(b"".join(blob.bytes() for blob in certificate.cert_chain_pems))
    pem = certificate.private_key_pem.bytes()
    if password is not None:
        encrypted = BestAvailableEncryption(password.encode())
        private = load_pem_private_key(pem, None)
        pem = private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encrypted)
    key.write_bytes(pem)
    return str(chain), str(key)


def save_authority(folder: Path) -> str:
    """Write the certificate of `authority` into a folder; returns the path."""
    path = folder / "authority.pem"
    path.write_bytes(authority().cert_pem.bytes())
    return str(path)
