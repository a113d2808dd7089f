"""Frames: RFC 6455, sections 5.1 to 5.6, and the limits on what a header announces."""

import pytest

from sono_core import BinaryMessage, Close, Connection, Limits, Ping, Pong, Role, TextMessage
from tests.memory import traced
from tests.rules.peers import (
    BINARY,
    CLOSE,
    DEFLATE,
    FIN,
    PING,
    PONG,
    RSV1,
    RSV2,
    RSV3,
    TEXT,
    deflated,
    fails,
    frames,
    opened,
    outcome,
    passes,
    raw,
    split,
)

ROLES = pytest.mark.parametrize("role", list(Role), ids=lambda role: role.value)
LENGTHS = (0, 1, 3, 4, 125, 126, 127, 65535, 65536)


@ROLES
@pytest.mark.parametrize("opcode", [TEXT, BINARY, CLOSE, PING, PONG])
def test_a_server_wants_masked_frames_and_a_client_unmasked_ones_else_1002(
    role: Role, opcode: int
) -> None:
    fails(role, raw(FIN | opcode, b"", masked=role is Role.CLIENT), 1002)
    fails(role, raw(FIN | opcode, b"\x03\xe8", masked=role is Role.CLIENT), 1002)


@ROLES
@pytest.mark.parametrize("bits", [RSV2, RSV3, RSV2 | RSV3, RSV1 | RSV2, RSV1 | RSV3])
@pytest.mark.parametrize("extensions", [None, DEFLATE])
@pytest.mark.parametrize("opcode", [TEXT, BINARY, CLOSE, PING, PONG])
def test_rsv2_and_rsv3_are_1002(role: Role, bits: int, extensions: str | None, opcode: int) -> None:
    if role is Role.CLIENT and extensions:
        extensions += "; server_no_context_takeover"
    fails(role, frames(role, (FIN | bits | opcode, b"")), 1002, extensions=extensions)


@ROLES
@pytest.mark.parametrize("opcode", [TEXT, BINARY])
def test_rsv1_without_negotiation_is_1002(role: Role, opcode: int) -> None:
    data = frames(role, (FIN | RSV1 | opcode, deflated(b"hello")))
    fails(role, data, 1002)
    fails(role, data, 1002, deflate=None)


@ROLES
@pytest.mark.parametrize("opcode", [CLOSE, PING, PONG])
def test_rsv1_on_a_control_frame_is_1002(role: Role, opcode: int) -> None:
    extensions = f"{DEFLATE}; server_no_context_takeover"
    data = frames(role, (FIN | RSV1 | opcode, b""))
    fails(role, data, 1002, extensions=extensions)
    fails(role, data, 1002)


@ROLES
def test_rsv1_on_a_continuation_is_1002(role: Role) -> None:
    extensions = f"{DEFLATE}; server_no_context_takeover"
    for first in (TEXT, TEXT | RSV1):
        data = frames(role, (first, b""), (FIN | RSV1, b""))
        fails(role, data, 1002, extensions=extensions)


@ROLES
@pytest.mark.parametrize("opcode", [3, 4, 5, 6, 7, 11, 12, 13, 14, 15])
@pytest.mark.parametrize("fin", [FIN, 0])
def test_a_reserved_opcode_is_1002(role: Role, opcode: int, fin: int) -> None:
    fails(role, frames(role, (fin | opcode, b"")), 1002)
    fails(
        role,
        frames(role, (FIN | TEXT, b"before"), (fin | opcode, b"x")),
        1002,
        TextMessage("before"),
    )


@ROLES
def test_a_continuation_without_a_start_is_1002(role: Role) -> None:
    for first in (FIN, 0):
        fails(role, frames(role, (first, b"x")), 1002)
        ended = frames(role, (TEXT, b"a"), (FIN, b"b"), (first, b"c"))
        fails(role, ended, 1002, TextMessage("ab"))
        whole = frames(role, (FIN | BINARY, b"a"), (first, b"c"))
        fails(role, whole, 1002, BinaryMessage(b"a"))


@ROLES
@pytest.mark.parametrize("opcode", [TEXT, BINARY])
def test_a_new_message_inside_a_fragmented_one_is_1002(role: Role, opcode: int) -> None:
    for fin in (FIN, 0):
        fails(role, frames(role, (TEXT, b"a"), (fin | opcode, b"b")), 1002)
        fails(role, frames(role, (BINARY, b""), (0, b""), (fin | opcode, b"")), 1002)


@ROLES
@pytest.mark.parametrize("opcode", [CLOSE, PING, PONG])
def test_a_fragmented_control_frame_is_1002(role: Role, opcode: int) -> None:
    fails(role, frames(role, (opcode, b"")), 1002)
    fails(role, frames(role, (TEXT, b"a"), (opcode, b"")), 1002)


@ROLES
@pytest.mark.parametrize("opcode", [CLOSE, PING, PONG])
@pytest.mark.parametrize(("form", "size"), [(16, 126), (16, 5), (64, 65536), (64, 1)])
def test_a_control_frame_of_more_than_125_bytes_or_in_a_long_form_is_1002(
    role: Role, opcode: int, form: int, size: int
) -> None:
    masked = role is Role.SERVER
    fails(role, raw(FIN | opcode, b"x" * min(size, 200), masked=masked, form=form), 1002)


@ROLES
def test_control_frames_of_125_bytes_are_answered_with_their_payload(role: Role) -> None:
    payload = bytes(range(125))
    result = outcome(
        lambda: opened(role), frames(role, (FIN | PING, payload), (FIN | PONG, payload))
    )
    assert result.events == [Ping(payload), Pong(payload)]
    assert result.frames == [(FIN | PONG, payload)]


@ROLES
def test_control_frames_may_stand_between_fragments(role: Role) -> None:
    data = frames(
        role,
        (TEXT, b"a"),
        (FIN | PING, b"1"),
        (0, b"b"),
        (FIN | PONG, b"2"),
        (FIN | PING, b""),
        (FIN, b"c"),
    )
    result = outcome(lambda: opened(role), data)
    assert result.events == [Ping(b"1"), Pong(b"2"), Ping(b""), TextMessage("abc")]
    assert result.frames == [(FIN | PONG, b"1"), (FIN | PONG, b"")]


@ROLES
def test_a_close_between_fragments_ends_the_connection_and_the_message_is_lost(role: Role) -> None:
    data = frames(role, (TEXT, b"a"), (FIN | CLOSE, b"\x03\xe8"), (FIN, b"b"))
    result = outcome(lambda: opened(role), data)
    assert result.events == [Close(1000, "", True)]
    assert result.frames == [(FIN | CLOSE, b"\x03\xe8")]


@ROLES
@pytest.mark.parametrize("size", LENGTHS)
def test_lengths_in_their_shortest_form_pass(role: Role, size: int) -> None:
    payload = bytes(i & 0xFF for i in range(size))
    passes(role, frames(role, (FIN | BINARY, payload)), BinaryMessage(payload))
    passes(role, frames(role, (BINARY, payload), (FIN, b"")), BinaryMessage(payload))


@ROLES
@pytest.mark.parametrize("size", LENGTHS)
def test_what_is_sent_has_its_length_in_the_shortest_form(role: Role, size: int) -> None:
    connection = opened(role)
    connection.send(BinaryMessage(bytes(size)))
    sent = connection.data_to_send()
    head = 2 if size < 126 else 4 if size < 65536 else 10
    assert len(sent) == size + head + (4 if role is Role.CLIENT else 0)
    assert split(sent) == [(FIN | BINARY, bytes(size))]


@ROLES
@pytest.mark.parametrize(
    ("form", "length"), [(16, 0), (16, 1), (16, 125), (64, 0), (64, 125), (64, 126), (64, 65535)]
)
def test_a_length_in_a_longer_form_than_needed_is_1002(role: Role, form: int, length: int) -> None:
    masked = role is Role.SERVER
    fails(role, raw(FIN | BINARY, b"", masked=masked, form=form, length=length), 1002)


@ROLES
@pytest.mark.parametrize("length", [1 << 63, (1 << 64) - 1, (1 << 63) + 5])
def test_a_64_bit_length_with_its_highest_bit_set_is_1002(role: Role, length: int) -> None:
    masked = role is Role.SERVER
    fails(role, raw(FIN | BINARY, b"", masked=masked, form=64, length=length), 1002)


@ROLES
@pytest.mark.parametrize("length", [(1 << 63) - 1, (1 << 32) + 100, (1 << 20) + 1, 1 << 30])
def test_a_message_too_big_is_1009_at_its_header_and_nothing_is_allocated(
    role: Role, length: int
) -> None:
    masked = role is Role.SERVER
    fails(role, raw(FIN | TEXT, b"", masked=masked, form=64, length=length), 1009)
    data = raw(FIN | TEXT, b"x" * 100, masked=masked, form=64, length=length)
    taken = traced(lambda connection: list(connection.receive_data(data)), lambda: opened(role))
    assert taken.peak < 64 * 1024


@ROLES
@pytest.mark.parametrize(("size", "passing"), [(999, True), (1000, True), (1001, False)])
def test_max_message_holds_for_one_frame_and_for_all_fragments_together(
    role: Role, size: int, passing: bool
) -> None:
    limits = Limits(max_message=1000)
    payload = b"x" * size
    whole = frames(role, (FIN | BINARY, payload))
    # in the second form the header of the last fragment already exceeds the limit
    pieces = frames(role, (BINARY, payload[:600]), (0, b""), (FIN, payload[600:]))
    if passing:
        passes(role, whole, BinaryMessage(payload), limits=limits)
        passes(role, pieces, BinaryMessage(payload), limits=limits)
        passes(role, pieces * 2, *[BinaryMessage(payload)] * 2, limits=limits)
    else:
        fails(role, whole, 1009, limits=limits)
        fails(role, pieces, 1009, limits=limits)
        header = raw(0, b"", masked=role is Role.SERVER, length=401, form=16)
        fails(role, frames(role, (BINARY, payload[:600])) + header, 1009, limits=limits)


@ROLES
@pytest.mark.parametrize(("size", "passing"), [(299, True), (300, True), (301, False)])
def test_max_frame_holds_for_each_frame(role: Role, size: int, passing: bool) -> None:
    limits = Limits(max_frame=300)
    payload = b"x" * size
    for data, message in (
        (frames(role, (FIN | BINARY, payload)), payload),
        (frames(role, (BINARY, b""), (FIN, payload)), payload),
        (frames(role, (BINARY, payload), (FIN, b"")), payload),
    ):
        if passing:
            passes(role, data, BinaryMessage(message), limits=limits)
        else:
            fails(role, data, 1009, limits=limits)


@ROLES
def test_max_frame_holds_for_a_compressed_frame_too(role: Role) -> None:
    extensions = f"{DEFLATE}; server_no_context_takeover"
    for payload in (b"x" * 500, b""):
        data = frames(role, (RSV1 | BINARY, payload), (FIN, b"y" * 500))
        fails(role, data, 1009, extensions=extensions, limits=Limits(max_frame=300))


@ROLES
@pytest.mark.parametrize("payload", [b"", b"x"])
@pytest.mark.parametrize(("count", "passing"), [(4, True), (5, True), (6, False)])
def test_max_fragments_counts_all_of_them_the_empty_ones_too(
    role: Role, payload: bytes, count: int, passing: bool
) -> None:
    limits = Limits(max_fragments=5)
    pings = [(FIN | PING, b"")] * 2  # which are not fragments
    parts = [(BINARY, payload), *[(0, payload)] * (count - 2), *pings, (FIN, payload)]
    message = BinaryMessage(payload * count)
    if passing:
        passes(role, frames(role, *parts), Ping(), Ping(), message, limits=limits)
        passes(role, frames(role, *parts[:-3], parts[-1]) * 2, message, message, limits=limits)
    else:
        fails(role, frames(role, *parts), 1008, Ping(), Ping(), limits=limits)


def test_endless_continuations_are_1009_at_max_message() -> None:
    server = opened(Role.SERVER, limits=Limits(max_message=10_000, max_fragments=10**9))
    list(server.receive_data(frames(Role.SERVER, (TEXT, b""))))
    continuation = frames(Role.SERVER, (0, b"x" * 100))
    for _ in range(100):
        assert list(server.receive_data(continuation)) == []
    (close,) = server.receive_data(continuation)
    assert isinstance(close, Close)
    assert close.code == 1009


@pytest.mark.parametrize("payload", [b"", b"x"])
def test_endless_fragments_are_1008_and_cost_no_memory(payload: bytes) -> None:
    start = frames(Role.SERVER, (BINARY, payload))
    continuations = frames(Role.SERVER, (0, payload)) * 100

    def flood(server: Connection) -> None:
        events = list(server.receive_data(start))
        while not events:
            events = list(server.receive_data(continuations))
        (close,) = events
        assert isinstance(close, Close)
        assert close.code == 1008

    assert traced(flood, lambda: opened(Role.SERVER)).peak < 100_000


def test_one_frame_in_reads_of_one_byte_costs_no_more_than_twice_its_payload() -> None:
    size = 20_000
    data = frames(Role.SERVER, (FIN | BINARY, bytes(size)))

    def trickle(server: Connection) -> None:
        for i in range(len(data) - 1):
            assert list(server.receive_data(data[i : i + 1])) == []

    assert traced(trickle, lambda: opened(Role.SERVER)).peak < 2 * size
    server = opened(Role.SERVER)
    trickle(server)
    assert list(server.receive_data(data[-1:])) == [BinaryMessage(bytes(size))]


def test_a_masked_ping_with_a_long_length_fails_and_the_text_behind_it_is_never_delivered() -> None:
    ping = raw(FIN | PING, b"x" * 5, form=16)
    fails(Role.SERVER, ping + raw(FIN | TEXT, b"never"), 1002)


@ROLES
def test_after_a_fatal_error_input_is_discarded_and_nothing_more_is_emitted(role: Role) -> None:
    good = frames(role, (FIN | TEXT, b"good"))

    def failed() -> Connection:
        connection = opened(role)
        events = list(connection.receive_data(good + frames(role, (0, b"")) + good))
        assert [type(event) for event in events] == [TextMessage, Close]
        connection.data_to_send()
        return connection

    def flood(connection: Connection) -> None:
        for _ in range(100):
            assert list(connection.receive_data(good * 1000)) == []
        assert connection.data_to_send() == b""

    assert traced(flood, failed).kept < 20_000


def test_a_clients_masking_keys_are_fresh_and_from_the_given_source() -> None:
    client = opened(Role.CLIENT)
    for n in range(10_000):
        client.send(Ping(bytes((n & 0xFF,))))
    sent = client.data_to_send()
    keys = {sent[i + 2 : i + 6] for i in range(0, len(sent), 7)}
    assert len(keys) == 10_000


def test_a_client_without_a_source_of_randomness_is_the_callers_mistake() -> None:
    with pytest.raises(TypeError, match="random"):
        Connection(Role.CLIENT)


@ROLES
def test_an_empty_message_is_a_message(role: Role) -> None:
    passes(role, frames(role, (FIN | TEXT, b"")), TextMessage(""))
    passes(role, frames(role, (FIN | BINARY, b"")), BinaryMessage(b""))
    passes(role, frames(role, (TEXT, b""), (0, b""), (FIN, b"")), TextMessage(""))
