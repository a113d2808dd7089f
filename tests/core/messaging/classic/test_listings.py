"""Listings: bounded in bytes, written once while nothing changes, and what they cost."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from sono_core import Limits
from sono_core.limits import DEFAULT_LIMITS
from sono_core.messaging import Hub, Reply
from sono_core.messaging.classic import CLASSIC, PacketError, packets
from sono_core.native import PART

LISTINGS = ("clients", "channels", "mychannelclients")


def hub_with(*clients: str, **options: Any) -> Hub:
    hub = Hub(open_channels=True, **options)
    for client in clients:
        hub.add(client)
    return hub


def grab(
    hub: Hub, client: str, kind: object, limits: Limits = DEFAULT_LIMITS, event: str = "grab"
) -> Reply:
    text = json.dumps({"protocol": "grab", "event": event, "payload": {"message": kind}})
    (reply,) = CLASSIC.receive(hub, client, packets.parse(text, limits), limits)
    assert isinstance(reply, Reply)
    return reply


def payload(reply: Reply) -> Any:
    return json.loads(reply.content)["payload"]


def size(reply: Reply) -> int:
    assert isinstance(reply.content, str)
    return len(reply.content.encode())


@pytest.mark.parametrize("letter", ["x", "é", "😀"])
@pytest.mark.parametrize("kind", LISTINGS)
def test_a_listing_is_cut_at_a_whole_name_and_says_so(kind: str, letter: str) -> None:
    hub = hub_with(home=letter * 50)
    for number in range(100):
        hub.add(f"{number:03}" + letter * 50)
        hub.create(f"{number:03}" + letter * 50)
    asker = next(iter(hub.clients))
    whole = payload(grab(hub, asker, kind))
    assert "truncated" not in whole
    hub.written.clear()
    cut = payload(grab(hub, asker, kind, Limits(max_listing=1500)))
    assert cut["truncated"] is True
    assert cut["message"] == whole["message"][: len(cut["message"])]
    array = json.dumps(cut["message"], ensure_ascii=False, separators=(",", ":"))
    name = len((letter * 50).encode()) + len('"000",')
    assert 1500 - name < len(array.encode()) <= 1500


@pytest.mark.parametrize("limit", [900, 1024, 1100, 2000, 5000])
@pytest.mark.parametrize("kind", LISTINGS)
def test_a_listing_is_no_more_than_a_client_takes(kind: str, limit: int) -> None:
    hub = hub_with(*map(str, range(1000)))
    for number in range(1000):
        hub.create(f"channel {number}")
    limits = Limits(max_message=limit)
    for event in ("grab", "😀" * 128, '"' * 128):
        reply = grab(hub, "7", kind, limits, event)
        assert size(reply) <= limit
        assert payload(reply)["truncated"] is True


def test_an_echo_that_grows_beyond_what_a_client_takes_is_refused() -> None:
    kind = [1e15] * 50  # six bytes each come back as eighteen
    text = f'{{"protocol":"grab","payload":{{"message":{str([1] * 50).replace("1", "1e15")}}}}}'
    packet = packets.parse(text, DEFAULT_LIMITS)
    hub = hub_with("a")
    (reply,) = CLASSIC.receive(hub, "a", packet, DEFAULT_LIMITS)
    assert isinstance(reply, Reply)
    assert payload(reply) == {"message": ["invalid grab request"], "type": kind}
    limit = size(reply)
    assert CLASSIC.receive(hub, "a", packet, Limits(max_message=limit))
    with pytest.raises(PacketError) as caught:
        CLASSIC.receive(hub, "a", packet, Limits(max_message=limit - 1))
    assert caught.value.code == "invalid-packet"


@pytest.mark.parametrize("kind", LISTINGS)
def test_a_listing_costs_what_its_names_do(kind: str) -> None:
    hub = hub_with("a", "b", "c")
    hub.create("d")
    hub.create("e")
    assert grab(hub, "a", kind).cost == PART * 3
    assert grab(hub, "a", kind, Limits(max_listing=len('["a","b"]'))).cost == PART * 3  # as written


def test_other_answers_cost_their_one_name() -> None:
    hub = hub_with("a")
    assert [grab(hub, "a", kind).cost for kind in ("myid", "mychannel", None)] == [PART] * 3


CHANGES: list[tuple[str, Callable[[Hub], object]]] = [
    ("add", lambda hub: hub.add("new")),
    ("remove", lambda hub: hub.remove("b")),
    ("move", lambda hub: hub.move("b", "news")),
    ("move to a new channel", lambda hub: hub.move("b", "another")),
    ("the last member leaves", lambda hub: hub.move("c", "Home")),
    ("join", lambda hub: hub.join("b", "news")),
    ("leave", lambda hub: hub.leave("a", "news")),
    ("create", lambda hub: hub.create("created")),
    ("hide", lambda hub: hub.create("news", listed=False)),
]


def changing() -> Hub:
    hub = hub_with("a", "b", "c")
    hub.create("news")
    hub.join("a", "news")
    hub.move("c", "brief")
    return hub


@pytest.mark.parametrize("kind", LISTINGS)
def test_names_are_written_once_for_all_who_ask(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    hub, written = changing(), []
    names_within = packets.names_within

    def counting(*arguments: Any) -> Any:
        written.append(kind)
        return names_within(*arguments)

    monkeypatch.setattr(packets, "names_within", counting)
    for event in ("grab", "mine"):
        for client in ("a", "b"):
            grab(hub, client, kind, event=event)
    assert len(written) == 1
    grab(hub, "c", kind)  # in another channel
    assert len(written) == (2 if kind == "mychannelclients" else 1)


@pytest.mark.parametrize(("change"), [change for _, change in CHANGES], ids=[n for n, _ in CHANGES])
def test_what_has_changed_is_listed_anew(change: Callable[[Hub], object]) -> None:
    hub, other = changing(), changing()
    for client in list(hub.clients):
        for kind in LISTINGS:
            grab(hub, client, kind)
    change(hub)
    change(other)  # which nobody has asked
    for client in list(hub.clients):
        for kind in LISTINGS:
            assert payload(grab(hub, client, kind)) == payload(grab(other, client, kind))


def test_a_channel_that_is_not_listed_stays_so_and_can_be_entered() -> None:
    hub = hub_with("a")
    hub.create("admins", listed=False)
    hub.create("news")
    hub.create("admins")  # again, and without a word about it
    assert payload(grab(hub, "a", "channels"))["message"] == ["Home", "news"]
    hub.move("a", "admins")
    assert payload(grab(hub, "a", "mychannel"))["message"] == ["admins"]
    assert payload(grab(hub, "a", "channels"))["message"] == ["Home", "news"]
    assert list(hub.channels) == ["Home", "admins", "news"]
    hub.create("news", listed=False)
    assert payload(grab(hub, "a", "channels"))["message"] == ["Home"]
