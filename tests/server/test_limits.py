"""Each limit and time-out, by default and set: kept just below and at it, broken just above.

The rules' own tests say what happens beyond a limit; these say where the line is.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from sono_core import Accept, BinaryMessage, Connection, Limits, Reject, Role, TextMessage, Timeouts
from sono_core.messaging.classic.packets import PacketError, parse
from sono_core.messaging.hub import Hub, MessagingError
from sono_core.messaging.ratelimit import RateLimiter
from sono_core.websocket.frames import encode_frame
from sono_core.websocket.opcodes import BINARY, CONTINUATION
from tests.fakes import Rig
from tests.rules.peers import MASK, opened, request, requesting

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


def queued(limits: Limits, size: int) -> bool:
    rig = Rig(limits=limits)
    rig.blocks()
    rig.session.send(BinaryMessage(b""))
    while size - rig.waiting > 60_000:
        assert rig.session.send(BinaryMessage(bytes(30_000)))
    return rig.session.send(BinaryMessage(bytes(size - rig.waiting - 4)))


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
    limiter = RateLimiter(limits, 0.0)
    return not any([limiter.cause(number - 1), limiter.cause(1)])


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
    "max_queue": (queued, 500, {}),
    "max_turn_messages": (turn_messages, 3, {}),
    "max_turn_bytes": (turn_bytes, 500, {}),
    "max_turn_deliveries": (turn_deliveries, 500, {}),
    "packet_rate": (packets, 7, {}),
    "byte_rate": (packet_bytes, 500, {}),
    "max_channels": (channels, 5, {}),
    "max_name": (name, 20, {}),
    "max_depth": (depth, 10, {}),
}
"""For each limit: whether an amount is within it, a setting, and limits that must not interfere."""


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


LASTING: dict[str, tuple[Callable[[Rig], object], Callable[[Rig], bool]]] = {
    "handshake": (lambda rig: None, silent),
    "ping_interval": (lambda rig: None, silent),
    "pong": (pinged, undisturbed),
    "close": (closing, undisturbed),
    "write_stall": (stuck, undisturbed),
}
"""For each time-out: what starts it, and whether it still runs."""


def test_every_setting_is_here() -> None:
    assert tuple(HELD) == Limits.__struct_fields__
    assert tuple(LASTING) == Timeouts.__struct_fields__


@pytest.mark.parametrize("by_default", [True, False], ids=["default", "set"])
@pytest.mark.parametrize("of", HELD)
def test_a_limit_holds_below_and_at_it_and_breaks_above(of: str, by_default: bool) -> None:
    within, setting, others = HELD[of]
    options: dict[str, Any] = others if by_default else {**others, of: setting}
    limits = Limits(**options)
    limit = limits.queue_limit if of == "max_queue" else getattr(limits, of)
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
