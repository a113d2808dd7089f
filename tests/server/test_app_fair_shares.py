"""`Sono` and clients that send too fast, ask too much, or whose packets reach many."""

from __future__ import annotations

import json
import time

import pytest

from sono_core import Limits, TextMessage
from sono_server import Client, Sono
from tests.helpers import Application
from tests.server.selector_helpers import held, until
from tests.servers import Wire, running


@pytest.mark.usefixtures("each_server")
def test_who_sends_too_fast_is_read_from_more_slowly_and_loses_nothing() -> None:
    sono = Sono(limits=Limits(packet_rate=50))
    seen: list[object] = []

    @sono.on("x")
    def note(client: Client, message: object) -> bool:
        seen.append(message)
        return False

    packet = '{"protocol":"message","event":"x","payload":{"message":"%s"}}'
    with (
        running(sono.connect) as server,
        Wire(server.address, "/ws") as flooder,
        Wire(server.address, "/ws") as other,
    ):
        with held(server):  # so that the loop finds the packets of both together
            began = time.monotonic()
            flooder.send(*(packet % number for number in range(120)))
            other.send(packet % "other")
        until(lambda: len(seen) == 121)
        # 100 may come at once, and each one after the 101st waits for 1/50 s; a busy machine can
        # only make that longer.
        assert time.monotonic() - began >= 19 / 50
    assert seen.index("other") <= 101
    assert [message for message in seen if message != "other"] == [str(n) for n in range(120)]


@pytest.mark.parametrize(
    ("protocol", "emits", "turns"),
    [
        ("message", False, [2, 4, 6, 8, 10]),  # each reaches four, and two reach more than seven
        ("broadcast", False, [3, 6, 9, 10]),
        ("message", True, list(range(1, 11))),
        ("directmessage", False, [10]),
        ("directmessage", True, [2, 4, 6, 8, 10]),
    ],
)
def test_a_client_whose_packets_reach_many_lets_others_have_their_turn(
    protocol: str, emits: bool, turns: list[int]
) -> None:
    application = Application(Sono(limits=Limits(max_turn_deliveries=7)))
    sender, other, *_ = [application.connect() for _ in range(4)]
    seen: list[object] = []

    @application.sono.on("x")
    def note(client: Client, message: object) -> None:
        seen.append(message)
        if emits:
            application.sono.emit("heard")

    payload = {"message": 1, "to": other.id} if protocol == "directmessage" else {"message": 1}
    packet = json.dumps({"protocol": protocol, "event": "x", "payload": payload})
    for _ in range(10):
        sender.connection.send(TextMessage(packet))
    sender.session.receive(sender.connection.data_to_send(), 0.0)
    counts = [len(seen)]
    for _ in turns[1:]:
        application.loop.turn()
        sender.session.pump(0.0)
        counts.append(len(seen))
    assert counts == turns


def test_what_a_client_asks_for_counts_as_if_it_had_sent_it() -> None:
    sono = Sono(limits=Limits(byte_rate=2000))
    grab = '{"protocol":"grab","payload":{"message":"clients"}}'
    with running(sono.connect) as server, Wire(server.address, "/ws") as asker:
        asker.send(grab)
        size = len(grab) + len(asker.message())
        began = time.monotonic()
        more = 5000 // size
        asker.send(*[grab] * more)
        for _ in range(more):
            asker.message()
    assert len(grab) * more < 4000  # its packets alone could come at once
    # The answer to the last packet waits until those before it are paid for.
    assert time.monotonic() - began >= (size * (more - 1) - 4000) / 2000
