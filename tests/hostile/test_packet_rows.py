"""Hostile packets: row 26, the rules for JSON, and what packets cost, over real connections."""

from __future__ import annotations

import json
import time
import zlib
from typing import Any

import pytest

from sono_core import Deflate, Headers
from sono_core.limits import DEFAULT_LIMITS
from sono_core.websocket.frames import encode_frame
from sono_core.websocket.opcodes import TEXT
from tests.hostile.conftest import MIB, Victim
from tests.servers import Wire

RATE = DEFAULT_LIMITS.byte_rate


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


# -- what packets cost ----------------------------------------------------------------------------

MUCH = {
    "pairs": ("[1234567890123456789," + ",".join(["{}"] * 349_000) + "]", 4, 1),
    "openings": ("[" * (MIB - 1000), 4, 1),
    "numbers": ("[" + ",".join(["1e9"] * 140_000) + "]", 2, 5),
}
"""JSON, how often it is sent, and what a byte of it costs at least."""


@pytest.mark.parametrize("kind", MUCH)
def test_a_small_message_that_is_much_to_parse_is_taken_at_its_rate(
    victim: Victim, kind: str
) -> None:
    """A kilobyte on the wire that inflates to much JSON."""
    value, times, cost = MUCH[kind]
    text = packet('"x"', message=value).encode()
    packer = zlib.compressobj(9, wbits=-15)
    payload = (packer.compress(text) + packer.flush(zlib.Z_SYNC_FLUSH))[:-4]
    assert len(payload) < 4096
    sent = encode_frame(TEXT, payload, rsv1=True, mask=b"abcd")
    with victim.wire("/ws", deflate=Deflate()) as sender, victim.wire() as bystander:
        began = time.monotonic()
        sender.sock.sendall(sent * times)
        for number in range(4):
            bystander.send(str(number))
            assert bystander.message() == str(number)
        for _ in range(times):
            while told(sender)["protocol"] != "error":  # what other clients say
                pass
        # Twice the rate may come at once; the last waits until all before it is paid for.
        owed = (times - 1) * len(text) * cost - 2 * RATE
        assert owed > RATE / 2
        assert time.monotonic() - began >= owed / RATE


@pytest.mark.parametrize("kind", ["channels", "clients"])
def test_a_listing_is_bounded_and_costs_whoever_asks(victim: Victim, kind: str) -> None:
    """A thousand names, each of 500 bytes: 80 bytes would get half a megabyte."""
    asking = f'{{"protocol":"grab","event":"grab","payload":{{"message":"{kind}"}}}}'
    times = 50
    with victim.wire("/crowded") as asker, victim.wire() as bystander:
        began = time.monotonic()
        asker.send(*[asking] * times)
        size = 0
        for number in range(times):
            answer = asker.message()
            assert isinstance(answer, str)
            size += len(answer.encode())
            if number % 10 == 0:
                bystander.send("quick?")
                assert bystander.message() == "quick?"
        seconds = time.monotonic() - began
        payload = json.loads(answer)["payload"]
    assert len(answer.encode()) <= DEFAULT_LIMITS.max_listing + 1000
    assert payload.get("truncated", False) is (kind == "channels")
    assert size <= RATE * (2 + seconds) + len(answer.encode())


def test_a_channel_that_the_application_guards_is_not_entered(victim: Victim) -> None:
    to_admins = packet('"x"', protocol='"changeChannel"')[:-2] + ',"to":"admins"}}'
    where = packet('"grab"', protocol='"grab"', message='"mychannel"')
    with victim.wire("/guarded", headers=Headers({"cookie": "session=guest"})) as guest:
        guest.send(to_admins)
        assert told(guest)["payload"]["code"] == "forbidden"
        guest.send(where)
        assert told(guest)["payload"]["message"] == ["Home"]
