"""Sessions: keys, numbers, and the bounds of those without a connection."""

from __future__ import annotations

import hmac

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from sono_core.messaging.lossless.server.sessions import Bounds, Numbering, Session, Sessions
from tests.helpers import SOME_LIVES

BOUNDS = Bounds(age=60.0, count=4, count_of_address=3, size=1000)


def made(id: str, identity: object = "somebody", address: str = "here") -> Session:
    return Session(id, f"secret-{id}", identity, address)


def several(sessions: Sessions, *ids: str, **options: object) -> list[Session]:
    result = [made(id, **options) for id in ids]  # type: ignore[arg-type]
    for session in result:
        sessions.add(session)
    return result


# -- keys ---------------------------------------------------------------------------------------


def test_a_key_opens_its_session_alone() -> None:
    sessions = Sessions(BOUNDS)
    first, second = several(sessions, "a", "b")
    assert sessions.find(first.key) == (first, "secret-a")
    assert sessions.find(second.key) == (second, "secret-b")
    for key in (
        "",
        "a",
        "a.",
        ".secret-a",
        "a.secret-b",
        "b.secret-a",
        "c.x",
        "a.secret-a.",
        "a.\ud800",
    ):
        assert sessions.find(key) is None


def test_a_used_key_is_replaced_and_works_until_the_new_one_was_seen() -> None:
    session = made("a")
    session.renew("secret-a", "second")
    assert session.opens("secret-a")
    assert session.key == "a.second"
    session.renew("secret-a", "third")  # a retry, for the welcome was lost
    assert session.key == "a.second"
    session.confirm()
    assert not session.opens("secret-a")
    assert session.opens("second")
    session.renew("second", "third")
    assert (session.key, session.opens("second"), session.opens("third")) == ("a.third", True, True)


def test_keys_are_compared_in_constant_time(monkeypatch: pytest.MonkeyPatch) -> None:
    compared = []

    def compare(one: bytes, other: bytes) -> bool:
        compared.append((one, other))
        return one == other

    monkeypatch.setattr(hmac, "compare_digest", compare)
    session = made("a")
    session.renew("secret-a", "second")
    compared.clear()
    for secret in ("second", "secret-a", "seconD", "x"):
        assert session.opens(secret) is (secret in ("second", "secret-a"))
        given = secret.encode()
        assert compared == [(given, b"second"), (given, b"secret-a")]
        compared.clear()


def test_no_key_is_shown() -> None:
    session = made("a")
    assert repr(session) == "<Session a>"


# -- numbers ------------------------------------------------------------------------------------


def test_numbers_are_accepted_once_and_in_their_order() -> None:
    session = made("a")
    said = [session.number(seq) for seq in (1, 1, 3, 2, 2**53 - 1, 3, 1, 0)]
    new, old, leap = Numbering.NEXT, Numbering.REPEATED, Numbering.LEAP
    assert said == [new, old, leap, new, leap, new, old, old]
    assert session.accepted == 3


# -- bounds -------------------------------------------------------------------------------------


def test_an_id_is_taken_once() -> None:
    sessions = Sessions(BOUNDS)
    (session,) = several(sessions, "a")
    with pytest.raises(ValueError, match="'a' already exists"):
        sessions.add(made("a"))
    assert sessions["a"] is session
    assert "a" in sessions


def test_a_suspended_session_ends_when_its_time_is_over() -> None:
    sessions = Sessions(BOUNDS)
    first, second = several(sessions, "a", "b")
    assert sessions.deadline is None
    assert sessions.suspend(first, 1, 10.0) == []
    assert sessions.suspend(second, 1, 20.0) == []
    assert sessions.deadline == 70.0
    assert sessions.expire(69.9) == []
    assert sessions.expire(70.0) == [first]
    assert sessions.deadline == 80.0
    sessions.open(second)
    assert (sessions.deadline, sessions.held, sessions.suspended, len(sessions)) == (None, 0, 0, 1)


def test_strangers_have_the_same_time() -> None:
    sessions = Sessions(BOUNDS)
    (known,) = several(sessions, "a")
    (stranger,) = several(sessions, "b", identity=None)
    sessions.suspend(stranger, 1, 1.0)
    sessions.suspend(known, 1, 0.0)
    assert sessions.expire(60.0) == [known]
    assert sessions.expire(61.0) == [stranger]


@pytest.mark.parametrize("number", [3, 4, 5])
def test_as_many_are_kept_as_may_be_and_those_suspended_first_go(number: int) -> None:
    sessions = Sessions(BOUNDS)
    ended = []
    for n in range(number):
        (session,) = several(sessions, str(n), address=str(n))
        ended += sessions.suspend(session, 1, float(n))
    assert [session.id for session in ended] == ["0"] * (number - 4)
    assert len(sessions) == sessions.suspended == min(number, 4)


def test_strangers_that_never_joined_go_first() -> None:
    sessions = Sessions(BOUNDS)
    for n in range(4):
        (session,) = several(sessions, str(n), identity=None if n > 1 else "x", address=str(n))
        session.joined = n == 2
        sessions.suspend(session, 1, float(n))
    (last,) = several(sessions, "4", address="4")
    assert [session.id for session in sessions.suspend(last, 1, 4.0)] == ["3"]


@pytest.mark.parametrize(("size", "left"), [(499, ["a", "b"]), (500, ["a", "b"]), (501, ["b"])])
def test_they_hold_as_many_bytes_as_may_be(size: int, left: list[str]) -> None:
    sessions = Sessions(BOUNDS)
    first, second = several(sessions, "a", "b")
    sessions.suspend(first, 500, 0.0)
    sessions.suspend(second, size, 0.0)
    assert [id for id in "ab" if id in sessions] == left
    assert sessions.held <= 1000


def test_what_comes_later_counts_as_well() -> None:
    sessions = Sessions(BOUNDS)
    first, second = several(sessions, "a", "b")
    sessions.suspend(first, 1, 0.0)
    sessions.suspend(second, 1, 0.0)
    assert sessions.charge(second, 998, 2000) == []
    assert sessions.charge(second, 1, 2000) == [first]
    assert sessions.charge(second, 1, 2000) == [second]
    assert sessions.held == 0


def test_what_came_before_counts_as_far_as_a_stream_keeps_it() -> None:
    sessions = Sessions(BOUNDS)
    (session,) = several(sessions, "a")
    for size in (200, 400):
        assert sessions.charge(session, size, 500) == []
    assert sessions.held == 0  # it has a connection
    sessions.suspend(session, 10, 0.0)
    assert sessions.held == 510
    assert sessions.charge(session, 5000, 500) == []
    assert sessions.held == 510
    sessions.open(session)
    assert sessions.held == 0
    sessions.suspend(session, 0, 0.0)
    assert sessions.held == 500


@pytest.mark.parametrize("number", [2, 3, 4])
def test_one_address_has_its_own_bound(number: int) -> None:
    sessions = Sessions(BOUNDS)
    ended = []
    for n in range(number):
        (session,) = several(sessions, str(n), identity=None if n == 1 else "x")
        ended += sessions.suspend(session, 1, float(n))
    assert [session.id for session in ended] == ["1"] * (number - 3)


def test_an_ended_session_is_gone() -> None:
    sessions = Sessions(BOUNDS)
    (session,) = several(sessions, "a")
    sessions.suspend(session, 7, 0.0)
    sessions.end(session)
    sessions.end(session)
    assert (len(sessions), sessions.held, sessions.find(session.key)) == (0, 0, None)
    several(sessions, "a")
    sessions.end(session)  # another one has the id now
    assert len(sessions) == 1


class Crowd(RuleBasedStateMachine):
    """Whatever happens, the bounds hold, and what is counted is what is there."""

    def __init__(self) -> None:
        super().__init__()
        self.sessions = Sessions(BOUNDS)
        self.now = 0.0
        self.open: dict[str, Session] = {}
        self.lost: dict[str, tuple[Session, int]] = {}
        self.number = 0

    @rule(
        identity=st.sampled_from([None, "x"]), address=st.sampled_from("xy"), joined=st.booleans()
    )
    def come(self, identity: object, address: str, joined: bool) -> None:
        self.number += 1
        session = made(str(self.number), identity, address)
        session.joined = joined
        self.sessions.add(session)
        self.open[session.id] = session

    @precondition(lambda self: self.open)
    @rule(data=st.data(), size=st.integers(0, 600))
    def suspend(self, data: st.DataObject, size: int) -> None:
        session = self.open.pop(data.draw(st.sampled_from(sorted(self.open))))
        self.lost[session.id] = session, size + session.charged
        self._drop(self.sessions.suspend(session, size, self.now))

    @precondition(lambda self: self.lost)
    @rule(data=st.data(), size=st.integers(0, 600))
    def charge(self, data: st.DataObject, size: int) -> None:
        session, held = self.lost[data.draw(st.sampled_from(sorted(self.lost)))]
        self.lost[session.id] = session, held + size
        self._drop(self.sessions.charge(session, size, 10**6))

    @precondition(lambda self: self.lost)
    @rule(data=st.data())
    def resume(self, data: st.DataObject) -> None:
        session, _ = self.lost.pop(data.draw(st.sampled_from(sorted(self.lost))))
        self.sessions.open(session)
        self.open[session.id] = session

    @rule(seconds=st.floats(0, 70))
    def wait(self, seconds: float) -> None:
        self.now += seconds
        late = [s.id for s, _ in self.lost.values() if (s.suspended_at or 0) + 60 <= self.now]
        ended = self.sessions.expire(self.now)
        assert sorted(session.id for session in ended) == sorted(late)
        self._drop(ended)

    def _drop(self, ended: list[Session]) -> None:
        for session in ended:
            del self.lost[session.id]

    @invariant()
    def bounds_hold(self) -> None:
        assert self.sessions.suspended == len(self.lost) <= 4
        assert self.sessions.held == sum(size for _, size in self.lost.values()) <= 1000
        assert len(self.sessions) == len(self.open) + len(self.lost)
        for address in "xy":
            assert sum(session.address == address for session, _ in self.lost.values()) <= 3


TestCrowd = Crowd.TestCase
TestCrowd.settings = SOME_LIVES
