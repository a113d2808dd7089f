"""What a turn of the loop holds: requests, and the deliveries of all clients, on each server."""

from __future__ import annotations

import itertools
import json
import time
from collections import Counter
from typing import Any

import pytest

from sono_core import Limits, Ping, Pong
from sono_core.lifecycle import Deadline
from sono_server import Client, HTTPRequest, Sono
from tests.helpers import Application
from tests.server.selector_helpers import held, until
from tests.servers import Running, Wire, dial, read_all, running

MEMBERS, TURN, EACH = 30, 100, 24
"""Receivers, deliveries of a turn, and packets of each sender."""


def packet(message: object = 0, protocol: str = "message", **others: object) -> str:
    payload = {"message": message, **others}
    return json.dumps({"protocol": protocol, "event": "x", "payload": payload})


def generous(**limits: int) -> Limits:
    """Limits under which nobody is throttled."""
    return Limits(packet_rate=1 << 20, byte_rate=1 << 40, delivery_rate=1 << 40, **limits)


class Turns:
    """Counts, in the server's thread, what is delivered in each turn of a Sono."""

    def __init__(self, sono: Sono) -> None:
        self.delivered = [0]
        self.senders: list[str] = []
        dispatcher: Any = sono._dispatcher
        deliver = dispatcher.deliver

        def counted(publication: Any, *others: Any) -> None:
            before = dispatcher._delivered
            deliver(publication, *others)
            self.delivered[-1] += dispatcher._delivered - before
            self.senders.append(publication.payload.value())

        class Turn(type(dispatcher._turn)):  # type: ignore[misc]
            def renew(turn: Any) -> None:
                super().renew()
                self.delivered.append(0)

        dispatcher.deliver = counted
        dispatcher._turn = Turn(dispatcher._limits)


@pytest.fixture
def untimed(monkeypatch: pytest.MonkeyPatch) -> None:
    """No turn ends by its time, however busy the machine."""
    monkeypatch.setattr("sono_io.fast.TURN_SECONDS", 1e9)


@pytest.mark.usefixtures("each_server", "untimed")
@pytest.mark.parametrize("senders", [1, 4, 20])
def test_all_senders_share_the_deliveries_of_a_turn_in_rotation(senders: int) -> None:
    sono = Sono(limits=generous(max_turn_deliveries=TURN))
    turns = Turns(sono)
    with running(sono.connect) as server:
        others = [Wire(server.address, "/ws") for _ in range(MEMBERS - senders)]
        wires = [Wire(server.address, "/ws") for _ in range(senders)]
        until(lambda: len(sono.clients) == MEMBERS)
        with held(server):
            for number, wire in enumerate(wires):
                wire.send(*[packet(number)] * EACH)
        for wire in (*wires, *others):
            for _ in range(senders * EACH):
                wire.message()
            wire.close()
    assert sum(turns.delivered) == senders * EACH * MEMBERS
    assert max(turns.delivered) <= TURN + MEMBERS  # the last may take more
    # While all have some left, nobody is further ahead than by what came first.
    counts: Counter[str] = Counter()
    for sender in turns.senders[: senders * (EACH - 8)]:
        counts[sender] += 1
    assert len(counts) == senders
    assert max(counts.values()) - min(counts.values()) <= 2 * (1 + TURN // MEMBERS)


@pytest.mark.usefixtures("each_server", "untimed")
def test_who_asks_for_little_is_served_in_a_turn_that_is_spent() -> None:
    """Its messages do not wait for those that reach many."""
    sono = Sono(open_channels=True, limits=generous(max_turn_deliveries=TURN))
    heard: list[object] = []

    @sono.on("x")
    def hear(client: Client, message: object) -> None:
        heard.append(message)

    turns = Turns(sono)
    with running(sono.connect) as server:
        wires = [Wire(server.address, "/ws") for _ in range(MEMBERS)]
        with Wire(server.address, "/ws") as modest:
            modest.send(packet(None, "changeChannel", to="quiet"))
            modest.send(packet("first"))
            assert "first" in str(modest.message())
            with held(server):
                for wire in wires:
                    wire.send(*[packet("loud")] * EACH)
                modest.send(*[packet("modest")] * EACH)
            for _ in range(EACH):
                assert "modest" in str(modest.message())
            # They came while most of the others waited: 3 or 4 of those fit into each turn.
            last = max(n for n, sender in enumerate(turns.senders) if sender == "modest")
            assert turns.senders[:last].count("loud") < MEMBERS * EACH / 2
        for wire in wires:
            wire.close()


def test_what_a_packet_causes_waits_and_its_sender_with_it() -> None:
    """Only one packet of each client is dealt with; the others wait unread, and within bounds."""
    sono = Sono(limits=generous(max_turn_deliveries=5))
    application = Application(sono, Limits(max_held=1000))
    waiting = sono._dispatcher._waiting
    a, b, c = [application.connect() for _ in range(3)]
    for peer in (a, a, b, a, b):
        peer.send(packet("a" if peer is a else "b"))
    assert heard(c) == ["a", "a"]  # six deliveries
    assert [client.id for client, _ in waiting] == [b.id, a.id]
    assert b.session.reading  # ahead, so that its pings are answered
    more = 0
    while b.session.reading and more < 100:
        b.send(packet("b"))
        more += 1
    assert more < 10
    assert len(waiting) == 2
    application.loop.turn()
    application.settle()
    assert heard(c) == ["b", "a"]
    application.loop.turn()
    application.settle()
    later = heard(c)
    for _ in range(more):
        application.loop.turn()
        application.settle()
        later += heard(c)
    assert later == ["b"] * (1 + more)
    assert not waiting
    assert a.session.reading
    assert b.session.reading
    assert not {**a.session.deadlines, **b.session.deadlines}.keys() & {Deadline.PAUSE}


def heard(peer: Any) -> list[object]:
    return [packet["payload"]["message"] for packet in peer.take() if packet["protocol"] != "error"]


def test_a_turn_waits_until_the_last_one_is_written() -> None:
    application = Application(Sono(limits=generous(max_turn_deliveries=5)))
    a, _, c = [application.connect() for _ in range(3)]
    for _ in range(3):
        a.send(packet("a"))
    assert heard(c) == ["a", "a"]
    loop: Any = application.loop

    class Writing:
        to_flush = (1,)

        def look(self) -> bool:
            return False

    context, loop.context = loop.context, Writing()
    loop._run_next_turn()
    application.settle()
    assert heard(c) == []
    loop.context = context
    application.loop.turn()
    application.settle()
    assert heard(c) == ["a"]


def test_a_receiver_that_has_gone_meanwhile_misses_a_message() -> None:
    application = Application(Sono(limits=generous(max_turn_deliveries=2)))
    a, b, c = [application.connect() for _ in range(3)]
    a.send(packet("all"))
    b.send(packet("all"))
    assert heard(c) == ["all"]
    b.end()
    application.settle()
    for _ in range(2):
        application.loop.turn()
        application.settle()
    assert heard(c) == ["all"]


def test_64_requests_are_answered_before_the_next_turn() -> None:
    answered: list[int] = []

    def answer(request: HTTPRequest) -> None:
        request.respond(204)
        answered.append(1)

    counts: list[int] = []
    with running(answer) as server:
        original = server.server._turn

        def counted() -> None:
            counts.append(len(answered))
            original()

        socks = [dial(server.address) for _ in range(150)]
        until(lambda: server.call(lambda: len(server.server._transports)) == 150)
        server.call(lambda: setattr(server.server, "_turn", counted))
        with held(server):
            for sock in socks:
                sock.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        for sock in socks:
            assert b" 204 " in read_all(sock)
            sock.close()
    between = [after - before for before, after in itertools.pairwise(counts)]
    assert between.count(64) == 2
    assert max(between) == 64


@pytest.mark.parametrize("kind", ["asyncio"])
def test_asyncio_has_its_turn_after_64_requests(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.servers.kind", kind)
    answered: list[int] = []
    counts: list[int] = []
    server: Running

    def answer(request: HTTPRequest) -> None:
        request.respond(204)
        answered.append(1)

    with running(answer) as server:
        socks = [dial(server.address) for _ in range(150)]
        until(lambda: server.call(lambda: len(server.server._transports)) == 150)

        def watch() -> None:
            selector = server.server.loop._selector
            original = selector.select

            def select(timeout: float | None = None) -> Any:
                counts.append(len(answered))
                return original(timeout)

            selector.select = select

        server.call(watch)
        with held(server):
            for sock in socks:
                sock.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        for sock in socks:
            assert b" 204 " in read_all(sock)
            sock.close()
    between = [after - before for before, after in itertools.pairwise(counts)]
    assert max(between) == 64


@pytest.mark.usefixtures("each_server")
def test_pings_are_answered_at_their_rate() -> None:
    with (
        running(limits=Limits(control_rate=100, max_turn_messages=50)) as server,
        Wire(server.address) as flooder,
        Wire(server.address) as other,
    ):
        began = time.monotonic()
        flooder.send(*[Ping(b"")] * 260)
        other.send("heard?")
        assert other.message() == "heard?"
        for _ in range(260):
            assert isinstance(flooder.next(), Pong)
        # 200 come at once, and the last when all before it but a turn of 50 are paid for.
        assert time.monotonic() - began >= 0.09
        flooder.send("still open")
        assert flooder.message() == "still open"
