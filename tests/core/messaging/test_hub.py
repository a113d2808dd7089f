"""The hub: membership, recipients, and the rules of channels."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from sono_core import Limits
from sono_core.messaging.hub import Deliver, Hub, MessagingError, Publish


def hub_with(*clients: str, **options: Any) -> Hub:
    hub = Hub(**options)
    for client in clients:
        hub.add(client)
    return hub


def to(channel: str | None, skip: str | None = None) -> Publish:
    return Publish(channel, "event", "payload", None, skip)


# -- clients ----------------------------------------------------------------------------------


def test_a_new_client_enters_the_home_channel() -> None:
    hub = hub_with("a", home="Lobby")
    assert hub.channel_of("a") == "Lobby"
    assert list(hub.channels) == ["Lobby"]
    assert list(hub.members("Lobby")) == ["a"]


def test_an_id_is_taken_once() -> None:
    hub = hub_with("a")
    hub.create("news")
    hub.move("a", "news")
    with pytest.raises(ValueError, match="already exists"):
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


def test_moving_to_the_current_channel_changes_nothing() -> None:
    hub = hub_with("a", "b")
    hub.move("a", "Home")
    assert list(hub.members("Home")) == ["a", "b"]


@pytest.mark.parametrize("call", [Hub.move, Hub.join, Hub.leave])
def test_a_stranger_goes_nowhere(call: Any) -> None:
    hub = hub_with("a")
    with pytest.raises(KeyError):
        call(hub, "gone", "Home")
    with pytest.raises(KeyError):
        hub.channels_of("gone")
    assert list(hub.members("Home")) == ["a"]


# -- memberships beside the current channel -----------------------------------------------------


def test_a_client_joins_channels_beside_its_current_one() -> None:
    hub = hub_with("a", "b")
    for channel in ("news", "chat"):
        hub.create(channel)
        hub.join("a", channel)
    assert hub.channel_of("a") == "Home"
    assert hub.channels_of("a") == ["Home", "news", "chat"]
    assert hub.channels_of("b") == ["Home"]
    assert [list(hub.members(name)) for name in hub.channels] == [["a", "b"], ["a"], ["a"]]
    assert hub.recipients(to("news")) == ["a"]
    assert hub.recipients(to(None)) == ["a", "b"], "everybody, once"


def test_joining_twice_is_joining_once() -> None:
    hub = hub_with("a", "b")
    hub.create("news")
    for client in ("a", "b", "a"):
        hub.join(client, "news")
    hub.join("a", "Home")
    assert hub.channels_of("a") == ["Home", "news"]
    assert list(hub.members("news")) == ["a", "b"]
    hub.leave("a", "news")
    assert hub.channels_of("a") == ["Home"]
    assert list(hub.members("news")) == ["b"]


def test_the_current_channel_is_not_left_but_moved_from() -> None:
    hub = hub_with("a")
    with pytest.raises(ValueError, match="'Home' is the current one of client 'a'"):
        hub.leave("a", "Home")
    hub.join("a", "Home")
    with pytest.raises(ValueError, match="current"):
        hub.leave("a", "Home")
    assert hub.channels_of("a") == ["Home"]


@pytest.mark.parametrize("channel", ["news", "never heard of"])
def test_leaving_a_channel_that_was_not_joined_changes_nothing(channel: str) -> None:
    hub = hub_with("a", "b")
    hub.create("news")
    hub.create("chat")
    hub.join("a", "chat")
    hub.join("b", "news")
    hub.leave("a", channel)
    hub.leave("b", "chat")
    assert hub.channels_of("a") == ["Home", "chat"]
    assert hub.channels_of("b") == ["Home", "news"]


def test_moving_into_a_joined_channel_makes_it_the_current_one() -> None:
    hub = hub_with("a", "b")
    for channel in ("news", "chat"):
        hub.create(channel)
        hub.join("a", channel)
    hub.join("b", "news")
    hub.move("a", "news")
    assert hub.channels_of("a") == ["news", "chat"]
    assert list(hub.members("news")) == ["a", "b"], "it stays where it was"
    assert list(hub.members("Home")) == ["b"]
    hub.move("a", "Home")
    assert hub.channels_of("a") == ["Home", "chat"]
    assert list(hub.members("news")) == ["b"]


def test_what_was_joined_outlasts_a_move() -> None:
    hub = hub_with("a", open_channels=True)
    hub.join("a", "x")
    hub.move("a", "y")
    assert hub.channels_of("a") == ["y", "x"]


def test_a_client_that_goes_leaves_all_its_channels() -> None:
    hub = hub_with("a", "b", open_channels=True)
    hub.create("news")
    for channel in ("news", "x", "y"):
        hub.join("a", channel)
    hub.join("b", "y")
    hub.remove("a")
    assert list(hub.channels) == ["Home", "news", "y"]
    assert [list(hub.members(name)) for name in hub.channels] == [["b"], [], ["b"]]
    hub.add("a")
    assert hub.channels_of("a") == ["Home"]


def test_a_client_that_goes_costs_what_its_own_channels_do() -> None:
    """However many other channels there are, the hub touches none of them."""

    class Watched(dict[str, Any]):
        def __getitem__(self, name: str) -> Any:
            touched.append(name)
            return super().__getitem__(name)

        def __iter__(self) -> Any:
            raise AssertionError("all channels are walked")

    touched: list[str] = []
    hub = hub_with("a", "b")
    for number in range(100):
        hub.create(str(number))
        hub.join("b", str(number))
    hub.join("a", "7")
    hub._channels = Watched(hub._channels)
    hub.remove("a")
    assert touched == ["Home", "7"]


def test_joining_follows_the_rules_of_moving() -> None:
    hub = hub_with("a")
    with pytest.raises(MessagingError) as caught:
        hub.join("a", "news")
    assert (caught.value.code, caught.value.text) == ("unknown-channel", "there is no channel news")
    hub = hub_with("a", open_channels=True, limits=Limits(max_channels=2))
    hub.join("a", "x")
    with pytest.raises(MessagingError) as caught:
        hub.join("a", "y")
    assert caught.value.code == "too-many-channels"
    assert hub.channels_of("a") == ["Home", "x"]
    assert list(hub.channels) == ["Home", "x"]


def test_a_channel_of_clients_goes_when_its_last_member_leaves_it() -> None:
    hub = hub_with("a", "b", open_channels=True)
    hub.join("a", "x")
    hub.move("b", "x")
    hub.leave("a", "x")
    assert list(hub.members("x")) == ["b"]
    hub.move("b", "Home")
    assert list(hub.channels) == ["Home"]
    hub.join("a", "x")
    hub.leave("a", "x")
    assert list(hub.channels) == ["Home"]


# -- channels ---------------------------------------------------------------------------------


def test_only_the_application_creates_channels() -> None:
    hub = hub_with("a")
    with pytest.raises(MessagingError, match="there is no channel news") as caught:
        hub.move("a", "news")
    assert caught.value.code == "unknown-channel"
    assert hub.channel_of("a") == "Home"
    assert list(hub.channels) == ["Home"]


def test_with_open_channels_clients_create_them_by_moving_there() -> None:
    hub = hub_with("a", "b", open_channels=True)
    hub.move("a", "x")
    hub.move("b", "x")
    assert list(hub.channels) == ["Home", "x"]
    hub.move("a", "Home")
    assert list(hub.channels) == ["Home", "x"]
    hub.remove("b")
    assert list(hub.channels) == ["Home"]
    with pytest.raises(KeyError):
        hub.members("x")


def test_clients_may_create_those_channels_that_are_open_by_themselves() -> None:
    hub = hub_with("a", "b")
    hub.opens = lambda channel: channel.startswith("room:")
    hub.move("a", "room:1")
    hub.join("b", "room:2")
    assert list(hub.channels) == ["Home", "room:1", "room:2"]
    with pytest.raises(MessagingError, match="there is no channel news"):
        hub.join("a", "news")
    hub.move("a", "Home")
    assert list(hub.channels) == ["Home", "room:2"]


def test_a_channel_that_the_application_adopts_stays() -> None:
    hub = hub_with("a", open_channels=True)
    hub.move("a", "x")
    hub.create("x")
    assert list(hub.members("x")) == ["a"]
    hub.move("a", "Home")
    assert list(hub.channels) == ["Home", "x"]


def test_there_are_at_most_so_many_channels() -> None:
    hub = hub_with("a", open_channels=True, limits=Limits(max_channels=2))
    hub.move("a", "x")
    with pytest.raises(MessagingError, match="there are too many channels") as caught:
        hub.move("a", "y")
    assert caught.value.code == "too-many-channels"
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
    hub.move("b", "x")
    assert hub.recipients(to(None)) == ["a", "b", "c"]
    assert hub.recipients(to(None, "a")) == ["b", "c"]


def test_a_publication_to_a_channel_that_nobody_here_is_in() -> None:
    assert hub_with("a").recipients(to("elsewhere")) == []


def test_recipients_stay_as_they_were_when_members_leave_meanwhile() -> None:
    hub = hub_with("a", "b")
    recipients = hub.recipients(to("Home"))
    hub.remove("b")
    assert recipients == ["a", "b"]


@pytest.mark.parametrize("skip", ["c", "gone"])
def test_who_is_to_be_left_out_may_not_be_there_at_all(skip: str) -> None:
    hub = hub_with("a", "b", "c", open_channels=True)
    hub.move("c", "x")
    assert hub.recipients(to("Home", skip)) == ["a", "b"]


# -- what goes around ---------------------------------------------------------------------------


def test_what_dialects_wrote_is_no_part_of_a_publication() -> None:
    pairs = [(to("Home"), to("Home")), (Deliver("a", "e", 1, "b"), Deliver("a", "e", 1, "b"))]
    for one, other in pairs:
        one.__dict__["a dialect"] = "written"
        assert one == other
        assert repr(one) == repr(other)
        assert msgspec.json.encode(one) == msgspec.json.encode(other)


def test_a_refusal_does_not_grow_with_what_it_refuses() -> None:
    assert len(MessagingError("code", "t" * 1_000_000).text) == 256


def test_the_audience_of_a_publication_is_counted_with_whoever_is_skipped() -> None:
    hub = Hub(open_channels=True)
    for client in ("a", "b", "c"):
        hub.add(client)
    hub.move("c", "news")
    assert hub.audience(Publish(None, "x", 1, None)) == 3
    assert hub.audience(Publish("Home", "x", 1, "a", "a")) == 2
    assert hub.audience(Publish("news", "x", 1, None)) == 1
    assert hub.audience(Publish("nowhere", "x", 1, None)) == 0
