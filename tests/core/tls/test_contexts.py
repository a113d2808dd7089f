"""Contexts for TLS: what they require, how they report bad files, and how they are replaced."""

from __future__ import annotations

import socket
import ssl
import sys
from pathlib import Path

import pytest

from sono_core import TextMessage
from sono_core.tls.contexts import (
    Certificates,
    check_context,
    client_context,
    server_context,
)
from tests import certificates
from tests.certificates import client_side
from tests.secure import Pair


def test_the_contexts_fit_each_other(tmp_path: Path) -> None:
    pair = Pair(
        server=server_context(*certificates.save(tmp_path)),
        client=client_context(certificates.save_authority(tmp_path)),
    ).opened()
    assert pair.client.tls.tls is not None
    assert pair.client.tls.tls.selected_alpn_protocol() == "http/1.1"
    assert pair.client.tls.tls.version() == "TLSv1.3"


def test_contexts_are_of_tls_1_2_and_never_renegotiate(tmp_path: Path) -> None:
    for context in (server_context(*certificates.save(tmp_path)), client_context()):
        assert context.minimum_version == ssl.TLSVersion.TLSv1_2
        assert context.options & ssl.OP_NO_RENEGOTIATION


def test_a_client_verifies_by_default() -> None:
    context = client_context()
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.check_hostname
    assert Pair(client=context).refusal().startswith("certificate verify failed")


def test_a_chain_may_hold_its_key_and_a_key_may_have_a_password(tmp_path: Path) -> None:
    chain, key = certificates.save(tmp_path, password="sesame")
    server_context(chain, key, "sesame")
    both = tmp_path / "both.pem"
    both.write_bytes(certificates.good().private_key_and_cert_chain_pem.bytes())
    server_context(both)


def test_files_of_no_use_are_named(tmp_path: Path) -> None:
    chain, key = certificates.save(tmp_path, password="sesame")
    other = tmp_path / "other"
    other.mkdir()
    _, other_key = certificates.save(other)
    (tmp_path / "empty").touch()
    empty = str(tmp_path / "empty")
    nothing = "no certificate chain with its private key in PEM, or a wrong password"
    for arguments, text in (
        ((chain, key), f"{chain} and {key}: {nothing}"),
        ((chain, key, "abracadabra"), f"{chain} and {key}: {nothing}"),
        ((chain,), f"{chain}: {nothing}"),
        ((empty, key), f"{empty} and {key}: {nothing}"),
    ):
        with pytest.raises(ValueError) as caught:
            server_context(*arguments)
        assert str(caught.value) == text
    certificates.save(tmp_path, certificates.renewed())
    with pytest.raises(ValueError, match="do not match") as caught:
        server_context(chain, other_key)
    assert chain in str(caught.value)
    with pytest.raises(ValueError, match="no certificates in PEM") as caught:
        client_context(empty)
    assert empty in str(caught.value)


def test_files_that_are_not_there_are_named(tmp_path: Path) -> None:
    chain, _ = certificates.save(tmp_path)
    missing = str(tmp_path / "missing.pem")
    for call in (
        lambda: server_context(missing),
        lambda: server_context(chain, missing),
        lambda: client_context(missing),
    ):
        with pytest.raises(FileNotFoundError) as caught:
            call()
        assert caught.value.filename == missing


# -- reloading --------------------------------------------------------------------------------


def shown(pair: Pair) -> bytes:
    """The certificate that the client received."""
    pair.opened()
    assert pair.client.tls.tls is not None
    assert pair.client.tls.tls.selected_alpn_protocol() == "http/1.1"
    certificate = pair.client.tls.tls.getpeercert(binary_form=True)
    assert certificate
    return certificate


def test_a_reload_counts_for_new_connections_alone(tmp_path: Path) -> None:
    files = certificates.save(tmp_path)
    kept = Certificates(lambda: server_context(*files))
    old = Pair(server=kept.context)
    first = shown(old)
    certificates.save(tmp_path, certificates.renewed())
    assert shown(Pair(server=kept.context)) == first  # nobody has said so yet
    kept.reload()
    second = shown(Pair(server=kept.context))
    assert second != first
    old.client.session.send(TextMessage("still here"))
    old.carry()
    assert old.server.log == ["still here"]
    assert shown(Pair(server=kept.context, hostname="127.0.0.1")) == second  # without SNI


def test_a_name_that_is_no_name_prints_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No traceback, with which peers could fill the log."""
    printed: list[object] = []
    monkeypatch.setattr(sys, "unraisablehook", printed.append)
    kept = Certificates(lambda: server_context(*certificates.save(tmp_path)))
    theirs, ours, out = (ssl.MemoryBIO() for _ in range(3))
    client = client_side().wrap_bio(ssl.MemoryBIO(), theirs, server_hostname="localhost")
    server = kept.context.wrap_bio(ours, out, server_side=True)
    with pytest.raises(ssl.SSLWantReadError):
        client.do_handshake()
    hello = theirs.read()
    assert hello.count(b"localhost") == 1
    ours.write(hello.replace(b"localhost", b"\xff" * 9))
    with pytest.raises(ssl.SSLWantReadError):
        server.do_handshake()
    assert out.pending
    assert not printed


def test_the_newest_context_serves_sockets_too(tmp_path: Path) -> None:
    kept = Certificates(lambda: server_context(*certificates.save(tmp_path)))
    here, there = socket.socketpair()
    options = {"server_side": True, "do_handshake_on_connect": False}
    with there, here, kept.context.wrap_socket(here, **options) as tls:
        assert type(tls.context) is ssl.SSLContext


def test_a_reload_that_fails_changes_nothing(tmp_path: Path) -> None:
    files = certificates.save(tmp_path)
    kept = Certificates(lambda: server_context(*files))
    first = shown(Pair(server=kept.context))
    Path(files[0]).write_text("half a file")
    with pytest.raises(ValueError, match=r"chain\.pem"):
        kept.reload()
    Path(files[0]).unlink()
    with pytest.raises(FileNotFoundError):
        kept.reload()
    assert shown(Pair(server=kept.context)) == first


def test_a_reload_exchanges_the_authorities_of_clients_too(tmp_path: Path) -> None:
    trusted = False

    def load() -> ssl.SSLContext:
        context = server_context(*certificates.save(tmp_path))
        context.verify_mode = ssl.CERT_REQUIRED
        if trusted:
            certificates.authority().configure_trust(context)
        return context

    kept = Certificates(load)
    mine = client_side()
    certificates.of_client().configure_cert(mine)
    assert "refused" in Pair(server=kept.context, client=mine).refusal()
    trusted = True
    kept.reload()
    Pair(server=kept.context, client=mine).opened()


def test_what_is_loaded_must_be_a_servers_context(tmp_path: Path) -> None:
    files = certificates.save(tmp_path)
    found = [server_context(*files)]
    kept = Certificates(lambda: found[0])
    found[0] = client_context()
    with pytest.raises(ValueError, match="must be a server's context, and is a client's"):
        kept.reload()
    Pair(server=kept.context).opened()


@pytest.mark.parametrize("server_side", [True, False])
def test_a_context_must_fit_its_side(server_side: bool) -> None:
    contexts = [ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)]
    right, wrong = contexts if server_side else reversed(contexts)
    check_context("ssl", right, server_side=server_side)
    with pytest.raises(ValueError, match=r"^ssl must be a (server|client)'s context, and is a "):
        check_context("ssl", wrong, server_side=server_side)
    with pytest.raises(TypeError, match=r"^tls must be an ssl\.SSLContext, not bool$"):
        check_context("tls", True, server_side=server_side)


def test_a_context_that_refuses_to_work_is_found_before_it_is_needed() -> None:
    class Broken(ssl.SSLContext):
        def wrap_bio(self, *arguments: object, **options: object) -> ssl.SSLObject:
            raise ssl.SSLError("no library")

    with pytest.raises(ValueError, match=r"^ssl cannot be used for a server: .*no library"):
        check_context("ssl", Broken(ssl.PROTOCOL_TLS_SERVER), server_side=True)
