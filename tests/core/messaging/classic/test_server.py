"""The classic dialect on the server: every row of its table, and what is refused."""

from __future__ import annotations

import json
from typing import Any

import pytest

from sono_core import Limits, LocalProtocolError
from sono_core.limits import DEFAULT_LIMITS
from sono_core.messaging import (
    CHANNELS,
    MEMBERS,
    Deliver,
    Effect,
    Hub,
    MessagingError,
    Publish,
    Reply,
)
from sono_core.messaging.classic import CLASSIC, PacketError, packets


def hub_with(*clients: str, **options: Any) -> Hub:
    hub = Hub(**options)
    for client in clients:
        hub.add(client)
    return hub


def receive(
    hub: Hub, client: str, packet: object, limits: Limits = DEFAULT_LIMITS
) -> list[Effect | Reply]:
    return CLASSIC.receive(hub, client, CLASSIC.parse(json.dumps(packet), Limits()), limits)


def refusal(
    hub: Hub, client: str, packet: object, limits: Limits = DEFAULT_LIMITS
) -> MessagingError:
    with pytest.raises(MessagingError) as caught:
        receive(hub, client, packet, limits)
    return caught.value


def text_of(effect: Effect | Reply) -> str:
    """What a client that speaks the dialect receives."""
    content = effect.content if isinstance(effect, Reply) else CLASSIC.written(effect)
    assert isinstance(content, str)
    return content


def move(hub: Hub, client: str, channel: str) -> None:
    assert receive(hub, client, {"protocol": "changeChannel", "payload": {"to": channel}}) == []


def grab(hub: Hub, client: str, kind: object, event: str = "grab") -> Any:
    """The parsed answer to a grab, which only the asker receives."""
    packet = {"protocol": "grab", "event": event, "payload": {"message": kind}}
    (effect,) = receive(hub, client, packet)
    assert isinstance(effect, Reply)
    return json.loads(text_of(effect))


# -- the table --------------------------------------------------------------------------------


def test_message_goes_to_every_member_of_the_senders_channel_the_sender_included() -> None:
    hub = hub_with("a", "b", "c")
    hub.create("news")
    move(hub, "c", "news")
    packet = {"protocol": "message", "event": "e", "payload": {"message": {"x": [1]}}}
    (effect,) = receive(hub, "a", packet)
    assert isinstance(effect, Publish)
    assert (effect.channel, effect.skip) == ("Home", None)
    assert json.loads(text_of(effect)) == {
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
    assert json.loads(text_of(effect)) == {
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
    assert json.loads(text_of(effect)) == {
        "protocol": "e",
        "payload": {"message": "m", "from": "a"},
    }


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
    assert effect == Deliver("a", "message", "m", "a")
    assert text_of(effect) == '{"protocol":"message","payload":{"message":"m","from":"a"}}'


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


# -- refusals ---------------------------------------------------------------------------------


def test_clients_that_may_not_create_channels_move_to_known_ones_alone() -> None:
    hub = hub_with("a")
    error = refusal(hub, "a", {"protocol": "changeChannel", "payload": {"to": "news"}})
    assert (error.code, error.text) == ("unknown-channel", "there is no channel news")
    assert json.loads(CLASSIC.error(error.code, error.text)) == {
        "protocol": "error",
        "payload": {"code": "unknown-channel", "message": "there is no channel news"},
    }
    assert hub.channel_of("a") == "Home"


def test_binary_messages_are_refused() -> None:
    with pytest.raises(PacketError, match="packets are text messages") as caught:
        CLASSIC.weigh(b"{}", DEFAULT_LIMITS)
    assert caught.value.code == "binary-message"


@pytest.mark.parametrize("text", ["x", "é"])
@pytest.mark.parametrize("protocol", ["message", "broadcast", "directmessage"])
def test_what_is_passed_on_is_no_more_than_a_client_takes(text: str, protocol: str) -> None:
    payload = {"message": text * 100, **({"to": "b"} if protocol == "directmessage" else {})}
    packet = {"protocol": protocol, "event": "x", "payload": payload}
    (effect,) = receive(hub_with("a", "b"), "a", packet)
    size = len(text_of(effect).encode())
    for limit in (size + 1, size):
        assert receive(hub_with("a", "b"), "a", packet, Limits(max_message=limit))
    error = refusal(hub_with("a", "b"), "a", packet, Limits(max_message=size - 1))
    assert (error.code, error.text) == (
        "invalid-packet",
        f"passed on, it has more than {size - 1} bytes",
    )


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


# -- what the application sees, and says --------------------------------------------------------


@pytest.mark.parametrize(
    ("packet", "said"),
    [
        ({"protocol": "message", "event": "e", "payload": {"message": [1]}}, ("e", [1])),
        ({"protocol": "broadcast", "payload": {"message": None}}, ("message", None)),
        ({"protocol": "directmessage", "payload": {"message": 1, "to": "a"}}, ("message", 1)),
        ({"protocol": "changeChannel", "payload": {"to": "Home"}}, None),
        ({"protocol": "grab", "payload": {"message": "clients"}}, None),
    ],
)
def test_what_is_for_others_is_shown_to_the_application(packet: object, said: object) -> None:
    assert CLASSIC.said(CLASSIC.parse(json.dumps(packet), DEFAULT_LIMITS)) == said


@pytest.mark.parametrize(
    "publication", [Publish(None, "e", [1], None), Deliver("a", "e", [1], None)]
)
def test_what_the_server_says_comes_from_nobody(publication: Publish | Deliver) -> None:
    text = '{"protocol":"e","payload":{"message":[1]},"message":[1]}'
    assert CLASSIC.written(publication) == text


@pytest.mark.parametrize(
    ("value", "error"), [(object(), TypeError), ("\ud800", LocalProtocolError)]
)
def test_what_cannot_be_written_is_the_callers_mistake(
    value: object, error: type[Exception]
) -> None:
    publication = Publish(None, "e", value, None)
    for _ in range(2):
        with pytest.raises(error):
            CLASSIC.written(publication)


def test_what_is_passed_on_is_encoded_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its size is checked before delivery: the check and the delivery use the same text."""
    encoded: list[object] = []

    def counting(packet: object, message: object) -> str:
        encoded.append(message)
        return str(packet)

    monkeypatch.setattr(packets, "_written", counting)
    packet = {"protocol": "message", "payload": {"message": "m"}}
    (effect,) = receive(hub_with("a"), "a", packet)
    assert text_of(effect) is text_of(effect)
    assert len(encoded) == 1


def test_what_a_message_costs() -> None:
    """A packet is text; a binary message is refused."""
    assert CLASSIC.weigh('{"protocol":"message"}', DEFAULT_LIMITS) == 22 + 64 + 16
    with pytest.raises(PacketError, match="text messages"):
        CLASSIC.weigh(b"{}", DEFAULT_LIMITS)


def test_which_channel_a_packet_enters() -> None:
    move = packets.decode('{"protocol":"changeChannel","payload":{"to":"x"}}', DEFAULT_LIMITS)
    grab = '{"protocol":"grab","event":"grab","payload":{"message":"myid"}}'
    assert CLASSIC.enters(move) == "x"
    assert CLASSIC.enters(packets.decode(grab, DEFAULT_LIMITS)) is None


def test_what_is_hidden_is_not_listed() -> None:
    hub = hub_with("a")
    for name in ("x", "y"):
        hub.create(name)
    assert grab(hub, "a", "channels")["payload"]["message"] == ["Home", "x", "y"]
    hub.hidden = {"x"}
    assert grab(hub, "a", "channels")["payload"]["message"] == ["Home", "y"]
    hub.hidden = ()
    assert grab(hub, "a", "channels")["payload"]["message"] == ["Home", "x", "y"]
    wanted = {"channels": CHANNELS, "mychannelclients": MEMBERS, "clients": None, "[]": None}
    for kind, expected in wanted.items():
        text = json.dumps({"protocol": "grab", "payload": {"message": kind}})
        assert CLASSIC.lists(CLASSIC.parse(text, Limits())) is expected
    text = json.dumps({"protocol": "message", "payload": {"message": "channels"}})
    assert CLASSIC.lists(CLASSIC.parse(text, Limits())) is None


@pytest.mark.parametrize(
    ("protocol", "payload", "publishes"),
    [
        ("message", {"message": 1}, True),
        ("broadcast", {"message": 1}, True),
        ("directmessage", {"message": 1, "to": "a"}, False),
        ("changeChannel", {"to": "x"}, False),
        ("grab", {"message": "myid"}, False),
    ],
)
def test_which_packets_are_for_the_senders_channel(
    protocol: str, payload: object, publishes: bool
) -> None:
    text = json.dumps({"protocol": protocol, "payload": payload})
    assert CLASSIC.publishes(CLASSIC.parse(text, Limits())) is publishes


def test_members_of_all_processes_are_listed_if_they_are_known() -> None:
    hub = Hub()
    hub.add("a")
    hub.present = ["a", "elsewhere"]
    assert grab(hub, "a", "mychannelclients")["payload"]["message"] == ["a", "elsewhere"]
    hub.present = None
    assert grab(hub, "a", "mychannelclients")["payload"]["message"] == ["a"]


def test_a_dialect_that_does_not_say_so_lists_nothing() -> None:
    from sono_core.messaging import Dialect

    named = {name: getattr(CLASSIC, name) for name in CLASSIC.__struct_fields__}
    del named["lists"]
    assert Dialect(**named).lists(object()) is None
