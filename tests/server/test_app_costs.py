"""What packets and listings cost the client that sends or asks for them."""

from __future__ import annotations

from typing import Any

import pytest

from sono_core import BinaryMessage, Limits, TextMessage
from sono_core.messaging import RateLimiter
from sono_core.messaging.classic import CLASSIC
from sono_core.native import PART
from sono_core.native.scan import CONTAINER
from sono_server import Sono
from tests.helpers import Application, Peer
from tests.server.sono_packets import message


class Recorder:
    """A rate limiter that keeps what it is asked to take."""

    def __init__(self) -> None:
        self.taken: list[int] = []

    def take(self, size: int, now: float) -> float:
        self.taken.append(size)
        return 0.0

    def cause(self, deliveries: int) -> bool:
        return False


def recorded(peer: Peer) -> list[int]:
    recorder: Any = Recorder()
    assert peer.client is not None
    peer.client._rate_limiter = recorder
    return recorder.taken  # type: ignore[no-any-return]


HEAD = '{"protocol":"message","payload":{"message":'
HEAD_COST = len(HEAD + "}}") + 2 * CONTAINER + 4 * PART


@pytest.mark.parametrize(
    ("value", "parts", "containers"),
    [
        ('"text"', 0, 0),
        ('"{[,:"', 0, 0),
        ('"é😀"', 0, 0),
        ("[1,2,3]", 2, 1),
        ('{"a":[]}', 1, 2),
        ("[{},{},{}]", 2, 4),
        ("[{},{},{}", 2, 4),  # not JSON, which only the parser finds
    ],
)
def test_a_packet_costs_its_bytes_and_what_is_made_of_it(
    value: str, parts: int, containers: int
) -> None:
    peer = Application().connect()
    taken = recorded(peer)
    peer.send(HEAD + value + "}}")
    size = len(value.encode())
    assert taken == [HEAD_COST + size + PART * parts + CONTAINER * containers]


@pytest.mark.parametrize(
    "event",
    [
        BinaryMessage(b"\x00" * 100),
        TextMessage("[" * 100),
        TextMessage("é" * 25 + '"' * 2 + "[" * 90),
        TextMessage("😀" * 15 + "9" * 40),
    ],
)
def test_what_is_refused_unread_costs_its_bytes(event: BinaryMessage | TextMessage) -> None:
    peer = Application().connect()
    taken = recorded(peer)
    peer.send_event(event)
    size = len(event.data if isinstance(event, BinaryMessage) else event.text.encode())
    assert taken == [size]
    assert [packet["protocol"] for packet in peer.take()] == ["error"]


@pytest.mark.parametrize("name", ["Home", "é" * 100, "😀" * 100])
def test_an_answer_costs_its_bytes_and_its_names(name: str) -> None:
    application = Application(Sono(home=name))
    application.sono.channel("news")
    peer = application.connect()
    taken = recorded(peer)
    peer.send({"protocol": "grab", "payload": {"message": "channels"}})
    (text,) = peer.texts
    assert taken[1:] == [len(text.encode()) + 2 * PART]


@pytest.mark.parametrize(
    "value",
    [
        "[" + ",".join(["{}"] * 60_000) + "]",
        "[" + ",".join(["[" * 60 + "]" * 60] * 1000) + "]",
        "[" + ",".join(["1e9"] * 200_000) + "]",
        "{" + ",".join(f'"{number:x}":1' for number in range(80_000)) + "}",
    ],
    ids=["brackets", "deep", "numbers", "keys"],
)
def test_what_is_costly_to_parse_fills_the_rate_sooner_than_its_bytes(value: str) -> None:
    """A kilobyte on the wire may hold all of it."""
    limits = Limits()
    cost = CLASSIC.weigh(HEAD + value + "}}", limits)
    limiter = RateLimiter(limits, 0.0)
    at_once = next(number for number in range(1, 1000) if limiter.take(cost, 0.0))
    assert at_once < 10
    assert cost > 3 * len(value)


def test_what_would_make_too_many_objects_is_refused() -> None:
    peer = Application().connect()
    inside = ",".join(["{}"] * 340_000)
    peer.send(message(1) | {"payload": {"message": None}})
    peer.take()
    peer.send(HEAD + f"[1234567890123456789,{inside}]" + "}}")
    (refused,) = peer.take()
    assert refused["payload"] == {
        "code": "invalid-packet",
        "message": "more than 65536 objects and arrays",
    }
