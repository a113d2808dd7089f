"""Who gets what is published again and again, while clients come, go and come back."""

from __future__ import annotations

import json
from typing import Any

from sono_core import Timeouts
from sono_server import Sono
from tests.lossless_wire import Speaker
from tests.server.limits_of_sessions import opened
from tests.server.sono_packets import message, packet
from tests.servers import Wire, running


def heard(wire: Wire) -> Any:
    return packet(wire)["payload"]["message"]


def publish(speaker: Speaker, *numbers: int, **fields: Any) -> None:
    for number in numbers:
        speaker.do("publish", channel="Home", event="message", data=number, **fields)


def test_who_comes_back_gets_what_follows_on_its_new_connection(each_server: str) -> None:
    with (
        running(Sono().connect) as server,
        Speaker(server.address, {}) as sender,
        Speaker(server.address, {}) as first,
    ):
        publish(sender, 1, 2)
        assert [first.wait_for("event")["data"] for _ in range(2)] == [1, 2]
        with first.resume(server.address) as second:
            second.beat()
            publish(sender, 3, 4)
            assert [second.wait_for("event")["data"] for _ in range(2)] == [3, 4]


def test_who_has_come_or_gone_since_is_reached_or_not(each_server: str) -> None:
    with running(Sono().connect) as server, Speaker(server.address, {}) as sender:
        publish(sender, 1, 2)
        with Wire(server.address) as wire, Speaker(server.address, {}) as other:
            publish(sender, 3, 4)
            assert [heard(wire), heard(wire)] == [3, 4]
            assert [other.wait_for("event")["data"] for _ in range(2)] == [3, 4]
            other.say("bye")
            assert other.wire.closed().code == 1000
            publish(sender, 5, 6)
            assert [heard(wire), heard(wire)] == [5, 6]
        publish(sender, 7)
        found = [sender.wait_for("event")["data"] for _ in range(7)]
        assert found == list(range(1, 8))


def test_a_sender_is_left_out_of_its_broadcasts_alone(each_server: str) -> None:
    with (
        running(Sono().connect) as server,
        Speaker(server.address, {}) as one,
        Speaker(server.address, {}) as two,
        Wire(server.address) as wire,
    ):
        publish(one, 1)
        publish(one, 2, self=False)
        publish(one, 3)
        assert [one.wait_for("event")["data"] for _ in range(2)] == [1, 3]
        assert one.wait_for("skip")["at"][1] == 2
        assert [two.wait_for("event")["data"] for _ in range(3)] == [1, 2, 3]
        broadcast = message(4) | {"protocol": "broadcast"}
        for said in (broadcast, message(5)):
            wire.send(json.dumps(said))
        assert [heard(wire) for _ in range(4)] == [1, 2, 3, 5]
        assert [two.wait_for("event")["data"] for _ in range(2)] == [4, 5]


def test_a_change_of_presence_is_told_in_time_whatever_caused_it() -> None:
    """Also one that the application causes outside of all packets."""
    lossless, _, _ = opened(Timeouts())
    node = lossless.node
    node._hub.add("watcher")
    node.presence.watch("Home", "watcher")
    lossless.alarm.scheduled = float("inf")
    node._hub.add("other")
    assert lossless.alarm.scheduled < float("inf")
