"""Hostile packets: row 26 and the rules for JSON, over real connections."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.hostile.conftest import Victim
from tests.servers import Wire


def packet(event: str, protocol: str = '"message"', message: str = '"x"') -> str:
    return f'{{"protocol":{protocol},"event":{event},"payload":{{"message":{message}}}}}'


BAD: dict[str, str | bytes] = {
    "event null": packet("null"),
    "event 1": packet("1"),
    "event {}": packet("{}"),
    "event []": packet("[]"),
    "event of 1 MB": packet('"' + "x" * 1_000_000 + '"'),
    "event error": packet('"error"'),
    "event grab": packet('"grab"'),
    "event __proto__ with a control": packet('"__proto__\\u0000"'),
    "no object": "[]",
    "no JSON": "{",
    "protocol null": packet('"x"', protocol="null"),
    "protocol unknown": packet('"x"', protocol='"exec"'),
    "nesting": "[" * 200_000,
    "nested message": packet('"x"', message="[" * 100 + "]" * 100),
    "5,000 digits": packet('"x"', message="9" * 5000),
    "NaN": packet('"x"', message="NaN"),
    "1e999": packet('"x"', message="1e999"),
    "duplicate keys": packet('"x"').replace('"event"', '"protocol":"broadcast","event"'),
    "lone surrogate": packet('"x"', message='"\\ud800"'),
    "binary": b"\x80\x04.",
}


def told(wire: Wire) -> Any:
    return json.loads(wire.message())


@pytest.mark.parametrize("bad", BAD.values(), ids=BAD)
def test_row_26_the_sender_alone_is_told(victim: Victim, bad: str | bytes) -> None:
    with victim.wire("/ws") as sender, victim.wire("/ws") as other:
        sender.send(bad)
        answer = told(sender)
        assert answer["protocol"] == "error"
        assert answer["payload"]["code"]
        sender.send(packet('"fine"'))
        assert told(sender)["payload"]["message"] == "x"
        assert told(other)["payload"]["message"] == "x"  # the first that it gets
