"""A network between a node and its broker that fails: resets, and is silent without a word."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.backplane.brokers import Broker, broker, require_redis
from tests.backplane.cable import Cable
from tests.backplane.test_redis_faults import Node
from tests.faults.proxy import Plan, Proxy


@pytest.fixture
def server() -> Iterator[Broker]:
    require_redis()
    with broker() as one:
        yield one


class Behind:
    """A broker as seen through something."""

    def __init__(self, address: tuple[str, int]) -> None:
        self.url = f"redis://{address[0]}:{address[1]}/0"


@pytest.mark.parametrize("fault", ["cut", "reset"])
def test_connections_that_break_anywhere_lose_nothing(server: Broker, fault: str) -> None:
    faults: dict[str, Any] = {fault: 20_000, "calm": 20_000}  # the scripts come through
    plan = Plan(seed=7, slices=3000, **faults)
    with (
        Proxy(("127.0.0.1", server.port), plan) as proxy,
        Node(server) as ann,
        Node(Behind(proxy.address)) as bob,  # type: ignore[arg-type]
    ):
        for number in range(300):
            (ann, bob)[number % 2].publish([number, "x" * 300])
            if number % 30 == 29:
                ann.rig.wait(ann.publish(["sync", number]))
        proxy.calm_down()
        numbers: list[int] = []
        while len(numbers) < 300:
            bob.check()
            bob.rig.settle()
            numbers = [body[0] for body in bob.bodies if body[0] != "sync"]  # type: ignore[index]
        assert proxy.faults[fault] > 0
        assert bob.gaps == []
        for node in (0, 1):  # each node's own in their order, and all of them once
            assert [n for n in numbers if n % 2 == node] == list(range(node, 300, 2))
        ann.rig.settle()
        assert ann.bodies == bob.bodies


@pytest.mark.parametrize("deafens", [False, True])
def test_a_network_that_is_silent_is_noticed_and_what_was_said_meanwhile_is_read(
    server: Broker, monkeypatch: pytest.MonkeyPatch, deafens: bool
) -> None:
    """Also if a node can speak, and is answered, and hears nothing: its probe shows it."""
    from sono_server.backplane.redis import subscriber

    monkeypatch.setattr(subscriber, "LATE", 0.5)
    cable = Cable(("127.0.0.1", server.port), deafens=deafens)
    behind: Any = Behind(cable.address)
    try:
        with Node(server) as ann, Node(behind, socket_timeout=0.5) as bob:
            ann.rig.wait(ann.publish("before"))
            bob.until(lambda: bob.bodies)
            bob.rig.settle()
            cable.cut.set()
            for number in range(20):
                ann.rig.wait(ann.publish(number))
            bob.backplane.probe()
            waits = bob.publish("from behind")
            if deafens:
                assert bob.rig.wait(waits).offset == 22
            else:
                bob.until(lambda: not bob.backplane.connected)
            cable.cut.clear()
            assert bob.rig.wait(waits).offset == 22

            def tick() -> bool:  # a node does so each second, or it would not notice
                bob.backplane.probe()
                return len(bob.bodies) == 22

            bob.until(tick)
            assert bob.bodies == ["before", *range(20), "from behind"]
            assert bob.gaps == []
    finally:
        cable.close()
