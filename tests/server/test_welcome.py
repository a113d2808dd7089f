"""How long a client of `sono.v2` waits for its `welcome`, while the application decides."""

from __future__ import annotations

import asyncio

import pytest

from sono_core import Timeouts
from sono_server import Client, HTTPRequest, Sono
from tests.lossless_wire import Speaker
from tests.server.selector_helpers import until
from tests.servers import running

pytestmark = pytest.mark.usefixtures("on_asyncio")

SHORT = Timeouts(hello=0.2)


class Door:
    """What the application is asked, and never answers."""

    def __init__(self) -> None:
        self.asked = 0
        self.given_up = 0

    async def never(self) -> None:
        self.asked += 1
        try:
            await asyncio.Event().wait()
        finally:
            self.given_up += 1


def test_who_is_not_decided_upon_in_time_is_told_to_come_back_later() -> None:
    sono, door = Sono(timeouts=SHORT), Door()

    @sono.authenticate
    async def authenticate(request: HTTPRequest) -> str:
        await door.never()
        return "nobody"

    with running(sono.connect) as server, Speaker(server.address) as speaker:
        speaker.say("hello")
        assert speaker.wire.closed().code == 1013
        until(lambda: door.given_up == 1)
        assert server.call(lambda: len(sono._dispatcher.lossless.node.sessions)) == 0
    assert door.asked == 1


def test_who_goes_is_not_decided_upon_any_more() -> None:
    sono, door = Sono(), Door()

    @sono.authenticate
    async def authenticate(request: HTTPRequest) -> str:
        await door.never()
        return "nobody"

    with running(sono.connect) as server:
        speaker = Speaker(server.address)
        speaker.say("hello")
        until(lambda: door.asked == 1)
        speaker.lose()
        until(lambda: door.given_up == 1)


def test_a_session_waits_though_its_channels_are_not_decided_upon() -> None:
    """Its client comes back, and once more."""
    sono, door = Sono(timeouts=SHORT), Door()
    hangs = False

    @sono.on_join("room")
    async def may_join(client: Client, channel: str) -> bool:
        if hangs:
            await door.never()
        return True

    with running(sono.connect) as server:
        speaker = Speaker(server.address, {})
        speaker.do("join", channel="room")
        speaker.lose()
        hangs = True
        with Speaker(server.address) as second:
            second.say("hello", key=speaker.welcome["key"])
            assert second.wire.closed().code == 1013
        until(lambda: door.given_up == 1)
        hangs = False
        with speaker.resume(server.address) as third:
            assert third.welcome["resumed"]
            assert "room" in {one["stream"][1:] for one in third.welcome["streams"]}
