"""What opens a session of `sono.v2` again cannot be guessed, changes, and is written nowhere."""

from __future__ import annotations

import json
import logging
import re
from typing import Any

import pytest

from sono_core.messaging.lossless import History
from sono_server import Client, HTTPRequest, Sono
from tests.servers import Address, Wire, running

BITS = 6
"""Of each character of a secret: it is written in base64url."""


def opened(address: Address, **hello: Any) -> tuple[Wire, dict[str, Any]]:
    """A connection of a client that has said hello, and the welcome."""
    wire = Wire(address, "/ws", subprotocols=("sono.v2",))
    wire.send(json.dumps({"type": "hello", **hello}))
    welcome = json.loads(wire.message())
    assert welcome["type"] == "welcome"
    return wire, welcome


def secret_of(welcome: dict[str, Any]) -> str:
    """The part of a key that is secret; the rest is the public id."""
    session, _, secret = welcome["key"].partition(".")
    assert session == welcome["id"]
    assert isinstance(secret, str)
    return secret


def application() -> Sono:
    sono = Sono(history={"*": History(count=2)})

    @sono.on("fail")
    def fail(client: Client, message: object) -> None:
        raise RuntimeError(f"{client}")

    return sono


@pytest.mark.usefixtures("each_server")
def test_a_key_has_128_random_bits_and_is_replaced_at_each_resume() -> None:
    sono = application()
    with running(sono.connect) as server:
        secrets = []
        for _ in range(20):
            wire, welcome = opened(server.address)
            with wire:
                secrets.append(secret_of(welcome))
        for _ in range(20):
            wire, again = opened(server.address, key=welcome["key"])
            with wire:
                assert (again["resumed"], again["id"]) == (True, welcome["id"])
                wire.send('{"type":"read","stream":"@","at":["",0]}')
                secrets.append(secret_of(again))
                welcome = again
                assert wire.message()  # what was read: so the server knows that the key has come
    assert len(set(secrets)) == 40
    for secret in secrets:
        assert re.fullmatch("[A-Za-z0-9_-]+", secret)
        assert BITS * len(secret) >= 128
    for column in zip(*secrets, strict=True):
        assert len(set(column)) > 1, "a part of it is the same in all of them"


@pytest.mark.usefixtures("each_server")
def test_no_key_is_in_a_log_an_error_or_a_repr(
    caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    sono = application()
    shown: list[str] = []

    @sono.on_connect
    def on_connect(client: Client) -> None:
        shown.append(repr(client))

    def answer(request: HTTPRequest) -> None:
        sono.connect(request)
        shown.append(repr(request))

    with caplog.at_level(logging.DEBUG), running(answer) as server:
        wire, welcome = opened(server.address)
        secret = secret_of(welcome)
        publish = {"type": "publish", "seq": 1, "channel": "Home", "event": "fail", "data": secret}
        with wire:
            wire.send(json.dumps(publish))
            assert secret not in wire.message()
        wire, again = opened(server.address, key=welcome["key"])
        with wire:
            wire.send(json.dumps({"type": "hello", "key": again["key"]}))  # once too often
            assert secret_of(again) not in wire.message()
        wire, other = opened(server.address, key=f"{welcome['id']}.{secret}x")
        with wire:
            assert not other["resumed"]
        server.call(lambda: shown.extend(map(repr, (sono, *sono.clients.values()))))
    written = "".join((caplog.text, *capfd.readouterr(), *shown))
    assert "RuntimeError" in written
    for each in (welcome, again, other):
        assert secret_of(each) not in written
