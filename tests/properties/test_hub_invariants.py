"""`Hub` under random operations: who is where stays consistent, and nobody gets what is not his.

A second hub is told the same and must answer the same; a model of one dictionary says who is in
which channel.
"""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from sono_core import Limits
from sono_core.messaging.classic.packets import PacketError, parse
from sono_core.messaging.hub import Deliver, Effect, Hub, Publish

CLIENTS = ["a", "b", "c", "1001", "__proto__"]
NAMES = ["Home", "news", "constructor", "x", "y", "z"]
HOSTILE_NAMES = ["", "n" * 129, "a\nb", "\x7f"]
EVENTS = ["message", "news", "__proto__", "grab", "error", ""]

clients = st.sampled_from(CLIENTS)
names = st.sampled_from(NAMES)
values = st.sampled_from([None, 1, "text", [1, {"a": "b"}], {"from": "me"}])


def snapshot(hub: Hub) -> object:
    """Everything that can be seen of a hub, in its order."""
    return (
        [(client, hub.channel_of(client)) for client in hub.clients],
        [(name, list(hub.members(name))) for name in hub.channels],
    )


class Hubs(RuleBasedStateMachine):
    """Two hubs that are told the same."""

    hub: Hub
    twin: Hub

    @initialize(home=st.sampled_from(["Home", "toString"]), open_channels=st.booleans())
    def start(self, home: str, open_channels: bool) -> None:
        self.limits = Limits(max_channels=5)
        self.hub, self.twin = (
            Hub(home, open_channels=open_channels, limits=self.limits) for _ in range(2)
        )
        self.open_channels = open_channels
        self.home = home
        self.kept = {home}
        self.where: dict[str, str] = {}

    def connected(self) -> list[str]:
        return list(self.where)

    def receive(self, client: str, packet: object) -> list[Effect] | PacketError:
        """What both hubs make of a packet; a refused one changes nothing."""
        before = snapshot(self.hub)
        outcomes: list[list[Effect] | PacketError] = []
        for hub in (self.hub, self.twin):
            try:
                outcomes.append(hub.receive(client, parse(json.dumps(packet), self.limits)))
            except PacketError as error:
                assert snapshot(hub) == before
                outcomes.append(error)
        first, second = outcomes
        if isinstance(first, PacketError):
            assert isinstance(second, PacketError)
            assert (first.code, first.text) == (second.code, second.text)
        else:
            assert first == second
        return first

    # -- rules ----------------------------------------------------------------------------------

    @rule(client=clients)
    def add(self, client: str) -> None:
        before = snapshot(self.hub)
        for hub in (self.hub, self.twin):
            if client in self.where:
                with pytest.raises(ValueError):
                    hub.add(client)
                assert snapshot(hub) == before
            else:
                hub.add(client)
        self.where.setdefault(client, self.home)

    @rule(client=clients)
    def remove(self, client: str) -> None:
        before = snapshot(self.hub)
        for hub in (self.hub, self.twin):
            hub.remove(client)
        if self.where.pop(client, None) is None:
            assert snapshot(self.hub) == before

    @rule(name=st.one_of(names, st.sampled_from(HOSTILE_NAMES)))
    def create(self, name: str) -> None:
        before = snapshot(self.hub)
        full = len(self.hub.channels) >= self.limits.max_channels and name not in self.hub.channels
        for hub in (self.hub, self.twin):
            if name in HOSTILE_NAMES or full:
                with pytest.raises(ValueError):
                    hub.create(name)
                assert snapshot(hub) == before
            else:
                hub.create(name)
        if name in self.hub.channels:
            self.kept.add(name)

    @precondition(lambda self: self.where)
    @rule(data=st.data(), name=st.one_of(names, st.sampled_from(HOSTILE_NAMES)))
    def change_channel(self, data: st.DataObject, name: str) -> None:
        client = data.draw(st.sampled_from(self.connected()))
        known = name in self.hub.channels
        full = len(self.hub.channels) >= self.limits.max_channels
        outcome = self.receive(client, {"protocol": "changeChannel", "payload": {"to": name}})
        if name in HOSTILE_NAMES:
            assert isinstance(outcome, PacketError)
            assert outcome.code == "invalid-packet"
        elif not known and not self.open_channels:
            assert isinstance(outcome, PacketError)
            assert outcome.code == "unknown-channel"
        elif not known and full:
            assert isinstance(outcome, PacketError)
            assert outcome.code == "too-many-channels"
        else:
            assert outcome == []
            self.where[client] = name

    @precondition(lambda self: self.where)
    @rule(
        data=st.data(),
        protocol=st.sampled_from(["message", "broadcast"]),
        event=st.sampled_from(EVENTS),
        value=values,
    )
    def publish(self, data: st.DataObject, protocol: str, event: str, value: Any) -> None:
        client = data.draw(st.sampled_from(self.connected()))
        before = snapshot(self.hub)
        packet = {"protocol": protocol, "event": event, "payload": {"message": value}}
        outcome = self.receive(client, packet)
        assert snapshot(self.hub) == before
        if event in ("grab", "error", ""):
            assert isinstance(outcome, PacketError)
            return
        assert not isinstance(outcome, PacketError)
        (publication,) = outcome
        assert isinstance(publication, Publish)
        assert json.loads(publication.text) == {
            "protocol": event,
            "payload": {"message": value, "from": client},
        }
        expected = [other for other in self.connected() if self.where[other] == self.where[client]]
        if protocol == "broadcast":
            expected.remove(client)
        for hub in (self.hub, self.twin):
            recipients = list(hub.recipients(publication))
            assert sorted(recipients) == sorted(expected)

    @rule(channel=st.one_of(st.none(), names), skip=st.one_of(st.none(), clients))
    def recipients(self, channel: str | None, skip: str | None) -> None:
        """Of a publication that may come from elsewhere, for any channel."""
        got = list(self.hub.recipients(Publish(channel, "text", skip)))
        assert got == list(self.twin.recipients(Publish(channel, "text", skip)))
        assert sorted(got) == sorted(
            client
            for client, where in self.where.items()
            if channel in (None, where) and client != skip
        )

    @precondition(lambda self: self.where)
    @rule(data=st.data(), to=clients, as_number=st.booleans())
    def direct(self, data: st.DataObject, to: str, as_number: bool) -> None:
        client = data.draw(st.sampled_from(self.connected()))
        before = snapshot(self.hub)
        payload = {"message": "m", "to": int(to) if as_number and to.isdigit() else to}
        outcome = self.receive(client, {"protocol": "directmessage", "payload": payload})
        assert snapshot(self.hub) == before
        if to not in self.where:
            assert isinstance(outcome, PacketError)
            assert outcome.code == "unknown-client"
            return
        assert not isinstance(outcome, PacketError)
        (delivery,) = outcome
        assert isinstance(delivery, Deliver)
        assert delivery.client == to
        assert json.loads(delivery.text)["payload"] == {"message": "m", "from": client}

    @precondition(lambda self: self.where)
    @rule(data=st.data(), kind=st.sampled_from(["clients", "channels", "mychannelclients"]))
    def grab(self, data: st.DataObject, kind: str) -> None:
        client = data.draw(st.sampled_from(self.connected()))
        before = snapshot(self.hub)
        outcome = self.receive(client, {"protocol": "grab", "payload": {"message": kind}})
        assert snapshot(self.hub) == before
        assert not isinstance(outcome, PacketError)
        (delivery,) = outcome
        assert isinstance(delivery, Deliver)
        assert delivery.client == client
        mates = [other for other, where in self.where.items() if where == self.where[client]]
        expected = {
            "clients": self.connected(),
            "channels": list(self.hub.channels),
            "mychannelclients": mates,
        }
        assert sorted(json.loads(delivery.text)["payload"]["message"]) == sorted(expected[kind])

    @rule(client=clients)
    def a_stranger(self, client: str) -> None:
        if client not in self.where:
            with pytest.raises(KeyError):
                self.hub.channel_of(client)
            for text in (
                '{"protocol":"changeChannel","payload":{"to":"news"}}',
                '{"protocol":"message","payload":{"message":1}}',
                '{"protocol":"grab","payload":{"message":"clients"}}',
                '{"protocol":"directmessage","payload":{"message":1,"to":"a"}}',
            ):
                before = snapshot(self.hub)
                with pytest.raises(KeyError):
                    self.hub.receive(client, parse(text, self.limits))
                assert snapshot(self.hub) == before

    # -- what always holds ----------------------------------------------------------------------

    @invariant()
    def every_client_is_in_exactly_one_channel(self) -> None:
        members = [member for name in self.hub.channels for member in self.hub.members(name)]
        assert sorted(members) == sorted(self.where)

    @invariant()
    def membership_agrees_both_ways(self) -> None:
        assert list(self.hub.clients) == self.connected()
        for client, channel in self.where.items():
            assert self.hub.channel_of(client) == channel
            assert client in self.hub.members(channel)

    @invariant()
    def no_channel_of_clients_outlives_its_last_member(self) -> None:
        for name in self.hub.channels:
            assert name in self.kept or self.hub.members(name)

    @invariant()
    def what_the_application_created_stays(self) -> None:
        assert self.kept <= set(self.hub.channels)
        assert self.hub.home == self.home
        assert self.home in self.hub.channels

    @invariant()
    def both_hubs_are_alike(self) -> None:
        assert snapshot(self.hub) == snapshot(self.twin)


TestHubs = Hubs.TestCase
