"""The hub: every row of the classic dialect, and the rules of channels."""

from __future__ import annotations

import json
from typing import Any

import pytest

from sono_core import Limits
from sono_core.messaging.classic.packets import PacketError, parse
from sono_core.messaging.hub import Deliver, Effect, Hub, Publish


def hub_with(*clients: str, **options: Any) -> Hub:
    hub = Hub(**options)
    for client in clients:
        hub.add(client)
    return hub


def receive(hub: Hub, client: str, packet: object) -> list[Effect]:
    return hub.receive(client, parse(json.dumps(packet), Limits()))


def refusal(hub: Hub, client: str, packet: object) -> PacketError:
    with pytest.raises(PacketError) as caught:
        receive(hub, client, packet)
    return caught.value


def move(hub: Hub, client: str, channel: str) -> None:
    assert receive(hub, client, {"protocol": "changeChannel", "payload": {"to": channel}}) == []


def grab(hub: Hub, client: str, kind: object, event: str = "grab") -> Any:
    """The parsed answer to a grab, which goes to the asker alone."""
    packet = {"protocol": "grab", "event": event, "payload": {"message": kind}}
    (effect,) = receive(hub, client, packet)
    assert isinstance(effect, Deliver)
    assert effect.client == client
    return json.loads(effect.text)


# -- the table --------------------------------------------------------------------------------


def test_message_goes_to_every_member_of_the_senders_channel_the_sender_included() -> None:
    hub = hub_with("a", "b", "c")
    hub.create("news")
    move(hub, "c", "news")
    packet = {"protocol": "message", "event": "e", "payload": {"message": {"x": [1]}}}
    (effect,) = receive(hub, "a", packet)
    assert isinstance(effect, Publish)
    assert (effect.channel, effect.skip) == ("Home", None)
    assert json.loads(effect.text) == {
        "protocol": "e",
        "payload": {"message": {"x": [1]}, "from": "a"},
    }
    assert hub.recipients(effect) == ["a", "b"]


def test_broadcast_goes_to_all_members_but_the_sender() -> None:
    hub = hub_with("a", "b", "c")
    packet = {"protocol": "broadcast", "payload": {"message": None}}
    (effect,) = receive(hub, "b", packet)
    assert isinstance(effect, Publish)
    assert (effect.channel, effect.skip) == ("Home", "b")
    assert json.loads(effect.text) == {
        "protocol": "message",
        "payload": {"message": None, "from": "b"},
    }
    assert hub.recipients(effect) == ["a", "c"]


def test_directmessage_goes_to_that_one_client_in_whatever_channel() -> None:
    hub = hub_with("a", "b")
    hub.create("news")
    move(hub, "b", "news")
    packet = {"protocol": "directmessage", "event": "e", "payload": {"message": "m", "to": "b"}}
    (effect,) = receive(hub, "a", packet)
    assert isinstance(effect, Deliver)
    assert effect.client == "b"
    assert json.loads(effect.text) == {"protocol": "e", "payload": {"message": "m", "from": "a"}}


@pytest.mark.parametrize("to", ["1001", 1001])
def test_directmessage_may_name_its_addressee_by_string_or_number(to: str | int) -> None:
    hub = hub_with("a", "1001")
    packet = {"protocol": "directmessage", "payload": {"message": "m", "to": to}}
    (effect,) = receive(hub, "a", packet)
    assert isinstance(effect, Deliver)
    assert effect.client == "1001"


def test_directmessage_to_oneself_works() -> None:
    hub = hub_with("a")
    packet = {"protocol": "directmessage", "payload": {"message": "m", "to": "a"}}
    (effect,) = receive(hub, "a", packet)
    assert effect == Deliver("a", '{"protocol":"message","payload":{"message":"m","from":"a"}}')


def test_directmessage_to_nobody_is_refused() -> None:
    hub = hub_with("a")
    for to in ("b", "", 5, "x" * 1_000_000):
        packet = {"protocol": "directmessage", "payload": {"message": "m", "to": to}}
        error = refusal(hub, "a", packet)
        assert error.code == "unknown-client"
        assert len(error.text) < 300


def test_change_channel_moves_the_sender() -> None:
    hub = hub_with("a", "b")
    hub.create("news")
    move(hub, "a", "news")
    assert hub.channel_of("a") == "news"
    assert list(hub.members("news")) == ["a"]
    assert list(hub.members("Home")) == ["b"]


def test_change_to_the_current_channel_changes_nothing() -> None:
    hub = hub_with("a", "b")
    move(hub, "a", "Home")
    assert list(hub.members("Home")) == ["a", "b"]


@pytest.mark.parametrize("event", ["grab", "mine"])
def test_grab_lists_under_the_askers_event(event: str) -> None:
    hub = hub_with("a", "b", "c")
    hub.create("news")
    move(hub, "b", "news")
    move(hub, "c", "news")
    for kind, items in [
        ("myid", ["c"]),
        ("clients", ["a", "b", "c"]),
        ("channels", ["Home", "news"]),
        ("mychannel", ["news"]),
        ("mychannelclients", ["b", "c"]),
    ]:
        assert grab(hub, "c", kind, event) == {
            "protocol": event,
            "payload": {"message": items, "type": kind},
        }


@pytest.mark.parametrize("kind", ["", "nonsense", "__proto__", "MyId", None, 5, ["myid"], {}])
def test_any_other_grab_is_answered_with_invalid_grab_request(kind: object) -> None:
    assert grab(hub_with("a"), "a", kind) == {
        "protocol": "grab",
        "payload": {"message": ["invalid grab request"], "type": kind},
    }


# -- clients ----------------------------------------------------------------------------------


def test_a_new_client_enters_the_home_channel() -> None:
    hub = hub_with("a", home="Lobby")
    assert hub.channel_of("a") == "Lobby"
    assert list(hub.channels) == ["Lobby"]
    assert grab(hub, "a", "mychannel")["payload"]["message"] == ["Lobby"]


def test_an_id_is_taken_once() -> None:
    hub = hub_with("a")
    hub.create("news")
    move(hub, "a", "news")
    with pytest.raises(ValueError, match="exists already"):
        hub.add("a")
    assert hub.channel_of("a") == "news"


def test_a_client_that_goes_leaves_its_channel() -> None:
    hub = hub_with("a", "b")
    hub.remove("a")
    hub.remove("a")
    assert list(hub.clients) == ["b"]
    assert list(hub.members("Home")) == ["b"]
    with pytest.raises(KeyError):
        hub.channel_of("a")


@pytest.mark.parametrize(
    "packet",
    [
        {"protocol": "message", "payload": {"message": 1}},
        {"protocol": "broadcast", "payload": {"message": 1}},
        {"protocol": "directmessage", "payload": {"message": 1, "to": "a"}},
        {"protocol": "changeChannel", "payload": {"to": "Home"}},
        {"protocol": "grab", "payload": {"message": "clients"}},
    ],
)
def test_a_stranger_sends_nothing(packet: object) -> None:
    hub = hub_with("a")
    with pytest.raises(KeyError):
        receive(hub, "gone", packet)


# -- channels ---------------------------------------------------------------------------------


def test_only_the_application_creates_channels() -> None:
    hub = hub_with("a")
    error = refusal(hub, "a", {"protocol": "changeChannel", "payload": {"to": "news"}})
    assert error.code == "unknown-channel"
    assert hub.channel_of("a") == "Home"
    assert list(hub.channels) == ["Home"]


def test_with_open_channels_clients_create_them_by_moving_there() -> None:
    hub = hub_with("a", "b", open_channels=True)
    move(hub, "a", "x")
    move(hub, "b", "x")
    assert list(hub.channels) == ["Home", "x"]
    move(hub, "a", "Home")
    assert list(hub.channels) == ["Home", "x"]
    hub.remove("b")
    assert list(hub.channels) == ["Home"]
    with pytest.raises(KeyError):
        hub.members("x")


def test_a_channel_that_the_application_adopts_stays() -> None:
    hub = hub_with("a", open_channels=True)
    move(hub, "a", "x")
    hub.create("x")
    assert list(hub.members("x")) == ["a"]
    move(hub, "a", "Home")
    assert list(hub.channels) == ["Home", "x"]


def test_there_are_at_most_so_many_channels() -> None:
    hub = hub_with("a", open_channels=True, limits=Limits(max_channels=2))
    move(hub, "a", "x")
    error = refusal(hub, "a", {"protocol": "changeChannel", "payload": {"to": "y"}})
    assert error.code == "too-many-channels"
    assert hub.channel_of("a") == "x"
    with pytest.raises(ValueError, match="too many channels"):
        hub.create("y")
    assert list(hub.channels) == ["Home", "x"]
    hub.create("x")


@pytest.mark.parametrize("name", ["", "x" * 129, "a\nb", "\x9f"])
def test_the_application_names_channels_by_the_same_rules(name: str) -> None:
    with pytest.raises(ValueError, match="channel"):
        Hub(name)
    hub = Hub()
    with pytest.raises(ValueError, match="channel"):
        hub.create(name)
    with pytest.raises(ValueError, match="channel"):
        hub.check(name)
    hub.check("fine")
    assert list(hub.channels) == ["Home"]


# -- recipients -------------------------------------------------------------------------------


def test_a_publication_to_everybody() -> None:
    hub = hub_with("a", "b", "c", open_channels=True)
    move(hub, "b", "x")
    assert hub.recipients(Publish(None, "text")) == ["a", "b", "c"]
    assert hub.recipients(Publish(None, "text", "a")) == ["b", "c"]


def test_a_publication_to_a_channel_that_nobody_here_is_in() -> None:
    assert hub_with("a").recipients(Publish("elsewhere", "text")) == []


def test_recipients_stay_as_they_were_when_members_leave_meanwhile() -> None:
    hub = hub_with("a", "b")
    recipients = hub.recipients(Publish("Home", "text"))
    hub.remove("b")
    assert recipients == ["a", "b"]


@pytest.mark.parametrize("text", ["x", "é"])
@pytest.mark.parametrize("protocol", ["message", "broadcast", "directmessage"])
def test_what_is_passed_on_is_no_more_than_a_client_takes(text: str, protocol: str) -> None:
    payload = {"message": text * 100, **({"to": "b"} if protocol == "directmessage" else {})}
    packet = {"protocol": protocol, "event": "x", "payload": payload}
    (effect,) = receive(hub_with("a", "b"), "a", packet)
    assert isinstance(effect, (Deliver, Publish))
    size = len(effect.text.encode())
    for limit in (size + 1, size):
        assert receive(hub_with("a", "b", limits=Limits(max_message=limit)), "a", packet)
    hub = hub_with("a", "b", limits=Limits(max_message=size - 1))
    assert refusal(hub, "a", packet).code == "invalid-packet"
