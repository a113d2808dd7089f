"""Two nodes of one backplane: what is said to clients of the other, who is there, and where."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from sono_core.errors import LocalProtocolError
from sono_core.messaging import Deliver, Publish
from sono_core.messaging.lossless import OWN, Data, Position, packets
from sono_core.messaging.lossless.backplane import BackplaneError, Fenced, Receipt
from sono_core.messaging.lossless.packets import Join, Request, Send
from sono_core.messaging.lossless.server.conversation import Hear, Identify
from sono_core.messaging.lossless.server.handing_over import PATIENCE
from sono_core.messaging.lossless.server.identities import Written, same, written
from sono_core.messaging.lossless.server.orders import CONTROL
from sono_core.messaging.lossless.server.sessions import Session
from sono_core.messaging.lossless.server.untaken import AGAIN, LARGEST, MOST, Told, Untaken
from sono_core.messaging.lossless.streams import Missing
from tests.core.messaging.lossless.house import House
from tests.core.messaging.lossless.shared import Town
from tests.core.messaging.lossless.test_handing_over import Person, chat, settled, waiting


@pytest.fixture
def town() -> Town:
    return Town()


AWAY = BackplaneError("away")


def refuse(
    town: Town, monkeypatch: pytest.MonkeyPatch, name: str, error: BackplaneError = AWAY
) -> None:
    """The backplane does nothing of that kind any more."""

    def failing(*_: Any, **__: Any) -> Receipt[Any]:
        failed: Receipt[Any] = Receipt()
        failed.fail(error)
        return failed

    monkeypatch.setattr(town.memory, name, failing)


def code_of(person: Person, number: int) -> str | None:
    (result,) = person.results(number)
    return result.error.code if result.error else None


# -- one client ---------------------------------------------------------------------------------


def test_clients_of_two_nodes_say_things_to_each_other(town: Town) -> None:
    _, _, ann, bob = settled(town)
    ann.say(Send(to=bob.welcome.id, event="hey", data=1, seq=2))
    bob.take()
    assert (bob.said, code_of(ann, 2)) == ([1], None)
    ann.say(Send(to="nobody", event="hey", data=1, seq=3))
    assert code_of(ann, 3) == "unknown-client"
    ann.say(Send(to=bob.welcome.id, event="hey", data=2))
    bob.take()
    assert bob.said == [1, 2]


def test_nothing_is_said_while_the_backplane_is_away(
    town: Town, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, _, ann, bob = settled(town)
    refuse(town, monkeypatch, "send")
    ann.say(Send(to=bob.welcome.id, event="hey", data=1, seq=2))
    assert code_of(ann, 2) == "unavailable"
    told = one.node.direct(Deliver(bob.welcome.id, "hey", Data.of(1), None))
    assert isinstance(told.error, BackplaneError)


def test_what_is_for_a_client_of_another_dialect_is_given_to_its_host(town: Town) -> None:
    one, other, _, _ = settled(town)
    other.hub.add("classic")
    followed = other.node.came("classic")
    assert followed is None or followed.done
    for volatile in (False, True):
        delivery = Deliver("classic", "hey", Data.of(1), None)
        one.node.direct(delivery, volatile=volatile)
    assert [each.event for each in other.directed] == ["hey", "hey"]
    other.node.went("classic")
    assert one.node.direct(delivery).value is False


# -- orders -------------------------------------------------------------------------------------


def test_a_client_of_another_node_is_asked_and_ended(town: Town) -> None:
    one, other, _, bob = settled(town)
    answers: list[Any] = []

    def answered(data: Any, error: Any) -> None:
        answers.append(error.code if error else data)

    ask = one.node.elsewhere.ask
    ask(bob.welcome.id, "colour", Data.of("which?"), 5.0, answered)
    (asked,) = [packet for packet in bob.take() if isinstance(packet, packets.Asked)]
    bob.say(packets.Reply(seq=2, re=asked.id, data="blue"))
    assert answers == ["blue"]
    for _ in range(5):  # as many as one client may be asked, and one more
        ask(bob.welcome.id, "colour", Data.of(None), 5.0, answered)
    assert answers[1:] == ["too-many-requests"]
    other.hub.add("classic")
    other.node.came("classic")
    ask("classic", "colour", Data.of(None), 5.0, answered)
    assert answers[2:] == ["unknown-request"]
    for client in (bob.welcome.id, "classic"):
        one.node.elsewhere.end(client, 4000, "enough", answered)
    assert answers[-2:] == [None, None]
    assert other.over[-1] == ("classic", 4000)
    assert bob.welcome.id not in other.node.sessions
    one.node.elsewhere.disconnect(written("bob"), 4013, "")
    assert other.disconnected == [(written("bob"), 4013, "")]
    assert not one.disconnected


def test_orders_that_were_missed_are_told_of(town: Town) -> None:
    one, _, ann, _ = settled(town)
    missing = Missing(Position("e", 1), Position("e", 2))
    one.node.missed(CONTROL, missing, ())
    assert (one.missed, ann.take()) == (1, [])


def test_identities_are_compared_with_what_was_written_of_them() -> None:
    known = Written(written({"name": "ann", "expires_at": 1}))
    assert written(known) == known.digest
    assert same({"name": "ann", "expires_at": 2}, known)
    assert not same({"name": "bob"}, known)
    assert not same(object(), known)
    endless: list[Any] = []
    endless.append(endless)
    with pytest.raises(TypeError, match="cannot be written"):
        written(endless)


# -- who is there, and where --------------------------------------------------------------------


def test_members_of_both_nodes_are_known_at_both(town: Town) -> None:
    one, other, ann, bob = settled(town)
    for person in (ann, bob):
        person.say(Request(seq=2, name="sono.members", data={"channel": "room"}))
        (result,) = person.results(2)
        found = result.data.value()
        assert {member for member, _ in found["members"]} == {ann.welcome.id, bob.welcome.id}
        assert found["count"] == 2
    ann.say(Join(seq=3, channel="room", presence=True))
    town.wait(1)
    ann.say(Join(seq=4, channel="room", presence=True))
    bob.say(packets.Leave(seq=3, channel="room"))
    town.wait(1)
    changes = [each for each in ann.take() if isinstance(each, packets.Presence)]
    assert [each.gone for each in changes] == [[bob.welcome.id]]
    assert (one.missed, other.missed) == (0, 0)


def test_nobody_knows_who_is_there_while_the_backplane_is_away(
    town: Town, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, _, ann, _ = settled(town)
    town.wait(2)
    refuse(town, monkeypatch, "members")
    ann.say(Request(seq=2, name="sono.members", data={"channel": "room"}))
    assert code_of(ann, 2) == "unavailable"


def test_channels_of_other_nodes_are_listed_as_far_as_they_may_be_entered(
    town: Town, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, _, ann, _ = settled(town)
    found = ["#room", "#far", "#closed", "@nobody", "*"]
    monkeypatch.setattr(town.memory, "announced", lambda: Receipt.of(found))
    may_be_entered = one.hub.may_be_entered
    monkeypatch.setattr(one.hub, "may_be_entered", lambda n: n != "closed" and may_be_entered(n))
    one.node.look_elsewhere()
    assert list(one.hub.others) == ["room", "far"]
    assert one.node.listed() == ["Home", "room", "far"]
    assert not one.hub.is_listed("far")
    refuse(town, monkeypatch, "announced")
    assert one.node.look_elsewhere().error is None  # it is known for a second
    town.wait(1)
    assert one.node.look_elsewhere().error is not None
    assert list(one.hub.others) == ["room", "far"]
    assert ann.take() == []


def test_a_listing_that_nobody_can_know_is_refused(town: Town) -> None:
    one, _, ann, _ = settled(town)
    carry_out, works = one.carry_out, []
    one.carry_out = lambda line, work: works.append(work)  # type: ignore[method-assign]
    ann.line.send(Request(seq=2, name="sono.channels", data=None))
    one.carry_out = carry_out  # type: ignore[method-assign]
    ann.line.conversation.enumerated(works.pop(), None)
    ann.take()
    assert code_of(ann, 2) == "unavailable"


def test_no_other_node_is_there_where_there_is_one() -> None:
    from tests.core.messaging.lossless.house import House

    house = House()
    assert house.backplane.announced().value == ()
    assert not house.backplane.alive("another").value
    assert OWN not in house.backplane.announced().value


# -- sessions on their way ----------------------------------------------------------------------


@pytest.mark.parametrize("name", ["load_session", "claim_session", "page", "save_session"])
def test_a_session_that_cannot_be_had_now_may_be_had_later(
    town: Town, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    _, other, ann, _ = settled(town)
    ann.line.lose()
    with monkeypatch.context() as away:
        refuse(town, away, name)
        line = ann.comes_to(other)
        assert line.closed is not None
        assert line.closed[0] == 1013
        line.lose()
    ann.comes_to(other)
    ann.take()
    assert ann.welcome.id


def test_a_client_that_tries_again_waits_for_the_same_session(town: Town) -> None:
    one, other, ann, _ = settled(town)
    one.backplane.stopped = True  # type: ignore[attr-defined]
    first = ann.comes_to(other)
    second = ann.comes_to(other)
    town.alive.discard("a")
    town.wait(1)
    town.wait(1)
    ann.take()
    assert ann.welcome.resumed
    assert (first.closed is not None, second.closed) == (True, None)


def test_a_session_that_is_claimed_on_its_way_goes_on_to_the_last(town: Town) -> None:
    town = Town("abc")
    one, other, ann, _ = settled(Three(town))
    third = town.houses[2]
    one.backplane.stopped = True  # type: ignore[attr-defined]
    ann.comes_to(other)
    ann.comes_to(third)
    town.alive.discard("a")
    for _ in range(3):
        town.wait(1)
    ann.take()
    assert ann.welcome.resumed
    assert ann.welcome.id in third.node.sessions
    assert ann.welcome.id not in other.node.sessions


def test_a_client_that_comes_back_while_its_session_is_leaving_gets_it_back(town: Town) -> None:
    one, other, ann, _ = settled(town)
    go_on = waiting(one, ann.line, Request(seq=2, name="slow", data="x"))
    ann.comes_to(other)
    ann.comes_to(one)
    assert ann.take() == []
    go_on()
    for _ in range(3):
        town.wait(1)
    ann.take()
    assert ann.welcome.resumed
    assert ann.welcome.id in one.node.sessions
    assert len(ann.results(2)) == 1


def test_a_session_that_two_have_claimed_while_it_was_leaving_goes_to_the_last(town: Town) -> None:
    town = Town("abc")
    one, other, ann, _ = settled(Three(town))
    third = town.houses[2]
    go_on = waiting(one, ann.line, Request(seq=2, name="slow", data="x"))
    ann.comes_to(other)
    ann.comes_to(third)
    go_on()
    for _ in range(3):
        town.wait(1)
    ann.take()
    assert ann.welcome.resumed
    assert ann.welcome.id in third.node.sessions


def test_a_session_that_is_just_being_opened_goes_on_to_who_claims_it(town: Town) -> None:
    town = Town("abc")
    _, other, ann, _ = settled(Three(town))
    identified, asked = other.identified, []
    other.identified = lambda *work: asked.append(work)  # type: ignore[method-assign]
    line = ann.comes_to(other)
    other.identified = identified  # type: ignore[method-assign]
    opening, work, identity = asked[0]
    opening.conversation.identified(work, identity)  # and `on_join` has still to say
    ann.comes_to(town.houses[2])
    for _ in range(3):
        town.wait(1)
    ann.take()
    assert ann.welcome.resumed
    assert line.closed is not None


@pytest.mark.parametrize("opened", [False, True])
def test_a_node_that_ends_leaves_what_was_coming_and_going_to_others(
    town: Town, opened: bool
) -> None:
    one, other, ann, bob = settled(town)
    if opened:
        waiting(one, ann.line, Request(seq=2, name="slow", data="x"))
    line = ann.comes_to(other)
    if not opened:
        line.lose()
    one.node.close(1001)
    other.node.close(1001)
    assert not list(one.node.sessions.all())
    assert not list(other.node.sessions.all())
    assert bob.line.closed is not None


def test_a_session_whose_client_does_not_come_in_the_end_is_forgotten(town: Town) -> None:
    one, other, ann, _ = settled(town)
    identified = other.identified
    other.identified = lambda *work: None  # type: ignore[method-assign]
    one.backplane.stopped = True  # type: ignore[attr-defined]
    town.alive.discard("a")
    line = ann.comes_to(other)
    other.identified = identified  # type: ignore[method-assign]
    other.node.fetch(ann.welcome.key, None)
    town.wait(1)
    line.lose()
    town.wait(61)
    town.wait(61)
    ann.comes_to(other)
    ann.take()
    assert not ann.welcome.resumed


class Three:
    """A town of three, for who settles in two."""

    def __init__(self, town: Town) -> None:
        self.houses = town.houses[:2]


def test_records_that_nobody_can_read_are_none() -> None:
    from sono_core.messaging.lossless.server.records import read

    for content in (b"", b"\xc1", b"\x92\x63\xc0", b"\x92\x01\xc0"):
        assert read(content) is None


def test_a_backplane_that_says_no_more_takes_out_whom_it_releases() -> None:
    from random import Random

    from sono_core.messaging.lossless.memory import MemoryBackplane
    from tests.backplane.delayed import DelayedBackplane

    memory = MemoryBackplane(lambda: 0.0, lambda: "e")
    far = DelayedBackplane(memory, Random(1))
    memory.enter("#room", "ann", 1, 1)
    far.release("#room", "ann")
    far.settle()
    assert dict(memory.members("#room").value.members) == {}


def test_a_channel_that_there_is_not_at_the_other_node_is_left(town: Town) -> None:
    one, other, ann, _ = settled(town)
    one.hub.create("here-alone")
    ann.say(Join(seq=2, channel="here-alone", presence=True))
    other.hub._open_channels = False
    ann.line.lose()
    ann.comes_to(other)
    ann.take()
    assert ann.welcome.resumed
    assert "here-alone" in [denied.channel for denied in ann.welcome.denied]
    assert "here-alone" not in other.hub.channels_of(ann.welcome.id)


def test_a_session_that_ends_while_it_is_leaving_has_ended(town: Town) -> None:
    one, other, ann, _ = settled(town)
    waiting(one, ann.line, Request(seq=2, name="slow", data="x"))
    ann.comes_to(other)
    one.node.end(one.node.sessions[ann.welcome.id], 1000)
    assert ann.welcome.id not in one.node.sessions


def test_a_packet_of_a_session_that_is_elsewhere_is_not_passed_on(
    town: Town, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, _, ann, bob = settled(town)
    refuse(town, monkeypatch, "send", Fenced("the session goes on elsewhere"))
    line = ann.line
    line.send(Send(to=bob.welcome.id, event="hey", data=1, seq=2))
    bob.take()
    assert bob.said == []
    assert line.closed is not None
    assert line.closed[0] == 4012
    assert ann.welcome.id not in one.node.sessions


def test_a_watcher_is_told_when_the_backplane_says_who_is_there(
    town: Town, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, _, ann, _ = settled(town)
    members, asked = town.memory.members, []

    def later(stream: str) -> Receipt[Any]:
        asked.append((receipt := Receipt(), stream))
        return receipt

    monkeypatch.setattr(town.memory, "members", later)
    ann.say(Join(seq=2, channel="room", presence=True))
    assert not [each for each in ann.got if isinstance(each, packets.Members)]
    receipt, stream = asked[0]
    receipt.complete(members(stream).value)
    town.wait(1)
    (told,) = [each for each in ann.take() if isinstance(each, packets.Members)]
    assert told.count == 2


def test_a_client_that_goes_before_its_session_is_saved_is_not_welcome(
    town: Town, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, *_ = town.houses
    saving: Receipt[None] = Receipt()
    monkeypatch.setattr(town.memory, "save_session", lambda *_, **__: saving)
    line = one.line()
    line.send(packets.Hello())
    line.lose()
    saving.complete(None)
    assert not [each for each in line.taken() if isinstance(each, packets.Welcome)]


def test_what_is_known_already_of_other_nodes_changes_nothing(town: Town) -> None:
    hub = town.houses[0].hub
    hub.written["listing"] = "kept"
    hub.others = ()
    assert hub.written == {"listing": "kept"}


def test_a_session_that_nobody_has_any_more_is_not_waited_for(
    town: Town, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, other, ann, _ = settled(town)
    ann.line.lose()
    monkeypatch.setattr(town.memory, "claim_session", lambda *_: Receipt.of(None))
    ann.comes_to(other)
    ann.take()
    assert not ann.welcome.resumed


def test_a_session_whose_stream_cannot_be_looked_at_may_be_had_later(
    town: Town, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, other, ann, _ = settled(town)
    ann.line.lose()
    with monkeypatch.context() as away:
        refuse(town, away, "fence")
        line = ann.comes_to(other)
    assert line.closed is not None
    assert line.closed[0] == 1013


def test_a_session_that_cannot_come_back_while_the_backplane_is_away_is_not_there(
    town: Town, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other, ann, _ = settled(town)
    go_on = waiting(one, ann.line, Request(seq=2, name="slow", data="x"))
    ann.comes_to(other)
    line = ann.comes_to(one)
    refuse(town, monkeypatch, "load_session")
    go_on()
    assert line.closed is not None
    assert line.closed[0] == 1013


def test_a_session_is_told_to_go_twice_and_goes_once(town: Town) -> None:
    from sono_core.messaging.lossless.nodes import LetGo

    one, _, ann, _ = settled(town)
    go_on = waiting(one, ann.line, Request(seq=2, name="slow", data="x"))
    for claimant, generation in (("b", 2), ("b", 2), ("c", 3)):
        one.node.told(f"!{one.backplane.node}", LetGo(ann.welcome.id, generation, claimant))
    assert len(one.node._leaving[ann.welcome.id].claimants) == 2
    go_on()
    assert ann.welcome.id not in one.node.sessions


def test_changes_of_what_is_no_channel_are_nobodys_business(town: Town) -> None:
    from sono_core.messaging.lossless import Change, Top

    node = town.houses[0].node
    node.changed("*", Change(Position("e", 1), "ann", None, True, 1))
    node.compared("*", Top(Position("e", 1)))
    assert node.presence.deadline is None


def test_what_waits_at_a_node_that_ends_is_saved_for_others(town: Town) -> None:
    one, other, ann, _ = settled(town)
    ann.say(packets.Publish(channel="room", event="chat", data=1, seq=2))
    ann.line.lose()
    other.node.fetch(ann.welcome.key, None)  # and its client does not come
    assert ann.welcome.id not in one.node.sessions
    other.node.close(1001)
    ann.comes_to(one)
    ann.take()
    assert (ann.welcome.resumed, ann.welcome.seq) == (True, 2)


def test_an_order_to_let_go_that_is_out_of_date_is_ignored(town: Town) -> None:
    from sono_core.messaging.lossless.nodes import LetGo

    _, other, ann, _ = settled(town)
    ann.line.lose()
    other.node.fetch(ann.welcome.key, None)
    other.node.told(f"!{other.backplane.node}", LetGo(ann.welcome.id, 1, "a"))
    ann.comes_to(other)
    ann.take()
    assert ann.welcome.resumed


def test_a_node_that_begins_twice_hears_once(town: Town) -> None:
    one, other, ann, _ = settled(town)
    for house in (one, other):
        house.node.begin()
    ann.comes_to(other)
    ann.take()
    assert ann.welcome.resumed


def test_a_classic_client_of_a_node_alone_needs_no_stream() -> None:
    from tests.core.messaging.lossless.house import House

    node = House().node
    assert node.came("classic") is None
    node.went("classic")


def held(town: Town, monkeypatch: pytest.MonkeyPatch, name: str) -> list[Any]:
    """The backplane does things of that kind later: each in this list is called for it."""
    inner, waiting_for = getattr(town.memory, name), []

    def later(*args: Any, **named: Any) -> Receipt[Any]:
        receipt: Receipt[Any] = Receipt()
        waiting_for.append(lambda: inner(*args, **named).then(receipt.settle))
        return receipt

    monkeypatch.setattr(town.memory, name, later)
    return waiting_for


@pytest.mark.parametrize("name", ["load_session", "claim_session"])
def test_two_connections_may_fetch_a_session_at_once(
    town: Town, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    one, other, ann, _ = settled(town)
    ann.line.lose()
    town.wait(1)
    waiting_for = held(town, monkeypatch, name)
    fetched = [other.node.fetch(ann.welcome.key, None) for _ in range(2)]
    one.backplane.stopped = name == "claim_session"  # type: ignore[attr-defined]
    for go_on in list(waiting_for):
        go_on()
    if one.backplane.stopped:  # type: ignore[attr-defined]
        one.backplane.go_on()  # type: ignore[attr-defined]
    assert [receipt is not None and receipt.done for receipt in fetched] == [True, True]
    monkeypatch.undo()
    ann.comes_to(other)
    ann.take()
    assert ann.welcome.resumed


def test_an_order_to_let_go_of_a_session_on_its_way_counts_once(town: Town) -> None:
    from sono_core.messaging.lossless.nodes import LetGo

    one, other, ann, _ = settled(town)
    one.backplane.stopped = True  # type: ignore[attr-defined]
    ann.comes_to(other)
    for _ in range(2):
        other.node.told(f"!{other.backplane.node}", LetGo(ann.welcome.id, 9, "c"))
    coming = other.node._arrivals._coming[ann.welcome.id]
    assert len(coming.claimants) == 1


def test_a_session_whose_stream_has_begun_again_cannot_be_had(
    town: Town, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other, ann, _ = settled(town)
    town.stop(one)  # it does not say how many packets it accepted
    monkeypatch.setattr(town.memory, "fence", lambda *_: Receipt.of(Position("another", 0)))
    ann.comes_to(other)
    town.wait(1)
    ann.take()
    assert not ann.welcome.resumed


def test_an_application_may_end_clients_while_its_node_ends(town: Town) -> None:
    one, _, ann, _ = settled(town)
    one.identity = lambda _: object()  # nobody can write down whose sessions these are: they end
    others = [Person(one.line()) for _ in range(2)]
    moved = one.moved

    def ends_all(client: str) -> None:
        moved(client)
        for person in others:
            if person.welcome.id in one.node.sessions:
                one.node.end(one.node.sessions[person.welcome.id], 4000)

    one.moved = ends_all  # type: ignore[method-assign]
    one.node.close(1001)
    assert one.away == [ann.welcome.id]
    assert sorted(one.over) == sorted((person.welcome.id, 4000) for person in others)


def test_a_first_packet_that_is_wrong_confirms_the_new_key_too(town: Town) -> None:
    _, other, ann, _ = settled(town)
    ann.comes_to(other)
    ann.take()
    saved = town.memory._sessions[ann.welcome.id]
    ann.line.conversation.bad("malformed", "no packet", 2)
    ann.take()
    assert code_of(ann, 2) == "malformed"
    assert (len(saved.keys), len(town.memory._sessions[ann.welcome.id].keys)) == (2, 1)
    ann.line.conversation.bad("malformed", "the same again", 2)
    ann.line.conversation.bad("malformed", "no packet", 3)
    ann.take()
    assert [len(ann.results(number)) for number in (2, 3)] == [2, 1]


# -- what is erased -----------------------------------------------------------------------------


def test_what_an_identity_has_said_is_erased_and_nothing_else(town: Town) -> None:
    one, other = town.houses
    for house in (one, other):
        house.identity = lambda _: {"name": "ann"}
    ann = Person(one.line())
    for house in (one, other):
        house.identity = lambda _: {"name": "bob"}
    bob = Person(other.line())
    other.hub.add("classic")
    other.classic = lambda client: written({"name": "ann"})
    for person in (ann, bob):
        person.say(Join(seq=1, channel="room"))
        person.say(packets.Publish(channel="room", event="chat", data=1, seq=2))
        person.say(Send(to=bob.welcome.id, event="hey", data=1, seq=3))
    other.node.publish(Publish("room", "chat", Data.of(1), "classic"))
    other.emit("room", "chat", 1)
    erased = one.node.erase(written({"name": "ann", "expires_at": 5}))
    assert erased.value == 3
    page = town.memory.page("#room", None, 10).value
    assert [entry.body.sender for entry in page.entries] == [bob.welcome.id, None]
    with pytest.raises(LocalProtocolError, match="author"):
        one.node.erase(b"")


# -- what a node that was lost, or that another one has overtaken, has left -----------------------


def test_nothing_about_a_session_changes_that_has_just_been_claimed(town: Town) -> None:
    one, other, ann, _ = settled(town)
    go_on = waiting(one, ann.line, Request(seq=2, name="slow", data="x"))
    session = one.node.sessions[ann.welcome.id]
    ann.comes_to(other)
    for number, carry_out in enumerate((one.node.join, one.node.move, one.node.leave), 3):
        assert one.node.accept(session, number)
        kind = (Join, packets.Move, packets.Leave)[number - 3]
        carry_out(session, kind(seq=number, channel="room" if number == 5 else "b"))  # type: ignore[operator]
    one.node.admit(session, "c")
    one.node.expel(session, "room", "left")
    assert one.hub.channels_of(ann.welcome.id) == ["Home", "room"]
    go_on()
    for _ in range(2):
        town.wait(1)
    ann.take()
    assert [code_of(ann, number) for number in (2, 3, 4, 5)] == [None, *["unavailable"] * 3]
    assert other.hub.channels_of(ann.welcome.id) == ["Home", "room"]


def test_a_session_is_let_go_although_the_backplane_takes_no_results(
    town: Town, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other, ann, _ = settled(town)
    waiting(one, ann.line, Request(seq=2, name="slow", data="x"))
    ann.comes_to(other)
    with monkeypatch.context() as away:
        refuse(town, away, "publish")
        for _ in range(2):
            assert ann.welcome.id in one.node.sessions
            town.wait(PATIENCE)
    assert ann.welcome.id not in one.node.sessions
    town.wait(1)
    ann.take()
    assert (ann.welcome.resumed, ann.welcome.seq) == (True, 1)


def test_a_client_is_told_what_has_changed_when_that_is_saved(
    town: Town, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, _, ann, _ = settled(town)
    saving = held(town, monkeypatch, "save_session")
    ann.say(Join(seq=2, channel="b"), Join(seq=3, channel="c"))
    ann.say(packets.Leave(seq=4, channel="b"), chat(5, "c"))
    assert [ann.results(number) for number in (2, 3, 4, 5)] == [[]] * 4
    for go_on in saving:
        go_on()
    ann.take()
    assert [each.re for each in ann.got if isinstance(each, packets.Result)] == [1, 2, 3, 4, 5]


def claimed_while_it_is_saved(
    town: Town, monkeypatch: pytest.MonkeyPatch, happens: Callable[[House, Person], object]
) -> Person:
    """Another node claims the session, and its word comes when a change of it is to be saved."""
    one, other, ann, _ = settled(town)
    saving = held(town, monkeypatch, "save_session")
    happens(one, ann)
    one.backplane.stopped = True  # type: ignore[attr-defined]
    ann.comes_to(other)
    monkeypatch.undo()
    for go_on in saving:
        go_on()
    one.backplane.go_on()  # type: ignore[attr-defined]
    for _ in range(2):
        town.wait(PATIENCE)
    ann.take()
    assert ann.welcome.resumed
    assert ann.welcome.id not in one.node.sessions
    return ann


def test_a_change_that_was_not_saved_before_a_claim_is_refused(
    town: Town, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And so is what was refused because of it; what was done is told."""

    def happens(one: House, ann: Person) -> None:
        ann.line.send(packets.Move(seq=2, channel="b"), chat(3, "Home"), chat(4))

    ann = claimed_while_it_is_saved(town, monkeypatch, happens)
    assert [code_of(ann, number) for number in (2, 3, 4)] == ["unavailable", "unavailable", None]
    assert set(ann.streams) == {OWN, "*", "#Home", "#room"}


def test_a_membership_that_was_not_saved_before_a_claim_is_not_told(
    town: Town, monkeypatch: pytest.MonkeyPatch
) -> None:
    for house in town.houses:
        house.hub.create("hall")

    def happens(one: House, ann: Person) -> None:
        waiting(one, ann.line, Request(seq=2, name="slow", data=None))
        one.node.admit(one.node.sessions[ann.welcome.id], "hall")

    ann = claimed_while_it_is_saved(town, monkeypatch, happens)
    told = [packet.channel for packet in ann.got if isinstance(packet, packets.Joined)]
    assert "hall" not in told
    assert "#hall" not in ann.streams


def test_what_is_to_be_published_when_its_session_has_gone_and_come_back_is_not(
    town: Town,
) -> None:
    one, other, ann, bob = settled(town)
    conversation = ann.line.conversation
    work = conversation.receive(chat(2))
    assert isinstance(work, Hear)
    effect = conversation.heard(work, None)
    assert effect is not None
    for house in (other, one):
        ann.comes_to(house)
        town.wait(PATIENCE)
        ann.take()
    conversation.publish(work, effect)
    bob.take()
    ann.take()
    assert bob.said == []
    assert code_of(ann, 2) == "unknown"


def test_who_arrives_while_another_node_claims_it_is_sent_on(
    town: Town, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other, ann, _ = settled(town)
    refuse(town, monkeypatch, "save_session", Fenced("the session goes on elsewhere"))
    line = ann.comes_to(other)
    assert line.closed == (1013, "the session is just going elsewhere")
    assert ann.welcome.id not in other.node.sessions
    assert ann.welcome.id not in one.node.sessions


def test_a_result_that_the_backplane_did_not_take_is_told_again(
    town: Town, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, _, ann, _ = settled(town)
    with monkeypatch.context() as away:
        refuse(town, away, "publish")
        ann.say(chat(2), Request(seq=3, name="echo", data="x" * 100))
        town.wait(AGAIN)
        assert (ann.results(2), ann.results(3)) == ([], [])
    town.wait(AGAIN)
    ann.take()
    assert (code_of(ann, 2), code_of(ann, 3)) == ("unavailable", None)
    assert one.node.untaken.deadline is None


def test_a_result_of_a_session_that_is_elsewhere_is_not_told_again(
    town: Town, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, _, ann, _ = settled(town)
    refuse(town, monkeypatch, "publish", Fenced("the session goes on elsewhere"))
    ann.line.send(Request(seq=2, name="echo", data="x"))
    assert ann.line.closed is not None
    assert ann.line.closed[0] == 4012
    assert one.node.untaken.deadline is None


def test_so_many_results_wait_for_the_backplane() -> None:
    untaken = Untaken()
    session, another = Session("a", "secret"), Session("b", "secret")
    result = Told(session, 1, 0, 0, lambda: Receipt.of(None))
    untaken.add(result._replace(size=LARGEST + 1), 0.0)
    assert untaken.deadline is None
    for number in range(MOST + 1):
        untaken.add(result, number * 1e-6)
    assert untaken.deadline == AGAIN
    assert len(untaken.due(AGAIN + 1)) == MOST
    untaken.add(result._replace(size=LARGEST), 0.0)
    untaken.forget(session)
    untaken.add(result._replace(session=another, size=LARGEST), 0.0)
    assert len(untaken.due(AGAIN)) == 1


def test_a_result_that_is_told_again_is_counted_once(
    town: Town, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, _, ann, _ = settled(town)
    session = one.node.sessions[ann.welcome.id]
    with monkeypatch.context() as away:
        refuse(town, away, "publish")
        ann.say(Request(seq=2, name="echo", data="x" * 100))
        charged = session.charged
        for _ in range(5):
            town.wait(AGAIN)
    assert session.charged == charged


def test_a_result_of_a_session_that_has_ended_is_not_told_again(
    town: Town, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, _, ann, _ = settled(town)
    with monkeypatch.context() as away:
        refuse(town, away, "publish")
        ann.say(Request(seq=2, name="echo", data="x"))
        one.node.end(one.node.sessions[ann.welcome.id], 1000)
    town.wait(AGAIN)
    assert one.node.untaken.deadline is None


def test_a_change_is_not_told_behind_a_later_one(
    town: Town, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The client could believe to be where it is not: it is to find out from a welcome."""
    one, _, ann, _ = settled(town)
    with monkeypatch.context() as away:
        refuse(town, away, "publish")
        ann.say(Join(seq=2, channel="b"))
    ann.say(packets.Leave(seq=3, channel="b"))
    town.wait(AGAIN)
    ann.take()
    assert (code_of(ann, 3), code_of(ann, 2)) == (None, "unknown")
    assert one.node.sessions[ann.welcome.id].owed is None


def test_a_change_that_was_not_saved_is_not_told_as_done_later_either(
    town: Town, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other, ann, _ = settled(town)
    with monkeypatch.context() as held_back:
        saving = held(town, held_back, "save_session")
        ann.line.send(packets.Move(seq=2, channel="b"))
        one.backplane.stopped = True  # type: ignore[attr-defined]
        ann.comes_to(other)
    with monkeypatch.context() as away:
        refuse(town, away, "publish")
        for go_on in saving:
            go_on()
        one.backplane.go_on()  # type: ignore[attr-defined]
    for _ in range(2):
        town.wait(AGAIN)
    ann.take()
    assert ann.welcome.resumed
    assert code_of(ann, 2) == "unavailable"
    assert set(ann.streams) == {OWN, "*", "#Home", "#room"}


@pytest.mark.parametrize("name", ["admit", "expel"])
def test_the_application_may_change_memberships_that_are_claimed_elsewhere(
    town: Town, name: str
) -> None:
    one, other, ann, _ = settled(town)
    one.hub.create("hall")
    session = one.node.sessions[ann.welcome.id]
    town.stop(one)
    ann.comes_to(other)
    if name == "admit":
        one.node.admit(session, "hall")
    else:
        one.node.expel(session, "room", "forbidden")
    assert ann.welcome.id not in one.node.sessions
    ann.take()
    assert ann.welcome.resumed
    assert "#room" in ann.streams


def test_a_session_that_goes_elsewhere_is_not_opened_meanwhile(town: Town) -> None:
    one, other, ann, _ = settled(town)
    waiting(one, ann.line, Request(seq=2, name="slow", data=None))
    line = one.line()
    work = line.conversation.receive(packets.Hello(key=ann.welcome.key))
    assert isinstance(work, Identify)
    assert line.conversation.fetch(work, None) is None
    ann.comes_to(other)
    assert line.conversation.identified(work, None) is None
    assert line.closed == (1013, "the session is just going elsewhere")


def test_a_second_result_of_a_number_changes_nothing(town: Town) -> None:
    one, _, ann, _ = settled(town)
    session = one.node.sessions[ann.welcome.id]
    one.node.answer(session, 1)
    assert (session.owed, session.answered) == (None, 1)


def test_a_client_that_has_ended_meanwhile_is_told_nothing(
    town: Town, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, _, ann, _ = settled(town)
    saving = held(town, monkeypatch, "save_session")
    ann.say(Join(seq=2, channel="b"))
    one.node.end(one.node.sessions[ann.welcome.id], 1000)
    for go_on in saving:
        go_on()
    assert f"{OWN}{ann.welcome.id}" not in town.memory.streams


@pytest.mark.parametrize("elsewhere", [True, False])
def test_a_session_whose_time_is_over_has_ended_unless_another_node_has_claimed_it(
    town: Town, elsewhere: bool
) -> None:
    one, other, ann, _ = settled(town)
    ann.line.lose()
    if elsewhere:
        town.stop(one)
        ann.comes_to(other)
        town.wait(1)
        one.backplane._held.clear()  # type: ignore[attr-defined]  # it never heard of that
        one.backplane.stopped = False  # type: ignore[attr-defined]
    town.wait(61)
    assert ann.welcome.id not in one.hub.clients
    assert one.over == ([] if elsewhere else [(ann.welcome.id, 1006)])
    assert one.away == ([ann.welcome.id] if elsewhere else [])


def test_a_session_comes_back_while_it_is_found_out_whether_it_is_elsewhere(
    town: Town, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other, ann, _ = settled(town)
    ann.line.lose()
    town.stop(one)
    ann.comes_to(other)
    town.wait(1)
    ann.take()
    one.backplane._held.clear()  # type: ignore[attr-defined]
    one.backplane.stopped = False  # type: ignore[attr-defined]
    waiting_for = held(town, monkeypatch, "drop_session")
    one.wait(61)
    assert ann.welcome.id in one.hub.clients
    ann.comes_to(one)
    town.wait(1)
    ann.take()
    for go_on in waiting_for:
        go_on()
    assert ann.welcome.resumed
    assert ann.welcome.id in one.node.sessions
    assert one.over == []


def test_memberships_that_were_told_and_not_saved_are_told_again(town: Town) -> None:
    one, other, ann, _ = settled(town)
    ann.say(Request(seq=2, name="echo", data={"said": "nothing"}))
    record = town.memory._sessions[ann.welcome.id]
    ann.say(packets.Move(seq=3, channel="b"))
    session = one.node.sessions[ann.welcome.id]
    for channel in ("c", "d"):
        one.node.admit(session, channel)
    one.node.expel(session, "d", "left")
    ann.take()
    assert "c" in one.hub.channels_of(ann.welcome.id)
    town.memory._sessions[ann.welcome.id] = record  # the node was lost before it was saved
    town.stop(one)
    ann.comes_to(other)
    town.wait(1)
    told = ann.take()
    assert ann.welcome.resumed
    assert other.hub.channels_of(ann.welcome.id) == ["Home", "room"]
    current = [each.channel for each in told if isinstance(each, packets.Joined)]
    left = {each.channel for each in told if isinstance(each, packets.Left)}
    assert (current, left) == (["Home"], {"b", "c"})


def test_a_key_that_another_node_gave_opens_a_session_until_one_is_confirmed(town: Town) -> None:
    town = Town("abc")
    one, other, ann, _ = settled(Three(town))
    third = town.houses[2]
    first = ann.welcome.key
    ann.line.lose()
    ann.comes_to(other)
    ann.take()
    second = ann.welcome.key
    stale = third.line()
    stale.send(packets.Hello(key=first))  # it has stood still on its way
    town.wait(1)
    assert stale.client == ann.welcome.id
    ann.comes_to(one)
    town.wait(1)
    ann.take()
    assert ann.welcome.resumed
    assert ann.welcome.key not in (first, second)
    ann.say(Join(seq=2, channel="b"))
    assert len(town.memory._sessions[ann.welcome.id].keys) == 1


def test_another_packet_under_the_number_of_one_that_a_lost_node_carried_out_is_carried_out(
    town: Town,
) -> None:
    """Clients of others may use a number again whose packet they have given up."""
    one, other, ann, bob = settled(town)
    session = one.node.sessions[ann.welcome.id]
    body = Publish("room", "chat", Data.of("first"), session.id)
    key = f"{session.id}:2:{Data.of('first').checksum:x}"
    town.memory.publish("#room", body, 1, one.node._histories.default, key)
    town.stop(one)
    ann.comes_to(other)
    town.wait(1)
    ann.take()
    ann.say(packets.Publish(channel="room", event="chat", data="second", seq=2))
    bob.take()
    assert bob.said == ["first", "second"]
