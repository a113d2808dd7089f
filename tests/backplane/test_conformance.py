"""What every backplane does. What is told live may come late, twice and in any order."""

from __future__ import annotations

from contextlib import nullcontext
from functools import partial
from typing import Any

import pytest

from sono_core.messaging.lossless.backplane import Change, Fenced, Origin, Roster, SavedSession
from sono_core.messaging.lossless.history import History
from sono_core.messaging.lossless.positions import Position
from sono_core.messaging.lossless.streams import (
    FENCE_AGE,
    MAX_KEYS,
    Batch,
    Entry,
    Missing,
    in_order,
)
from tests.backplane.each_backplane import Rig

STREAM = "#room"
ALL = History()


def publish(rig: Rig, body: Any, size: int = 1, history: History = ALL, **options: Any) -> Position:
    return rig.wait(rig.backplane.publish(STREAM, body, size, history, **options))


def filled(rig: Rig, count: int, **options: Any) -> list[Position]:
    """Positions of that many entries, whose bodies are numbers from 1."""
    return [publish(rig, number, **options) for number in range(1, count + 1)]


def read(rig: Rig, after: Position, limit: int | None = None) -> Batch:
    return rig.wait(rig.backplane.read(STREAM, after, limit))


def bodies(entries: tuple[Entry, ...] | list[Entry]) -> list[Any]:
    return [entry.body for entry in entries]


def start(at: Position) -> Position:
    return Position(at.epoch, 0)


class Follower:
    """Keeps what it is told."""

    def __init__(self, rig: Rig, stream: str = STREAM) -> None:
        self.entries: list[Entry] = []
        self.changes: list[Change] = []
        self.said: list[Any] = []
        self.position = rig.wait(
            rig.backplane.subscribe(
                stream,
                self.entries.append,
                on_change=self.changes.append,
                on_volatile=self.said.append,
            )
        )

    @property
    def told(self) -> list[Any]:
        """Bodies in order, each once."""
        return bodies(
            [entry for _, entry in sorted({e.at.offset: e for e in self.entries}.items())]
        )


# -- publishing and reading -----------------------------------------------------------------------


def test_offsets_are_consecutive_from_1_in_one_epoch(rig: Rig) -> None:
    positions = filled(rig, 4)
    assert [position.offset for position in positions] == [1, 2, 3, 4]
    assert len({position.epoch for position in positions}) == 1


def test_what_is_published_at_once_is_published_in_the_order_of_the_calls(rig: Rig) -> None:
    receipts = [
        rig.backplane.publish(stream, number, 1, ALL)
        for number in range(20)
        for stream in (STREAM, "#other")
    ]
    rig.settle()
    for stream, mine in ((STREAM, receipts[::2]), ("#other", receipts[1::2])):
        assert [receipt.value.offset for receipt in mine] == list(range(1, 21))
        batch = rig.wait(rig.backplane.read(stream, start(mine[0].value)))
        assert bodies(batch.entries) == list(range(20))


def test_each_stream_has_an_epoch_of_its_own(rig: Rig) -> None:
    other = rig.wait(rig.backplane.publish("#other", "x", 1, ALL))
    assert other.offset == 1
    assert other.epoch != publish(rig, "x").epoch


def test_what_follows_a_position_is_read_in_order(rig: Rig) -> None:
    positions = filled(rig, 4)
    batch = read(rig, positions[1])
    assert [(entry.at, entry.body, entry.size) for entry in batch.entries] == [
        (positions[2], 3, 1),
        (positions[3], 4, 1),
    ]
    assert batch.upto == batch.top == positions[3]
    assert (batch.first, batch.why) == (1, None)


def test_nothing_follows_the_top_and_nothing_is_missing(rig: Rig) -> None:
    *_, top = filled(rig, 3)
    batch = read(rig, top)
    assert (batch.entries, batch.upto, batch.top, batch.why) == ((), top, top, None)


def test_a_stream_that_nothing_was_published_to_has_a_position(rig: Rig) -> None:
    follower = Follower(rig)
    assert follower.position.offset == 0
    batch = read(rig, follower.position)
    assert (batch.entries, batch.top, batch.why) == ((), follower.position, None)
    assert publish(rig, "x") == Position(follower.position.epoch, 1)


@pytest.mark.parametrize(
    ("limit", "expected"), [(1, [1]), (9, [1]), (10, [1]), (19, [1]), (20, [1, 2]), (29, [1, 2])]
)
def test_a_limit_ends_a_batch_and_says_how_far_it_goes(
    rig: Rig, limit: int, expected: list[int]
) -> None:
    positions = filled(rig, 4, size=10)
    batch = read(rig, start(positions[0]), limit)
    assert bodies(batch.entries) == expected
    assert (batch.upto, batch.top) == (positions[len(expected) - 1], positions[-1])
    assert batch.why is None


def test_what_is_trimmed_is_told(rig: Rig) -> None:
    positions = filled(rig, 5, history=History(count=2))
    batch = read(rig, positions[0])
    assert bodies(batch.entries) == [4, 5]
    assert (batch.first, batch.why) == (4, "trimmed")
    assert read(rig, positions[2]).why is None


def test_a_position_of_another_epoch_is_before_everything(rig: Rig) -> None:
    positions = filled(rig, 2)
    batch = read(rig, Position("elsewhere", 1))
    assert (bodies(batch.entries), batch.top, batch.why) == ([1, 2], positions[-1], "other-epoch")


def test_a_position_above_the_top_has_nothing_behind_it(rig: Rig) -> None:
    *_, top = filled(rig, 2)
    batch = read(rig, Position(top.epoch, 3))
    assert (batch.entries, batch.upto, batch.top, batch.why) == ((), top, top, "above-top")


def test_no_history_keeps_nothing_and_numbers_all_the_same(rig: Rig) -> None:
    positions = filled(rig, 3, history=History(count=0))
    assert [position.offset for position in positions] == [1, 2, 3]
    batch = read(rig, positions[1])
    assert (batch.entries, batch.top, batch.first, batch.why) == ((), positions[2], 4, "trimmed")


def test_an_entry_above_the_size_is_numbered_and_told_and_not_kept(rig: Rig) -> None:
    follower = Follower(rig)
    history = History(size=10)
    first = publish(rig, "first", 5, history)
    large = publish(rig, "large", 11, history)
    publish(rig, "last", 5, history)
    rig.settle()
    assert follower.told == ["first", "large", "last"]
    batch = read(rig, start(first))
    assert bodies(batch.entries) == ["first", "last"]
    assert batch.why == "trimmed"
    assert read(rig, large).why is None


def test_entries_grow_too_old(rig: Rig) -> None:
    history = History(age=10)
    first = publish(rig, 1, history=history)
    rig.clock.now += 5
    publish(rig, 2, history=history)
    rig.clock.now += 5
    assert bodies(read(rig, start(first)).entries) == [1, 2]
    rig.clock.now += 1
    assert bodies(read(rig, start(first)).entries) == [2]


# -- each publication once ------------------------------------------------------------------------


def test_the_same_key_is_published_once_and_has_one_position(rig: Rig) -> None:
    follower = Follower(rig)
    first = publish(rig, "a", key="s:1")
    second = publish(rig, "b", key="s:2")
    assert publish(rig, "a", key="s:1") == first
    assert publish(rig, "b", key="s:2") == second
    rig.settle()
    assert bodies(read(rig, start(first)).entries) == follower.told == ["a", "b"]


def test_a_key_counts_although_nothing_is_kept(rig: Rig) -> None:
    history = History(count=0)
    assert publish(rig, "a", history=history, key="k") == publish(
        rig, "a", history=history, key="k"
    )


def test_a_key_counts_in_its_stream_alone(rig: Rig) -> None:
    publish(rig, "x")
    here = publish(rig, "a", key="k")
    there = rig.wait(rig.backplane.publish("#other", "a", 1, ALL, key="k"))
    assert (here.offset, there.offset) == (2, 1)


# -- for somebody who may be gone -----------------------------------------------------------------


def send(rig: Rig, body: Any, **options: Any) -> Position | None:
    return rig.wait(rig.backplane.send(STREAM, body, 1, ALL, **options))


def test_what_is_sent_to_a_stream_that_there_is_is_published_there(rig: Rig) -> None:
    follower = Follower(rig)
    assert send(rig, "a") == Position(follower.position.epoch, 1)
    assert send(rig, "b", key="k") == send(rig, "b", key="k")
    rig.settle()
    assert follower.told == ["a", "b"]


def test_what_is_sent_to_no_stream_makes_none(rig: Rig) -> None:
    assert send(rig, "a") is None
    assert rig.wait(rig.backplane.tops([STREAM])) == {}
    publish(rig, "b")
    assert rig.wait(rig.backplane.free(STREAM))
    assert send(rig, "c") is None


# -- pages ----------------------------------------------------------------------------------------


def test_pages_go_back_from_the_newest(rig: Rig) -> None:
    filled(rig, 5)
    seen, before, more = [], None, True
    while more:
        page = rig.wait(rig.backplane.page(STREAM, before, 2))
        seen.append(bodies(page.entries))
        before, more = page.entries[0].at, page.more
    assert seen == [[4, 5], [2, 3], [1]]


def test_nothing_is_before_a_position_of_another_epoch(rig: Rig) -> None:
    filled(rig, 2)
    page = rig.wait(rig.backplane.page(STREAM, Position("elsewhere", 9), 5))
    assert (page.entries, page.more) == ((), False)


# -- following ------------------------------------------------------------------------------------


def test_a_follower_is_told_every_entry_after_its_position(rig: Rig) -> None:
    filled(rig, 2)
    follower = Follower(rig)
    assert follower.position.offset == 2
    filled(rig, 3)
    rig.settle()
    later = [entry for entry in follower.entries if entry.at.offset > 2]
    assert {entry.at.offset for entry in later} == {3, 4, 5}
    assert {entry.at.epoch for entry in later} == {follower.position.epoch}


def test_what_is_published_after_the_call_is_told_though_following_has_not_begun(rig: Rig) -> None:
    filled(rig, 2)
    told: list[Entry] = []
    following = rig.backplane.subscribe(STREAM, told.append)
    published = [rig.backplane.publish(STREAM, n, 1, ALL) for n in range(3)]
    begin = rig.wait(following)
    positions = [rig.wait(receipt) for receipt in published]
    assert positions[0] == Position(begin.epoch, begin.offset + 1)
    rig.settle()
    assert set(positions) <= {entry.at for entry in told}


def test_all_followers_are_told_and_those_of_other_streams_are_not(rig: Rig) -> None:
    here, too, there = Follower(rig), Follower(rig), Follower(rig, "#other")
    filled(rig, 2)
    rig.settle()
    assert (here.told, too.told, there.told) == ([1, 2], [1, 2], [])


def test_who_follows_no_longer_is_told_nothing(rig: Rig) -> None:
    here, too = Follower(rig), Follower(rig)
    rig.wait(rig.backplane.unsubscribe(STREAM, here.entries.append))
    filled(rig, 1)
    rig.settle()
    assert (here.told, too.told) == ([], [1])


def test_to_follow_no_longer_twice_is_harmless(rig: Rig) -> None:
    follower = Follower(rig)
    for _ in range(2):
        rig.wait(rig.backplane.unsubscribe(STREAM, follower.entries.append))


def test_what_is_volatile_is_told_and_leaves_no_trace(rig: Rig) -> None:
    follower = Follower(rig)
    rig.wait(rig.backplane.tell(STREAM, "typing"))
    rig.settle()
    assert set(follower.said) == {"typing"}
    assert follower.entries == []
    assert read(rig, follower.position).top == follower.position


def test_tops_are_those_of_streams_that_there_are(rig: Rig) -> None:
    *_, top = filled(rig, 2)
    follower = Follower(rig, "#empty")
    tops = rig.wait(rig.backplane.tops([STREAM, "#empty", "#nowhere"]))
    assert {name: top.at for name, top in tops.items()} == {
        STREAM: top,
        "#empty": follower.position,
    }


def test_a_stream_that_is_freed_and_made_again_has_a_new_epoch(rig: Rig) -> None:
    *_, top = filled(rig, 2)
    assert rig.wait(rig.backplane.free(STREAM))
    again = publish(rig, "x")
    assert again.offset == 1
    assert again.epoch != top.epoch
    assert read(rig, top).why == "other-epoch"


def test_a_stream_that_somebody_follows_is_not_freed(rig: Rig) -> None:
    follower = Follower(rig)
    *_, top = filled(rig, 2)
    assert not rig.wait(rig.backplane.free(STREAM))
    assert read(rig, top).why is None
    rig.wait(rig.backplane.unsubscribe(STREAM, follower.entries.append))
    assert rig.wait(rig.backplane.free(STREAM))


def test_a_stream_that_is_not_there_is_free(rig: Rig) -> None:
    assert rig.wait(rig.backplane.free("#nowhere"))


# -- presence -------------------------------------------------------------------------------------


def enter(rig: Rig, member: str, data: Any = None) -> Position:
    return rig.wait(rig.backplane.enter(STREAM, member, data, 4))


def leave(rig: Rig, member: str) -> Position | None:
    return rig.wait(rig.backplane.exit(STREAM, member))


def roster(rig: Rig) -> Roster:
    return rig.wait(rig.backplane.members(STREAM))


def test_members_come_change_and_go_by_versions(rig: Rig) -> None:
    follower = Follower(rig)
    versions = [enter(rig, "a", 1), enter(rig, "b", 2), enter(rig, "a", 3), leave(rig, "b")]
    assert len({version.epoch for version in versions if version}) == 1
    assert [version.offset for version in versions if version] == [1, 2, 3, 4]
    now = roster(rig)
    assert (now.version, dict(now.members)) == (versions[-1], {"a": 3})
    rig.settle()
    changes = {change.version: change for change in follower.changes}
    assert [
        (change.member, change.data, change.present, change.count)
        for version in versions
        if version and (change := changes[version])
    ] == [("a", 1, True, 1), ("b", 2, True, 2), ("a", 3, True, 2), ("b", None, False, 1)]


def test_data_that_a_member_has_stays_if_that_is_wanted(rig: Rig) -> None:
    keep = partial(rig.backplane.enter, STREAM, "a", 0, 4, keep=True)
    rig.wait(keep())
    assert dict(roster(rig).members) == {"a": 0}
    version = enter(rig, "a", 1)
    assert rig.wait(keep()) == version
    assert dict(roster(rig).members) == {"a": 1}


def test_to_enter_twice_with_the_same_data_changes_nothing(rig: Rig) -> None:
    assert enter(rig, "a", 1) == enter(rig, "a", 1) == roster(rig).version


def test_who_is_not_there_cannot_leave(rig: Rig) -> None:
    assert leave(rig, "a") is None
    version = enter(rig, "a")
    assert leave(rig, "b") == version == roster(rig).version


def test_the_versions_of_rosters_come_with_the_tops(rig: Rig) -> None:
    Follower(rig)
    tops = rig.wait(rig.backplane.tops([STREAM]))
    assert tops[STREAM].roster is None
    version = enter(rig, "a")
    tops = rig.wait(rig.backplane.tops([STREAM]))
    assert tops[STREAM].roster == version


def test_a_roster_goes_with_its_last_member_if_nobody_follows(rig: Rig) -> None:
    version = enter(rig, "a")
    leave(rig, "a")
    assert enter(rig, "a").epoch != version.epoch


def test_a_roster_stays_as_long_as_somebody_follows(rig: Rig) -> None:
    follower = Follower(rig)
    empty = roster(rig)
    assert dict(empty.members) == {}
    assert enter(rig, "a") == Position(empty.version.epoch, 1)
    leave(rig, "a")
    assert enter(rig, "a") == Position(empty.version.epoch, 3)
    leave(rig, "a")
    rig.wait(rig.backplane.unsubscribe(STREAM, follower.entries.append))
    assert roster(rig).version.epoch != empty.version.epoch


# -- sessions -------------------------------------------------------------------------------------


def save(rig: Rig, session: str, record: bytes, *keys: str, age: float = 60, **named: Any) -> None:
    rig.wait(rig.backplane.save_session(session, record, keys, age, **named))


def load(rig: Rig, session: str, key: str) -> SavedSession | None:
    return rig.wait(rig.backplane.load_session(session, key))


def claim(rig: Rig, key: str, owner: str) -> SavedSession | None:
    return rig.wait(rig.backplane.claim_session("s", key, owner))


def test_a_session_is_loaded_with_each_of_its_keys(rig: Rig) -> None:
    save(rig, "s", b"one", "former", "newer", owner="a")
    saved = SavedSession("s", b"one", 1, "a")
    assert load(rig, "s", "former") == load(rig, "s", "newer") == saved
    for key in ("s", "new", "newer former"):
        assert load(rig, "s", key) is None
    assert load(rig, "t", "former") is None


def test_a_session_that_is_saved_again_has_the_new_keys_alone(rig: Rig) -> None:
    save(rig, "s", b"one", "former", "new")
    save(rig, "s", b"two", "new", "newer")
    assert load(rig, "s", "former") is None
    assert load(rig, "s", "new") == load(rig, "s", "newer") == SavedSession("s", b"two")


def test_a_session_that_is_dropped_is_gone(rig: Rig) -> None:
    save(rig, "s", b"one", "k")
    save(rig, "t", b"two", "k")
    for _ in range(2):
        rig.wait(rig.backplane.drop_session("s", 1))
    assert load(rig, "s", "k") is None
    assert load(rig, "t", "k") == SavedSession("t", b"two")


def test_a_session_is_saved_for_its_age(rig: Rig) -> None:
    save(rig, "s", b"one", "k", age=60)
    rig.clock.now += 59
    assert load(rig, "s", "k") is not None
    rig.clock.now += 1
    assert load(rig, "s", "k") is None
    assert claim(rig, "k", "b") is None


def test_each_claim_gives_a_session_another_owner_and_the_next_generation(rig: Rig) -> None:
    save(rig, "s", b"one", "k", owner="a")
    assert claim(rig, "other", "b") is None
    assert load(rig, "s", "k") == SavedSession("s", b"one", 1, "a")
    assert claim(rig, "k", "b") == SavedSession("s", b"one", 2, "a")
    assert claim(rig, "k", "c") == SavedSession("s", b"one", 3, "b")
    assert load(rig, "s", "k") == SavedSession("s", b"one", 3, "c")


def test_who_had_a_session_before_another_claimed_it_neither_saves_nor_drops_it(rig: Rig) -> None:
    save(rig, "s", b"one", "k", owner="a")
    claim(rig, "k", "b")
    with pytest.raises(Fenced):
        save(rig, "s", b"two", "k", owner="a", generation=1)
    assert not rig.wait(rig.backplane.drop_session("s", 1))
    assert load(rig, "s", "k") == SavedSession("s", b"one", 2, "b")
    save(rig, "s", b"two", "k", generation=2)
    assert load(rig, "s", "k") == SavedSession("s", b"two", 2, "")
    assert rig.wait(rig.backplane.drop_session("s", 2))
    assert rig.wait(rig.backplane.drop_session("s", 2))
    assert load(rig, "s", "k") is None


# -- what comes too late --------------------------------------------------------------------------


def say(rig: Rig, generation: int, key: str | None = None, session: str = "ann") -> Position:
    origin = Origin(session, generation)
    return rig.wait(rig.backplane.publish(STREAM, generation, 1, ALL, key, origin))


@pytest.mark.parametrize("key", [None, "ann:7"])
def test_what_a_session_said_before_it_went_elsewhere_is_refused(rig: Rig, key: str | None) -> None:
    say(rig, 1)
    say(rig, 2)
    with pytest.raises(Fenced):
        say(rig, 1, key)
    with pytest.raises(Fenced):
        rig.wait(rig.backplane.send(STREAM, 1, 1, ALL, key, Origin("ann", 1)))
    assert say(rig, 1, session="bob").offset == 3
    assert say(rig, 2).offset == 4
    assert say(rig, 3).offset == 5
    with pytest.raises(Fenced):
        say(rig, 2)


def test_what_a_session_said_before_it_was_fenced_is_refused(rig: Rig) -> None:
    at = say(rig, 1)
    assert rig.wait(rig.backplane.fence(STREAM, "ann", 3)) == at
    for generation in (1, 2):
        with pytest.raises(Fenced):
            say(rig, generation)
    assert rig.wait(rig.backplane.fence(STREAM, "ann", 2)) == at
    with pytest.raises(Fenced):
        say(rig, 2)
    assert say(rig, 1, session="bob").offset == 2
    assert say(rig, 3).offset == 3
    assert rig.wait(rig.backplane.fence("#new", "ann", 2)).offset == 0


def test_a_packet_that_is_said_again_elsewhere_is_published_once(rig: Rig) -> None:
    at = say(rig, 1, "ann:7")
    assert say(rig, 2, "ann:7") == at
    assert say(rig, 2, "ann:8").offset == at.offset + 1


@pytest.mark.parametrize(("age", "refused"), [(FENCE_AGE, True), (FENCE_AGE + 1, False)])
def test_a_stream_knows_generations_for_a_time(rig: Rig, age: float, refused: bool) -> None:
    say(rig, 2)
    rig.clock.now += age
    with pytest.raises(Fenced) if refused else nullcontext():
        say(rig, 1)


@pytest.mark.parametrize(("others", "refused"), [(MAX_KEYS - 1, True), (MAX_KEYS, False)])
def test_a_stream_knows_the_generations_of_so_many_sessions(
    rig: Rig, others: int, refused: bool
) -> None:
    say(rig, 2)
    for number in range(others):
        origin = Origin(f"other{number}", 2)
        last = rig.backplane.publish(STREAM, number, 1, ALL, None, origin)
    rig.wait(last)
    with pytest.raises(Fenced) if refused else nullcontext():
        say(rig, 1)


# -- what is erased -------------------------------------------------------------------------------


def said_by(rig: Rig, stream: str, *authors: bytes) -> None:
    """One entry of each; their bodies are numbers from 1."""
    for number, author in enumerate(authors, 1):
        last = rig.backplane.publish(stream, number, 1, ALL, None, Origin(author=author))
    rig.wait(last)


def kept(rig: Rig, stream: str) -> list[Any]:
    return bodies(rig.wait(rig.backplane.page(stream, None, 100)).entries)


def test_all_that_an_author_said_is_erased_in_all_streams(rig: Rig) -> None:
    said_by(rig, "#one", b"ann", b"bob", b"ann", b"", b"bob", b"ann")
    said_by(rig, "#two", b"ann")
    said_by(rig, "@ccc", b"bob")
    assert rig.wait(rig.backplane.erase(b"ann")) == 4
    assert kept(rig, "#one") == [2, 4, 5]
    assert (kept(rig, "#two"), kept(rig, "@ccc")) == ([], [1])
    assert rig.wait(rig.backplane.erase(b"ann")) == 0
    said_by(rig, "#two", b"ann")
    assert kept(rig, "#two") == [1]


def test_what_is_erased_is_missing_and_positions_stay(rig: Rig) -> None:
    said_by(rig, STREAM, b"ann", b"bob", b"ann", b"bob", b"ann")
    rig.wait(rig.backplane.erase(b"ann"))
    top = rig.wait(rig.backplane.tops([STREAM]))[STREAM].at
    assert top.offset == 5
    batch = read(rig, start(top))
    assert (batch.why, batch.top, batch.upto, batch.first) == ("trimmed", top, top, 2)
    found = in_order(start(top), batch.entries, batch.upto)
    what = [one.extent if isinstance(one, Missing) else one.body for one in found]
    assert what == [(1, 1), 2, (3, 3), 4, (5, 5)]
    assert publish(rig, 6) == Position(top.epoch, 6)


def test_what_is_erased_takes_no_room_in_the_history(rig: Rig) -> None:
    history = History(count=10, size=100, age=60)
    for number, author in enumerate((b"ann", b"bob", b"ann"), 1):
        publish(rig, number, 30, history, origin=Origin(author=author))
    rig.wait(rig.backplane.erase(b"ann"))
    for number in (4, 5):
        publish(rig, number, 30, history)
    assert kept(rig, STREAM) == [2, 4, 5]


def test_more_is_erased_than_is_looked_through_at_once(rig: Rig) -> None:
    said_by(rig, "#long", *[b"ann", b"ann", b"bob"] * 30)
    for number in range(30):
        said_by(rig, f"#room{number}", b"bob", b"ann")
    assert rig.wait(rig.backplane.erase(b"ann")) == 90
    assert len(kept(rig, "#long")) == 30
    assert kept(rig, "#room7") == [1]
