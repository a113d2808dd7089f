"""A stream in memory behaves like TCP, and time passes only when the test says so."""

from __future__ import annotations

import doctest

import pytest

from sono_core import Accept, Close, Request, Role, Session, TextMessage, Timeouts
from sono_core.lifecycle.interfaces import BaseHandler, Transport
from sono_core.testing import pipe as memory
from sono_core.testing.pipe import Clock, MemoryPipe, MemoryTransport
from tests.fakes import RecordingHandler
from tests.helpers import new_connection

TIMEOUTS = Timeouts()
KEEPALIVE = TIMEOUTS.ping_interval + TIMEOUTS.pong


class Rig:
    """A client and a server in memory, connected."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.client, self.server = RecordingHandler(), RecordingHandler()
        self.sessions: dict[Role, Session] = {}
        self.pair = MemoryPipe(
            self._builder(Role.CLIENT, self.client),
            self._builder(Role.SERVER, self.server),
            self.clock,
        )
        near, self.far = self.sessions[Role.CLIENT], self.sessions[Role.SERVER]
        self.near = near
        self.server.reactions["on_request"] = lambda: self.far.accept(Accept(), self.clock())
        near.connect(Request("/", host="localhost"))
        self.pair.run()
        assert near.open
        self.client.log.clear()
        self.server.log.clear()

    def _builder(self, role: Role, handler: RecordingHandler) -> memory.Builder:
        def build(transport: Transport) -> Session:
            connection = new_connection(role, deflate=None)
            session = Session(connection, transport, handler, now=self.clock())
            self.sessions[role] = session
            return session

        return build

    def says(self, *messages: str) -> None:
        """Let the client send messages, which do not move yet."""
        for message in messages:
            assert self.near.send(TextMessage(message))


@pytest.fixture
def rig() -> Rig:
    return Rig()


def test_the_examples_are_right() -> None:
    result = doctest.testmod(memory)
    assert result.attempted
    assert not result.failed


def test_a_pair_makes_its_own_clock() -> None:
    def build(transport: Transport) -> Session:
        connection = new_connection(Role.SERVER)
        return Session(connection, transport, BaseHandler(), now=0.0)

    pair = MemoryPipe(build, build)
    pair.advance(1.5)
    assert pair.clock() == 1.5


def test_nothing_moves_before_run(rig: Rig) -> None:
    rig.says("a")
    assert rig.server.log == []
    rig.pair.run()
    assert rig.server.log == ["a"]


def test_one_read_gives_no_more_than_a_chunk(rig: Rig) -> None:
    rig.pair.server.chunk = 1
    rig.says("hello")
    steps = 0
    while rig.server.log == []:
        rig.pair.client.step()
        rig.pair.server.step()
        steps += 1
    assert rig.server.log == ["hello"]
    assert steps >= len("hello")


def test_a_full_end_lets_the_writes_to_it_wait(rig: Rig) -> None:
    rig.pair.server.capacity = 10
    rig.pair.server.cut = True
    rig.says("x" * 100)
    rig.pair.run()
    assert len(rig.pair.server.incoming) == 10
    assert rig.near.outbox.size == 106 - 10
    rig.pair.server.cut = False
    rig.pair.run()
    assert rig.server.log == ["x" * 100]


def test_a_peer_that_never_reads_is_given_up(rig: Rig) -> None:
    rig.pair.server.capacity = 0
    rig.says("a")
    rig.pair.advance(TIMEOUTS.write_stall)
    assert [close.code for close in rig.client.closes] == [4008]


def test_a_fair_share_is_followed_by_the_rest(rig: Rig) -> None:
    messages = [str(number) for number in range(3000)]
    rig.says(*messages)
    rig.pair.run()
    assert rig.server.log == messages


def test_an_orderly_end_ends_both_sides(rig: Rig) -> None:
    rig.near.close(1000, "bye", rig.clock())
    rig.pair.run()
    assert rig.server.closes == [Close(1000, "bye", True)]
    assert rig.client.closes == [Close(1000, "", True)]
    assert rig.near.over
    assert rig.far.over


def test_what_came_before_the_end_is_read(rig: Rig) -> None:
    rig.says("a")
    rig.pair.client.step()
    rig.pair.client.end()
    rig.pair.run()
    assert rig.server.log[0] == "a"
    assert [close.code for close in rig.server.closes] == [1006]


def test_a_reset_ends_both_sides_and_loses_what_was_on_its_way(rig: Rig) -> None:
    rig.says("a")
    rig.pair.client.step()
    assert rig.pair.server.incoming
    rig.pair.reset()
    rig.pair.run()
    assert rig.server.log == rig.server.closes
    assert [close.code for close in rig.client.closes + rig.server.closes] == [1006, 1006]


def test_a_reset_is_not_told_through_a_cable_that_is_cut(rig: Rig) -> None:
    rig.pair.cut()
    rig.pair.reset()
    rig.pair.run()
    assert rig.client.log == rig.server.log == []


@pytest.mark.parametrize("unread", [False, True])
def test_who_leaves_without_reading_what_came_resets_the_stream(rig: Rig, unread: bool) -> None:
    rig.far.send(TextMessage("last words"))
    rig.pair.server.step()
    if unread:
        rig.says("a")
        rig.pair.client.step()
    rig.far.abort()
    rig.far.tick(rig.clock())
    rig.pair.run()
    assert ("last words" in rig.client.log) == (not unread)
    assert [close.code for close in rig.client.closes] == [1006]


def test_writing_to_who_has_left_fails(rig: Rig) -> None:
    rig.far.lost()
    rig.says("a")
    rig.pair.client.step()  # writes before it reads the end
    assert rig.near.over
    assert [close.code for close in rig.client.closes] == [1006]


def test_writing_to_who_has_left_behind_a_cut_cable_does_not_fail(rig: Rig) -> None:
    rig.pair.cut()
    rig.far.lost()
    rig.says("a")
    rig.pair.run()
    assert rig.client.closes == []


def test_a_cut_cable_is_noticed_when_a_ping_is_not_answered(rig: Rig) -> None:
    rig.pair.cut()
    rig.pair.advance(KEEPALIVE - 0.1)
    assert rig.client.log == rig.server.log == []
    rig.pair.advance(0.1)
    assert [close.code for close in rig.client.closes + rig.server.closes] == [1006, 1006]


def test_silence_of_any_length_ends_nothing(rig: Rig) -> None:
    rig.pair.advance(100_000)
    assert rig.clock() == 100_000
    assert rig.near.open
    assert rig.far.open


def test_each_deadline_is_kept_when_it_is_due(rig: Rig) -> None:
    times: list[float] = []
    rig.client.reactions["on_pong"] = lambda: times.append(rig.clock())
    rig.pair.advance(3 * KEEPALIVE)
    assert times == [KEEPALIVE / 2 * number for number in range(1, 7)]


def test_all_that_was_written_is_kept(rig: Rig) -> None:
    rig.far.send(TextMessage("hi"))
    rig.pair.run()
    assert rig.pair.server.sent.startswith(b"HTTP/1.1 101 ")
    assert rig.pair.server.sent.endswith(b"\r\n\r\n\x81\x02hi")


def test_injected_bytes_come_as_they_are(rig: Rig) -> None:
    rig.pair.client.inject(b"\x81\x81\0\0\0\0a")
    rig.pair.run()
    assert rig.server.log == ["a"]


def test_a_talk_without_an_end_is_an_error(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "_MAX_STEPS", 100)
    rig.client.reactions["on_message"] = lambda: rig.near.send(TextMessage("x"))
    rig.server.reactions["on_message"] = lambda: rig.far.send(TextMessage("x"))
    rig.says("x")
    with pytest.raises(RuntimeError, match="never fall silent"):
        rig.pair.run()


def test_writing_now_does_not_wait_for_run(rig: Rig) -> None:
    end = rig.pair.client
    assert isinstance(end, MemoryTransport)
    before = len(end.sent)
    rig.says("a")
    end.write_now()
    assert len(end.sent) > before
