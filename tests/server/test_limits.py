"""Each limit and time-out, by default and set: kept just below and at it, broken just above.

The rules' own tests say what happens beyond a limit; these say where the line is.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from sono_core import (
    Accept,
    BinaryMessage,
    Connection,
    Limits,
    Prepared,
    Reject,
    Role,
    TextMessage,
    Timeouts,
)
from sono_core.lifecycle import MemoryBudget
from sono_core.messaging import Reply
from sono_core.messaging.classic import CLASSIC, Grab
from sono_core.messaging.classic.packets import GrabPayload, PacketError, parse
from sono_core.messaging.hub import Hub, MessagingError
from sono_core.messaging.lossless.history import History
from sono_core.messaging.lossless.memory import MemoryBackplane
from sono_core.messaging.lossless.positions import Position
from sono_core.messaging.lossless.streams import ENTRY, STREAM
from sono_core.messaging.ratelimit import RateLimiter, SharedTurn
from sono_core.websocket.frames import encode_frame
from sono_core.websocket.opcodes import BINARY, CONTINUATION, PING
from sono_core.websocket.outbox import ITEM
from tests.fakes import Rig
from tests.rules.peers import MASK, opened, request, requesting
from tests.server import limits_of_sessions as of_sessions

HUGE = 1 << 30  # a limit that is not under test


def frame(opcode: int, size: int = 0, *, fin: bool = True) -> bytes:
    return encode_frame(opcode, bytes(size), fin=fin, mask=MASK)


def arrives(limits: Limits, data: bytes) -> bool:
    """A server delivers one message and stays open."""
    events = list(opened(Role.SERVER, limits=limits, deflate=None).receive_data(data))
    assert len(events) == 1
    return isinstance(events[0], BinaryMessage)


def message(limits: Limits, size: int) -> bool:
    half = size // 2
    parts = frame(BINARY, half, fin=False), frame(CONTINUATION, size - half)
    return arrives(limits, b"".join(parts))


def fragments(limits: Limits, number: int) -> bool:
    middle = frame(CONTINUATION, fin=False) * (number - 2)
    return arrives(limits, frame(BINARY, fin=False) + middle + frame(CONTINUATION))


def accepted(limits: Limits, data: bytes) -> bool:
    """A server takes the bytes of a request that it may accept."""
    server = Connection(Role.SERVER, limits=limits)
    for _ in server.receive_data(data):
        server.send(Accept())
    return server.data_to_send().startswith(b"HTTP/1.1 101 ")


def head(limits: Limits, size: int) -> bool:
    free = size - len(request()) - len("X: \r\n") * 3
    sizes = (free // 3, free // 3, free - free // 3 * 2)
    data = request(*(("X", "x" * part) for part in sizes))
    assert len(data) == size
    return accepted(limits, data)


def line(limits: Limits, size: int) -> bool:
    return accepted(limits, request(("X", "x" * (size - len("X: \r\n")))))


def headers(limits: Limits, number: int) -> bool:
    return accepted(limits, request(*[("X", "x")] * (number - 5)))


def early(limits: Limits, size: int) -> bool:
    return accepted(limits, request() + frame(BINARY, size)[:size])


def body(limits: Limits, size: int) -> bool:
    answer = b"HTTP/1.1 403 Forbidden\r\nContent-Length: %d\r\n\r\n" % size
    (reject,) = requesting(limits=limits).receive_data(answer + b"x" * size)
    assert isinstance(reject, Reject)
    return len(reject.body) == size


def waiting(limits: Limits, size: int) -> Rig:
    """A session with that many bytes in its outbox, unless it gave up because of them."""
    rig = Rig(limits=limits)
    rig.blocks()
    rig.session.send(BinaryMessage(b""))
    rig.session.send(BinaryMessage(bytes(size - 2 - 4)))
    return rig


def read_on(limits: Limits, size: int) -> bool:
    rig = waiting(limits, size - 6)
    rig.session.send(BinaryMessage(b"four"))
    assert rig.waiting == size
    return rig.session.reading


def held(limits: Limits, size: int) -> bool:
    rig = Rig(limits=limits)
    rig.session.hold()
    rig.receives(frame(BINARY, size - 2 * 64) + frame(BINARY))
    rig.pump()
    return rig.session.reading


def queued(limits: Limits, size: int) -> bool:
    rig = Rig(limits=limits)
    rig.blocks()
    rig.session.send(Prepared(BinaryMessage(b"")))
    rig.transport.write()  # in vain, so that nothing is joined for a write later
    while size - rig.session.outbox.held > 60_000:
        assert rig.session.send(Prepared(BinaryMessage(bytes(30_000))))
    rest = size - rig.session.outbox.held - ITEM - 4
    return rig.session.send(Prepared(BinaryMessage(bytes(rest))))


class Holding:
    """Holds something in a budget, until it is closed."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.closed = False

    def measure(self, seen: set[int]) -> int:
        return self.size

    def evict(self) -> None:
        self.closed = True


def held_by_all(limits: Limits, size: int) -> bool:
    budget = MemoryBudget(limits.memory_limit)
    holders = [Holding(size // 2), Holding(size - size // 2)]
    for holder in holders:
        budget.charge(holder, holder.size)
    return not any(holder.closed for holder in holders)


def handled_at_once(limits: Limits, *messages: bytes) -> bool:
    rig = Rig(limits=limits)
    rig.receives(b"".join(messages))
    return len(rig.handler.log) == len(messages)


def turn_messages(limits: Limits, number: int) -> bool:
    return handled_at_once(limits, *[frame(BINARY, 1)] * number)


def turn_bytes(limits: Limits, size: int) -> bool:
    rest = limits.max_turn_bytes - 1
    return handled_at_once(limits, frame(BINARY, rest), *[frame(BINARY, 1)] * (size - rest))


def packets(limits: Limits, number: int) -> bool:
    limiter = RateLimiter(limits, 0.0)
    return not any(limiter.take(1, 0.0) for _ in range(2 * number))


def packet_bytes(limits: Limits, size: int) -> bool:
    limiter = RateLimiter(limits, 0.0)
    return not any([limiter.take(size, 0.0), limiter.take(size, 0.0)])


def turn_deliveries(limits: Limits, number: int) -> bool:
    turn = SharedTurn(limits)
    turn.take(number - 1, 1)
    turn.take(1, 1)
    return not turn.spent


def turn_delivered(limits: Limits, size: int) -> bool:
    turn = SharedTurn(limits)
    turn.take(2, size // 2)
    turn.take(1, size % 2)
    return not turn.spent


def controls(limits: Limits, number: int) -> bool:
    rig = Rig(limits=limits)
    for _ in range(2):
        rig.receives(frame(PING) * number)
        while rig.session.pump_due:
            rig.pump()
    return rig.session.reading


def delivered(limits: Limits, size: int) -> bool:
    limiter = RateLimiter(limits, 0.0)
    return not limiter.deliver(2, size - 64, 0.0)


def channels(limits: Limits, number: int) -> bool:
    hub = Hub(open_channels=True, limits=limits)
    for each in range(number - 2):
        hub.create(f"channel {each}")
    hub.add("a client")
    try:
        hub.move("a client", "one more")
    except MessagingError:
        return False
    return len(hub.channels) == number


def parsed(limits: Limits, event: str, value: str) -> bool:
    text = f'{{"protocol":"message","event":"{event}","payload":{{"message":{value}}}}}'
    try:
        parse(text, limits)
    except PacketError:
        return False
    return True


def name(limits: Limits, size: int) -> bool:
    return parsed(limits, "é" * size, '""')


def depth(limits: Limits, levels: int) -> bool:
    return parsed(limits, "x", "[" * (levels - 2) + "]" * (levels - 2))


def containers(limits: Limits, number: int) -> bool:
    return parsed(limits, "x", "[" + "[]," * (number - 4) + "{}]")


def listing(limits: Limits, size: int) -> bool:
    hub = Hub(limits=limits)
    hub.add(client := "x" * (size - len('[""]')))
    grab = Grab(GrabPayload("clients"))
    (reply,) = CLASSIC.receive(hub, client, grab, limits)
    assert isinstance(reply, Reply)
    return client in str(reply.content)


def histories(limits: Limits, size: int) -> bool:
    backplane = MemoryBackplane(lambda: 0.0, lambda: "epoch", limits)
    everything = History(size=HUGE)
    rest = size - STREAM - 2 * ENTRY
    backplane.publish("#room", b"", 1, everything)
    backplane.publish("#room", b"", rest - 1, everything)
    return len(backplane.read("#room", Position("epoch", 0)).value.entries) == 2


HELD: dict[str, tuple[Callable[[Limits, int], bool], int, dict[str, int]]] = {
    "max_message": (message, 300, {"max_frame": HUGE}),
    "max_frame": (
        lambda limits, size: arrives(limits, frame(BINARY, size)),
        300,
        {"max_message": HUGE},
    ),
    "max_fragments": (fragments, 5, {}),
    "max_head": (head, 1000, {}),
    "max_head_line": (line, 200, {}),
    "max_headers": (headers, 10, {}),
    "max_early_data": (early, 500, {}),
    "max_refusal_body": (body, 500, {}),
    "pause_reading_at": (read_on, 500, {}),
    "max_held": (held, 500, {}),
    "max_queue": (queued, 500, {}),
    "max_memory": (held_by_all, 500, {}),
    "max_turn_messages": (turn_messages, 3, {}),
    "max_turn_bytes": (turn_bytes, 500, {}),
    "max_turn_deliveries": (turn_deliveries, 500, {}),
    "max_turn_delivered": (turn_delivered, 500, {}),
    "control_rate": (controls, 7, {}),
    "packet_rate": (packets, 7, {}),
    "byte_rate": (packet_bytes, 500, {}),
    "delivery_rate": (delivered, 500, {}),
    "max_channels": (channels, 5, {}),
    "max_name": (name, 20, {}),
    "max_depth": (depth, 10, {}),
    "max_containers": (containers, 10, {}),
    "max_listing": (listing, 512, {}),
    "max_histories": (histories, 4096, {}),
    "max_suspended": (of_sessions.suspended, 5, {}),
    "max_suspended_bytes": (of_sessions.suspended_bytes, 500, {}),
    "max_suspended_of_address": (of_sessions.suspended_of_address, 5, {}),
    "max_joined": (of_sessions.joined, 5, {}),
    "max_requests": (of_sessions.requests, 5, {}),
    "max_members": (of_sessions.members, 5, {}),
    "max_presence": (of_sessions.presence, 500, {}),
    "max_presence_bytes": (of_sessions.presence_bytes, 500, {}),
}
"""For each limit: whether an amount is within it, a setting, and limits that must not interfere."""


STANDS_FOR = {"max_queue": "queue_limit", "max_memory": "memory_limit"}
"""What the None of each of these stands for."""


def silent(rig: Rig) -> bool:
    return not rig.raw()


def undisturbed(rig: Rig) -> bool:
    return not rig.session.over and not rig.handler.closes


def pinged(rig: Rig) -> None:
    rig.tick(rig.session.deadlines.next)
    assert rig.raw().startswith(b"\x89")


def closing(rig: Rig) -> None:
    assert rig.session.close(1000, "", rig.now)
    rig.transport.write()


def stuck(rig: Rig) -> None:
    rig.blocks()
    assert rig.session.send(TextMessage("x"))
    rig.transport.write()


def begun(rig: Rig) -> None:
    rig.receives(frame(BINARY, fin=False))


LASTING: dict[str, tuple[Callable[[Rig], object], Callable[[Rig], bool]]] = {
    "handshake": (lambda rig: None, silent),
    "ping_interval": (lambda rig: None, silent),
    "pong": (pinged, undisturbed),
    "close": (closing, undisturbed),
    "write_stall": (stuck, undisturbed),
    "message": (begun, undisturbed),
}
"""For each time-out of connections: what starts it, and whether it still runs."""

LASTING_SESSIONS: dict[str, Callable[[Timeouts, float], bool]] = {
    "hello": of_sessions.hello,
    "session": of_sessions.session,
    "request": of_sessions.asked,
    "grace": of_sessions.grace,
    "beat": of_sessions.beat,
    "renew": of_sessions.renew,
    "replay": of_sessions.replay,
}
"""For each of sessions: whether it still runs so many seconds after it began."""


def test_every_setting_is_here() -> None:
    assert tuple(HELD) == Limits.__struct_fields__
    assert (*LASTING, *LASTING_SESSIONS) == Timeouts.__struct_fields__


@pytest.mark.parametrize("by_default", [True, False], ids=["default", "set"])
@pytest.mark.parametrize("of", HELD)
def test_a_limit_holds_below_and_at_it_and_breaks_above(of: str, by_default: bool) -> None:
    within, setting, others = HELD[of]
    options: dict[str, Any] = others if by_default else {**others, of: setting}
    limits = Limits(**options)
    limit = getattr(limits, STANDS_FOR.get(of, of))
    assert within(limits, limit - 1)
    assert within(limits, limit)
    assert not within(limits, limit + 1)


@pytest.mark.parametrize("by_default", [True, False], ids=["default", "set"])
@pytest.mark.parametrize("of", LASTING)
def test_a_time_runs_until_it_is_over(of: str, by_default: bool) -> None:
    begin, runs = LASTING[of]
    timeouts = Timeouts() if by_default else Timeouts(**{of: 2.5})
    time = getattr(timeouts, of)
    for after, expected in ((-0.001, True), (0.0, False), (0.001, False)):
        rig = Rig(opened=of != "handshake", timeouts=timeouts)
        begin(rig)
        rig.tick(rig.now + time + after)
        assert runs(rig) is expected


@pytest.mark.parametrize("by_default", [True, False], ids=["default", "set"])
@pytest.mark.parametrize("of", LASTING_SESSIONS)
def test_a_time_of_sessions_runs_until_it_is_over(of: str, by_default: bool) -> None:
    timeouts = Timeouts() if by_default else Timeouts(**{of: 2.5})
    runs, time = LASTING_SESSIONS[of], getattr(timeouts, of)
    assert [runs(timeouts, time + after) for after in (-0.001, 0.0, 0.001)] == [True, False, False]
