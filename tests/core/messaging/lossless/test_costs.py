"""What sessions cost: calls of a disconnect, round trips of a resume, bytes of one that waits."""

from __future__ import annotations

import gc
import sys
from itertools import count
from types import FrameType
from typing import Any

import msgspec
import pytest

from sono_core.messaging.lossless import Position, stream_of
from sono_core.messaging.lossless.packets import Event, Hello, Join, Result, Welcome
from sono_core.messaging.lossless.server.sessions import Bounds
from tests.core.messaging.lossless.house import SETTINGS, House
from tests.memory import traced

MANY = msgspec.structs.replace(
    SETTINGS,
    max_joined=128,
    sessions=Bounds(age=60.0, count=20_000, count_of_address=20_000, size=1 << 30),
)


def calls_of_a_disconnect(clients: int, away: int) -> int:
    """Functions of Python that are called when one of many loses its connection."""
    house = House(settings=MANY)
    lines = [house.line() for _ in range(clients)]
    for line in lines:
        line.hello()
    for line in lines[:away]:
        line.lose()
    calls = 0

    def count(frame: FrameType, event: str, argument: Any) -> None:
        nonlocal calls
        calls += event == "call"

    profile = sys.getprofile()
    sys.setprofile(count)
    try:
        lines[-1].lose()
    finally:
        sys.setprofile(profile)
    return calls


@pytest.mark.slow
def test_a_disconnect_costs_the_same_however_many_there_are() -> None:
    few = calls_of_a_disconnect(100, 50)
    assert few > 0
    assert calls_of_a_disconnect(10_000, 5_000) == few


@pytest.mark.parametrize("missed", [0, 3])
def test_100_channels_are_resumed_in_one_round_trip(missed: int) -> None:
    """5.6: one hello, one welcome that tells of every stream, and then what was missed."""
    house = House(settings=MANY)
    line = house.line()
    channels = [f"room {number}" for number in range(100)]
    welcome = line.hello()
    line.send(*(Join(seq=seq, channel=name) for seq, name in enumerate(channels, 1)))
    streams = {begun.stream: begun.at for begun in welcome.streams}
    for packet in line.got:
        if isinstance(packet, Result):
            begun = packet.data.value()
            streams["@"] = packet.at
            streams[begun["stream"]] = Position(*begun["at"])
    assert set(streams) == {"@", "*", "#Home", *map(stream_of, channels)}
    line.lose()
    for channel in channels:
        for number in range(missed):
            house.emit(channel, "said", number)
    first, *events = house.line().send(Hello(key=welcome.key, streams=streams))
    assert isinstance(first, Welcome)
    assert first.resumed
    assert first.denied == []
    assert {begun.stream: begun.at for begun in first.streams} == streams
    assert all(begun.recovered for begun in first.streams)
    places = [(event.stream, event.at) for event in events if isinstance(event, Event)]
    assert len(places) == len(events) == missed * len(channels)
    for stream in map(stream_of, channels):
        offsets = [at.offset for name, at in places if name == stream and at is not None]
        assert offsets == list(range(1, missed + 1))


@pytest.mark.slow
@pytest.mark.parametrize("addresses", [1, 10_000])
def test_a_node_keeps_at_most_a_kib_and_a_half_of_a_session_without_a_connection(
    addresses: int,
) -> None:
    """What a server keeps beside that is measured with one."""
    number = 1000
    numbers = count()

    def suspend(house: House) -> None:
        for _ in range(number):
            address = f"10.0.0.0 {next(numbers) % addresses}"
            line = house.line(address)
            line.hello()
            line.lose()
        gc.collect()

    def prepare() -> House:
        house = House(settings=MANY)
        suspend(house)
        return house

    assert traced(suspend, prepare).kept / number <= 1536
