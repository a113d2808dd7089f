"""memory.py: what is held for all peers is counted, and those that hold most are closed."""

from __future__ import annotations

import zlib

import pytest

from sono_core import (
    Accept,
    BinaryMessage,
    Close,
    Connection,
    Deflate,
    Prepared,
    Role,
    TextMessage,
    Timeouts,
)
from sono_core.lifecycle import MemoryBudget
from sono_core.lifecycle.deadlines import Deadline
from sono_core.lifecycle.memory import FREE
from sono_core.lifecycle.session import Session
from sono_core.websocket.frames import encode_frame
from sono_core.websocket.opcodes import BINARY, CONTINUATION
from tests.fakes import Rig
from tests.helpers import new_connection
from tests.rules.peers import opened, request

KIB, MIB = 1024, 1 << 20
MASK = b"\0\0\0\0"
SHORT = Close(1013, "the server is short of memory", False)


class Holding:
    """Holds what it says, and large objects that it may share with others."""

    def __init__(self, size: int = 0, shared: bytes = b"") -> None:
        self.size = size
        self.shared = shared
        self.evicted = 0

    def measure(self, seen: set[int]) -> int:
        known = id(self.shared) in seen
        seen.add(id(self.shared))
        return self.size + (0 if known else len(self.shared))

    def evict(self) -> None:
        self.evicted += 1


def charged(budget: MemoryBudget, *holders: Holding) -> list[Holding]:
    for holder in holders:
        budget.charge(holder, holder.size + len(holder.shared))
    return [holder for holder in holders if holder.evicted]


def test_what_is_charged_and_taken_back_is_held() -> None:
    budget = MemoryBudget(1000)
    one, other = Holding(300), Holding(400)
    charged(budget, one, other)
    assert (budget.held, budget.tight, budget.full) == (700, False, False)
    budget.charge(one, 351)
    assert (budget.held, budget.tight) == (751, True)
    budget.charge(other, 0)
    budget.charge(other, 0)
    assert budget.held == 351
    budget.reserve(700)
    assert (budget.held, budget.full) == (1051, True)
    budget.reserve(-700)
    budget.charge(one, 0)
    assert (budget.held, budget.evicted) == (0, 0)


@pytest.mark.parametrize(("size", "closed"), [(99, False), (100, False), (101, True)])
def test_nobody_is_closed_up_to_the_limit(size: int, closed: bool) -> None:
    budget = MemoryBudget(1000)
    holders = [Holding(100) for _ in range(9)] + [Holding(size)]
    assert bool(charged(budget, *holders)) is closed
    assert (budget.evicted > 0) is closed


def test_the_largest_are_closed_until_three_quarters_are_left() -> None:
    budget = MemoryBudget(1000)
    small = [Holding(10) for _ in range(40)]
    large = [Holding(size) for size in (251, 200, 150)]
    closed = charged(budget, *small, *large)
    assert closed == large[:1]
    budget.charge(large[0], 0)
    assert budget.held == 750


def test_what_is_reserved_counts_too() -> None:
    budget = MemoryBudget(1000)
    budget.reserve(900)
    one, other = Holding(60), Holding(50)
    assert charged(budget, one, other) == [one, other]
    assert budget.held == 900
    assert charged(budget, Holding(5), Holding(6)) == []


def test_what_is_held_beside_connections_counts_too_whatever_it_is_now() -> None:
    budget = MemoryBudget(1000)
    histories = [0]
    budget.count(lambda: histories[0])
    budget.count(lambda: 50)
    assert budget.held == 50
    one, other = Holding(60), Holding(40)
    assert charged(budget, one, other) == []
    histories[0] = 900
    assert (budget.held, budget.tight, budget.full) == (1050, True, True)
    assert charged(budget, Holding(61)) != []
    histories[0] = 0
    assert not budget.full


def test_what_cannot_be_freed_is_not_measured_for_each_change() -> None:
    budget = MemoryBudget(1600)
    budget.reserve(1700)
    measured = []

    class Counting(Holding):
        def measure(self, seen: set[int]) -> int:
            measured.append(self)
            return 0

    for _ in range(100):
        budget.charge(Counting(), 2)
    assert len(measured) < 200


def test_an_object_that_many_hold_counts_once() -> None:
    budget = MemoryBudget(10_000)
    shared = bytes(4000)
    crowd = [Holding(10, shared) for _ in range(100)]
    assert charged(budget, *crowd) == []
    assert 5000 <= budget.held <= 10_000
    own = [Holding(1000) for _ in range(20)]
    assert charged(budget, *own), "what is not shared is counted all the same"


def test_memory_that_others_give_back_does_not_hide_what_is_held() -> None:
    budget = MemoryBudget(10_000)
    shared = bytes(4000)
    crowd = [Holding(10, shared) for _ in range(100)]
    charged(budget, *crowd)
    for holder in crowd[1:]:
        budget.charge(holder, 0)
    charged(budget, *[Holding(1000) for _ in range(7)])
    assert budget.evicted


# -- sessions -----------------------------------------------------------------------------------


class Served(Rig):
    """A server's session with a budget."""

    def __init__(
        self, budget: MemoryBudget, role: Role = Role.SERVER, deflate: Deflate | None = None
    ) -> None:
        super().__init__(opened=False)
        self.session = Session(
            new_connection(role, deflate=deflate),
            self.transport,
            self.handler,
            now=0.0,
            memory=budget,
            timeouts=Timeouts(write_stall=1e6),
        )
        self.transport.session = self.session

    def open(self) -> Served:
        self.request()
        assert self.session.accept(Accept(), 0.0)
        self.transport.write()
        self.pump()
        self.seen()
        self.handler.log.clear()
        return self


def partial(size: int) -> bytes:
    return encode_frame(BINARY, bytes(size + 1), mask=MASK)[:-1]


def test_whole_messages_and_small_parts_are_free() -> None:
    budget = MemoryBudget(MIB)
    rig = Served(budget).open()
    rig.sends(TextMessage("x" * 50_000), BinaryMessage(bytes(50_000)))
    assert budget.held == 0
    rig.receives(encode_frame(BINARY, bytes(FREE // 2), fin=False, mask=MASK))
    assert budget.held == 0
    rig.receives(encode_frame(CONTINUATION, bytes(FREE), fin=False, mask=MASK))
    assert budget.held > FREE
    rig.receives(encode_frame(CONTINUATION, b"", mask=MASK))
    assert len(rig.handler.log) == 3
    assert budget.held == 0


@pytest.mark.parametrize("size", [10 * KIB, 100 * KIB, MIB - 1])
def test_a_message_that_has_not_come_whole_counts_with_what_is_reserved(size: int) -> None:
    budget = MemoryBudget(100 * MIB)
    rig = Served(budget).open()
    rig.receives(partial(size))
    assert size <= budget.held <= 2 * size + 64 * KIB
    rig.session.lost()
    assert budget.held == 0


def test_a_compressed_one_counts_inflated() -> None:
    budget = MemoryBudget(100 * MIB)
    rig = Served(budget, deflate=Deflate())
    rig.receives(request(("Sec-WebSocket-Extensions", "permessage-deflate")))
    assert rig.session.accept(Accept(), 0.0)
    packer = zlib.compressobj(9, wbits=-15)
    data = packer.compress(bytes(MIB // 2)) + packer.flush(zlib.Z_SYNC_FLUSH)
    assert len(data) < 1000
    rig.receives(encode_frame(BINARY, data, fin=False, rsv1=True, mask=MASK))
    assert MIB // 2 < budget.held < MIB // 2 + 100 * KIB
    rig.receives(encode_frame(CONTINUATION, b"\0", mask=MASK))
    assert budget.held == 0


def test_what_waits_for_a_slow_reader_counts_until_it_is_written() -> None:
    budget = MemoryBudget(100 * MIB)
    rig = Served(budget).open()
    rig.blocks()
    for number in (1, 2, 3):
        assert rig.session.send(BinaryMessage(bytes(MIB)))
        rig.transport.write()
        assert number * MIB <= budget.held <= number * (MIB + KIB)
    rig.reads(MIB // 2)
    assert budget.held >= 3 * MIB, "a part of a chunk cannot be freed"
    rig.reads(MIB)
    assert 2 * MIB <= budget.held < 2 * MIB + 2 * KIB
    rig.reads()
    assert budget.held == 0


def test_what_the_transport_has_copied_of_it_counts_too() -> None:
    budget = MemoryBudget(100 * MIB)
    rig = Served(budget).open()
    rig.transport.buffered = 64 * KIB  # type: ignore[attr-defined]
    rig.receives(partial(10 * KIB))
    assert budget.held < 64 * KIB, "while the peer reads, nothing is copied"
    rig.receives(partial(10 * KIB)[-1:])
    rig.blocks()
    assert rig.session.send(BinaryMessage(bytes(MIB)))
    rig.transport.write()
    held = MIB + 64 * KIB
    assert held <= budget.held < held + KIB
    assert held <= rig.session.measure(set()) < held + KIB
    rig.reads()
    assert budget.held == 0


def test_requests_count_until_they_are_answered() -> None:
    budget = MemoryBudget(100 * MIB)
    rig = Served(budget)
    head = request(("X", "x" * 7000), ("Y", "y" * 5000))
    rig.receives(head[:-2])
    assert 12_000 < budget.held < 13_000
    rig.receives(head[-2:] + bytes(60_000))
    assert budget.held >= 12_000 + 60_000
    rig.session._refuse(503, "", 0.0)
    rig.session.lost()
    assert budget.held == 0


def test_a_long_request_and_windows_of_deflate_count_for_as_long_as_it_is_open() -> None:
    budget = MemoryBudget(100 * MIB)
    rig = Served(budget, deflate=Deflate(context_takeover=True))
    extensions = ("Sec-WebSocket-Extensions", "permessage-deflate")
    rig.receives(request(extensions, ("X", "x" * 7000)))
    assert rig.session.accept(Accept(), 0.0)
    assert budget.held > 14_000 + 256 * KIB
    rig.session.lost()
    assert budget.held == 0


def test_who_holds_most_is_told_and_ended_in_its_next_tick() -> None:
    budget = MemoryBudget(4 * MIB)
    rigs = [Served(budget).open() for _ in range(6)]
    closed = [rig for rig in rigs if rig.receives(partial(MIB - 1)) or not rig.session.open]  # type: ignore[func-returns-value]
    assert closed == []
    gone = [rig for rig in rigs if rig.session.phase.value == "condemned"]
    assert len(gone) == budget.evicted > 0
    assert gone[0].handler.log == [], "never in the middle of a call"
    gone[0].tick(0.0)
    assert gone[0].handler.log == [SHORT]
    (close,) = [event for event in gone[0].seen() if isinstance(event, Close)]
    assert (close.code, close.reason) == (1013, "the server is short of memory")
    assert budget.held <= 4 * MIB


def test_a_slow_reader_that_holds_most_is_cut_off() -> None:
    budget = MemoryBudget(2 * MIB)
    rig = Served(budget).open()
    rig.blocks()
    assert rig.session.send(BinaryMessage(bytes(MIB)))
    assert not rig.session.send(BinaryMessage(bytes(MIB)))
    rig.tick(0.0)
    assert rig.handler.log == [SHORT]
    assert budget.held == 0


def test_frames_for_many_count_once_among_slow_readers() -> None:
    budget = MemoryBudget(4 * MIB)
    frame = Prepared(BinaryMessage(bytes(MIB)))
    rigs = [Served(budget).open() for _ in range(20)]
    for rig in rigs:
        rig.blocks()
        assert rig.session.send(frame)
        rig.transport.write()
    assert budget.evicted == 0


def test_uploads_slow_down_while_memory_is_tight() -> None:
    budget = MemoryBudget(4 * MIB)
    budget.reserve(3 * MIB)
    rig = Served(budget).open()
    rig.receives(partial(200 * KIB))
    assert Deadline.THROTTLE in rig.session.deadlines
    assert not rig.session.reading
    rig.tick(0.2)
    assert rig.session.reading
    small = Served(budget).open()
    small.receives(encode_frame(BINARY, bytes(20 * KIB), fin=False, mask=MASK))
    small.sends(BinaryMessage(b""))
    assert small.session.reading


def test_an_end_for_lack_of_memory_is_reported_once() -> None:
    budget = MemoryBudget(4 * MIB)
    rig = Served(budget).open()
    rig.receives(partial(MIB - 1))
    error = MemoryError()
    rig.session.out_of_memory(error)
    assert rig.handler.log == [error, Close(1011, "memory ran out", False)]
    assert budget.held == 0
    rig.session.out_of_memory(error)
    rig.session.evict()
    assert not rig.session.settle()
    assert len(rig.handler.log) == 2


def test_a_session_without_a_budget_counts_nothing() -> None:
    rig = Rig()
    rig.session.reserve(MIB)
    rig.receives(partial(MIB - 1))
    assert not rig.session.settle()


def test_a_connection_that_is_released_receives_nothing_more() -> None:
    connection = opened(Role.SERVER)
    connection.take_in(partial(MIB - 1))
    assert connection.next_event() is None
    assert connection.held >= MIB - 1
    connection.release()
    connection.release()
    connection.take_in(encode_frame(BINARY, b"x", mask=MASK))
    assert connection.next_event() is None
    assert connection.held == 0
    client = Connection(Role.CLIENT, random=bytes)
    assert client.held == 0
