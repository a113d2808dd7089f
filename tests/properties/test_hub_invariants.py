"""`Hub` under random operations: memberships stay consistent, and only recipients get messages.

A second hub gets the same calls and must answer the same. The model is one dictionary: the channels
of each client, its current one first.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from sono_core import Limits
from sono_core.messaging import Deliver, Effect, Hub, MessagingError, Publish, Reply
from sono_core.messaging.classic import CLASSIC

CLIENTS = ["a", "b", "c", "1001", "__proto__"]
NAMES = ["Home", "news", "constructor", "x", "y", "z"]
HOSTILE_NAMES = ["", "n" * 129, "a\nb", "\x7f"]
EVENTS = ["message", "news", "__proto__", "grab", "error", ""]

clients = st.sampled_from(CLIENTS)
names = st.sampled_from(NAMES)
values = st.sampled_from([None, 1, "text", [1, {"a": "b"}], {"from": "me"}])


def snapshot(hub: Hub) -> object:
    """Everything visible of a hub, in its order."""
    return (
        [(client, hub.channel_of(client), hub.channels_of(client)) for client in hub.clients],
        [(name, list(hub.members(name))) for name in hub.channels],
    )


def written(effect: Effect) -> Any:
    """What a client receives of it, parsed."""
    return json.loads(CLASSIC.written(effect))


class Hubs(RuleBasedStateMachine):
    """Two hubs that get the same calls."""

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
        self.where: dict[str, list[str]] = {}

    def connected(self) -> list[str]:
        return list(self.where)

    def mates(self, client: str) -> list[str]:
        """The members of the client's current channel, including the client."""
        current = self.where[client][0]
        return [other for other, where in self.where.items() if current in where]

    def both(self, call: Callable[[Hub], Any]) -> Any:
        """Make a call on both hubs; a refused one must change nothing."""
        before = snapshot(self.hub)
        outcomes: list[Any] = []
        for hub in (self.hub, self.twin):
            try:
                outcomes.append(call(hub))
            except MessagingError as error:
                assert snapshot(hub) == before
                outcomes.append(error)
        first, second = outcomes
        if isinstance(first, MessagingError):
            assert isinstance(second, MessagingError)
            assert (first.code, first.text) == (second.code, second.text)
        else:
            assert first == second
        return first

    def receive(self, client: str, packet: object) -> list[Effect | Reply] | MessagingError:
        """Give a packet to both hubs."""

        def call(hub: Hub) -> list[Effect | Reply]:
            parsed = CLASSIC.parse(json.dumps(packet), self.limits)
            return CLASSIC.receive(hub, client, parsed, self.limits)

        outcome: list[Effect | Reply] | MessagingError = self.both(call)
        return outcome

    def entering(self, name: str) -> str | None:
        """Why clients may not enter a channel of that name; None if they may."""
        if name in self.hub.channels:
            return None
        if not self.open_channels:
            return "unknown-channel"
        full = len(self.hub.channels) >= self.limits.max_channels
        return "too-many-channels" if full else None

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
        self.where.setdefault(client, [self.home])

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
        refused = "invalid-packet" if name in HOSTILE_NAMES else self.entering(name)
        outcome = self.receive(client, {"protocol": "changeChannel", "payload": {"to": name}})
        if refused:
            assert isinstance(outcome, MessagingError)
            assert outcome.code == refused
            return
        assert outcome == []
        current, *joined = self.where[client]
        if name != current:
            self.where[client] = [name, *(other for other in joined if other != name)]

    @precondition(lambda self: self.where)
    @rule(data=st.data(), name=names)
    def join(self, data: st.DataObject, name: str) -> None:
        client = data.draw(st.sampled_from(self.connected()))
        refused = self.entering(name)
        outcome = self.both(lambda hub: hub.join(client, name))
        if refused:
            assert isinstance(outcome, MessagingError)
            assert outcome.code == refused
            return
        assert outcome is None
        if name not in self.where[client]:
            self.where[client].append(name)

    @precondition(lambda self: self.where)
    @rule(data=st.data(), name=names)
    def leave(self, data: st.DataObject, name: str) -> None:
        client = data.draw(st.sampled_from(self.connected()))
        before = snapshot(self.hub)
        for hub in (self.hub, self.twin):
            if name == self.where[client][0]:
                with pytest.raises(ValueError):
                    hub.leave(client, name)
            else:
                hub.leave(client, name)
        if name in self.where[client][1:]:
            self.where[client].remove(name)
        else:
            assert snapshot(self.hub) == before

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
            assert isinstance(outcome, MessagingError)
            return
        assert not isinstance(outcome, MessagingError)
        (publication,) = outcome
        assert isinstance(publication, Publish)
        assert written(publication) == {
            "protocol": event,
            "payload": {"message": value, "from": client},
        }
        expected = self.mates(client)
        if protocol == "broadcast":
            expected.remove(client)
        for hub in (self.hub, self.twin):
            recipients = list(hub.recipients(publication))
            assert sorted(recipients) == sorted(expected)

    @rule(channel=st.one_of(st.none(), names), skip=st.one_of(st.none(), clients))
    def recipients(self, channel: str | None, skip: str | None) -> None:
        """A publication that may come from elsewhere, for any channel."""
        publication = Publish(channel, "event", "payload", None, skip)
        got = list(self.hub.recipients(publication))
        assert got == list(self.twin.recipients(publication))
        assert sorted(got) == sorted(
            client
            for client, where in self.where.items()
            if (channel is None or channel in where) and client != skip
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
            assert isinstance(outcome, MessagingError)
            assert outcome.code == "unknown-client"
            return
        assert not isinstance(outcome, MessagingError)
        (delivery,) = outcome
        assert isinstance(delivery, Deliver)
        assert delivery.client == to
        assert written(delivery)["payload"] == {"message": "m", "from": client}

    @precondition(lambda self: self.where)
    @rule(data=st.data(), kind=st.sampled_from(["clients", "channels", "mychannelclients"]))
    def grab(self, data: st.DataObject, kind: str) -> None:
        client = data.draw(st.sampled_from(self.connected()))
        before = snapshot(self.hub)
        outcome = self.receive(client, {"protocol": "grab", "payload": {"message": kind}})
        assert snapshot(self.hub) == before
        assert not isinstance(outcome, MessagingError)
        (reply,) = outcome
        assert isinstance(reply, Reply)
        expected = {
            "clients": self.connected(),
            "channels": list(self.hub.channels),
            "mychannelclients": self.mates(client),
        }
        assert sorted(json.loads(reply.content)["payload"]["message"]) == sorted(expected[kind])

    @rule(client=clients)
    def a_stranger(self, client: str) -> None:
        if client not in self.where:
            with pytest.raises(KeyError):
                self.hub.channel_of(client)
            for call in (self.hub.move, self.hub.join, self.hub.leave):
                with pytest.raises(KeyError):
                    call(client, self.home)
            for text in (
                '{"protocol":"changeChannel","payload":{"to":"news"}}',
                '{"protocol":"message","payload":{"message":1}}',
                '{"protocol":"grab","payload":{"message":"clients"}}',
                '{"protocol":"directmessage","payload":{"message":1,"to":"a"}}',
            ):
                before = snapshot(self.hub)
                with pytest.raises(KeyError):
                    CLASSIC.receive(self.hub, client, CLASSIC.parse(text, self.limits), self.limits)
                assert snapshot(self.hub) == before

    # -- what always holds ----------------------------------------------------------------------

    @invariant()
    def every_client_has_one_current_channel_and_is_where_the_model_says(self) -> None:
        assert list(self.hub.clients) == self.connected()
        for client, (current, *joined) in self.where.items():
            assert self.hub.channel_of(client) == current
            assert self.hub.channels_of(client) == [current, *joined]

    @invariant()
    def membership_agrees_both_ways(self) -> None:
        members = [
            (member, name) for name in self.hub.channels for member in self.hub.members(name)
        ]
        assert sorted(members) == sorted(
            (client, name) for client, where in self.where.items() for name in where
        )

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
