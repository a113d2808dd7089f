"""A broker that speaks TLS: nothing is lost, and what is wrong with it is one clear error.

The whole conformance suite runs with TLS on Sentinels and on a cluster, too: see `conftest`.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from sono_core.messaging.lossless.history import History
from sono_server import Publisher
from sono_server.backplane import UnusableError
from tests import certificates
from tests.backplane.brokers import Broker, Tls, broker, require_redis, tls
from tests.backplane.test_redis_faults import Node

if TYPE_CHECKING:
    from tests.backplane.on_redis import OnRedis

SEVERAL_RECORDS = 50_000
"""Bytes; a record of TLS has at most 16,384."""


@pytest.fixture
def secure() -> Iterator[Tls]:
    require_redis()
    with tls() as one:
        yield one


@pytest.fixture
def server(secure: Tls) -> Iterator[Broker]:
    with broker(tls=secure) as one:
        yield one


def impatient(url: str) -> OnRedis:
    from sono_server.backplane.redis import Bounds
    from tests.backplane.on_redis import OnRedis

    return OnRedis(url, "test", bounds=Bounds(age=0.3))


def test_what_was_said_while_connections_were_cut_is_delivered_once_and_in_order(
    server: Broker,
) -> None:
    said = [f"{number} ".ljust(SEVERAL_RECORDS if number % 3 else 5) for number in range(150)]
    with Node(server) as ann, Node(server) as bob:
        receipts = []
        for number, body in enumerate(said):
            if number % 20 == 10:
                server.command("CLIENT", "KILL", "TYPE", "pubsub")
            if number % 50 == 25:
                server.command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
            receipts.append(ann.publish(body, len(body)))
        offsets = [ann.rig.wait(receipt).offset for receipt in receipts]
        assert offsets == list(range(1, 151))
        for node in (ann, bob):
            node.until(lambda node=node: len(node.bodies) >= len(said))
            assert node.bodies == said
            assert node.gaps == []


def test_a_publisher_speaks_it_too(server: Broker) -> None:
    with Publisher(backplane=server.url) as publisher:
        assert publisher.publish("news", "headline", "hi").offset == 1


@pytest.mark.parametrize(
    ("certificate", "text"),
    [
        ("self_signed", "self.signed certificate"),
        ("expired", "certificate has expired"),
        ("wrong_name", "IP address mismatch"),
    ],
)
@pytest.mark.parametrize("scheme", ["rediss", "rediss+cluster"])
def test_a_certificate_that_is_not_accepted_is_named(
    certificate: str, text: str, scheme: str, caplog: pytest.LogCaptureFixture
) -> None:
    require_redis()
    with tls(getattr(certificates, certificate)()) as bad, broker(tls=bad) as server:
        rig = impatient(server.url.replace("rediss", scheme).replace("/0", ""))
        receipt = rig.backplane.publish("#room", "x", 1, History())
        with pytest.raises(UnusableError, match=f"certificate is not accepted: .*{text}"):
            rig.wait(receipt)
        rig.close()
    errors = [r.getMessage() for r in caplog.records if r.levelno == logging.ERROR]
    assert sum("certificate is not accepted" in error for error in errors) == 1
    assert not [record for record in caplog.records if record.exc_info]


@pytest.mark.parametrize("scheme", ["rediss", "rediss+cluster", "rediss+sentinel"])
@pytest.mark.parametrize("name", ["ssl_ca_certs", "ssl_certfile", "ssl_keyfile"])
def test_a_file_that_is_not_there_is_named_at_once(scheme: str, name: str, tmp_path: Path) -> None:
    require_redis()
    path = tmp_path / "none.pem"
    with pytest.raises(ValueError, match=f"^backplane: {name} must be there: '.*none.pem'$"):
        impatient(f"{scheme}://:secret@localhost{'/service' * ('sent' in scheme)}?{name}={path}")
