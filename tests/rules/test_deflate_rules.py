"""permessage-deflate: RFC 7692."""

import random
import zlib

import pytest

from sono_core import (
    Accept,
    BinaryMessage,
    Close,
    Connection,
    Deflate,
    Limits,
    Prepared,
    Request,
    Role,
    SharedDeflaters,
    TextMessage,
)
from tests.memory import traced
from tests.rules.peers import (
    BINARY,
    CLOSE,
    DEFLATE,
    FIN,
    PING,
    RSV1,
    TEXT,
    client_refuses,
    connecting,
    deflated,
    fails,
    frames,
    opened,
    passes,
    request,
    response,
    split,
)

ROLES = pytest.mark.parametrize("role", list(Role), ids=lambda role: role.value)
AGREED = f"{DEFLATE}; server_no_context_takeover"
TAKEOVER = Deflate(context_takeover=True, threshold=0)
NAMES = ("server_max_window_bits", "client_max_window_bits")
FLAGS = ("server_no_context_takeover", "client_no_context_takeover")
BAD_BITS = ["0", "7", "16", "999", "08", "015", "-9", "+9", "9.0", "x", '"08"', "9 9", "٩"]


def noise(size: int) -> bytes:
    return random.Random(size).randbytes(size)


def answered(offers: str, deflate: Deflate | None = TAKEOVER) -> str | None:
    """A server's answer in Sec-WebSocket-Extensions."""
    server = connecting(Role.SERVER, deflate=deflate)
    list(server.receive_data(request(("Sec-WebSocket-Extensions", offers))))
    server.send(Accept())
    lines = server.data_to_send().decode().split("\r\n")
    assert lines[0].startswith("HTTP/1.1 101 "), lines[0]
    values = [
        line.partition(": ")[2] for line in lines if line.lower().startswith("sec-websocket-ex")
    ]
    return values[0] if values else None


# -- what a server agrees to ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("offer", "answer"),
    [
        ("", ""),
        ("; client_max_window_bits", ""),
        ("; client_max_window_bits=8", ""),
        ("; client_max_window_bits=15", ""),
        ('; client_max_window_bits="10"', ""),
        ("; server_no_context_takeover", "; server_no_context_takeover"),
        ("; client_no_context_takeover", "; client_no_context_takeover"),
        ("; server_max_window_bits=9", "; server_max_window_bits=9"),
        ("; server_max_window_bits=14", "; server_max_window_bits=14"),
        ("; server_max_window_bits=15", "; server_max_window_bits=15"),
        (
            "; client_no_context_takeover; server_max_window_bits=10; server_no_context_takeover",
            "; server_no_context_takeover; client_no_context_takeover; server_max_window_bits=10",
        ),
    ],
)
def test_a_legal_offer_is_agreed_to_and_what_it_asks_is_confirmed(offer: str, answer: str) -> None:
    assert answered(DEFLATE + offer) == DEFLATE + answer


def test_without_takeover_the_server_says_so_unasked() -> None:
    assert answered(DEFLATE, Deflate()) == f"{DEFLATE}; {FLAGS[0]}; {FLAGS[1]}"


def test_a_narrower_window_of_the_servers_own_is_announced() -> None:
    narrow = Deflate(context_takeover=True, max_window_bits=11)
    assert answered(DEFLATE, narrow) == f"{DEFLATE}; server_max_window_bits=11"
    wide = f"{DEFLATE}; server_max_window_bits=13"
    assert answered(wide, narrow) == f"{DEFLATE}; server_max_window_bits=11"
    assert answered(wide.replace("13", "10"), narrow) == f"{DEFLATE}; server_max_window_bits=10"


BAD_OFFERS = [
    *(f"; {name}={bits}" for name in NAMES for bits in BAD_BITS if bits != "9 9" and bits != "٩"),
    "; server_max_window_bits",
    "; server_max_window_bits=8",
    *(f"; {flag}={value}" for flag in FLAGS for value in ("1", "true", "0")),
    *(f"; {name}; {name}" for name in FLAGS),
    "; client_max_window_bits; client_max_window_bits",
    "; server_max_window_bits=10; server_max_window_bits=10",
    "; client_max_window_bits; client_max_window_bits=10",
    "; unknown",
    "; unknown=1",
    "; constructor; __proto__=1",
    "; x_no_context_takeover",
    "; Server_No_Context_Takeover",
]


@pytest.mark.parametrize("offer", BAD_OFFERS)
def test_a_bad_offer_is_declined_and_the_next_one_tried(offer: str) -> None:
    assert answered(DEFLATE + offer) is None
    assert answered(f"{DEFLATE}{offer}, {DEFLATE}") == DEFLATE
    assert (
        answered(f"{DEFLATE}{offer}, other, {DEFLATE}; server_max_window_bits=12, {DEFLATE}")
        == f"{DEFLATE}; server_max_window_bits=12"
    )


def test_the_first_acceptable_offer_counts() -> None:
    offers = f"{DEFLATE}; server_max_window_bits=10, {DEFLATE}"
    assert answered(offers) == f"{DEFLATE}; server_max_window_bits=10"


def test_nothing_is_agreed_to_where_it_is_switched_off() -> None:
    assert answered(DEFLATE, None) is None


# -- what a client takes ----------------------------------------------------------------------


def test_a_client_offers_what_it_can_do() -> None:
    for deflate, offer in (
        (Deflate(), f"{DEFLATE}; {FLAGS[0]}; {FLAGS[1]}; client_max_window_bits"),
        (TAKEOVER, f"{DEFLATE}; client_max_window_bits"),
    ):
        client = connecting(Role.CLIENT, deflate=deflate)
        client.send(Request("/", host="a"))
        assert f"Extensions: {offer}\r\n".encode().lower() in client.data_to_send().lower()


@pytest.mark.parametrize(
    "answer",
    [
        *(f"; {name}={bits}" for name in NAMES for bits in BAD_BITS),
        *(f"; {name}" for name in NAMES),
        *(f"; {name}=" for name in NAMES),
        *(f'; {name}=""' for name in NAMES),
        "; client_max_window_bits=8",
        *(f"; {flag}=1" for flag in FLAGS),
        *(f"; {flag}; {flag}" for flag in FLAGS),
        "; server_max_window_bits=10; server_max_window_bits=10",
        "; unknown",
        "; constructor",
    ],
)
def test_a_bad_response_fails_the_handshake(answer: str) -> None:
    header = ("Sec-WebSocket-Extensions", DEFLATE + answer)
    try:
        header[1].encode("latin-1")
    except UnicodeEncodeError:
        header = (header[0], header[1].encode().decode("latin-1"))
    reject = client_refuses(lambda client: response(client, header), deflate=TAKEOVER)
    assert reject.status == 0
    assert reject.body


def test_a_response_that_keeps_a_window_against_the_offer_fails_the_handshake() -> None:
    header = ("Sec-WebSocket-Extensions", f"{DEFLATE}; client_no_context_takeover")
    assert client_refuses(lambda client: response(client, header)).status == 0


@pytest.mark.parametrize(
    "answer",
    [
        "",
        "; server_no_context_takeover; client_no_context_takeover",
        "; server_max_window_bits=8",
        "; server_max_window_bits=15; client_max_window_bits=15",
        "; client_max_window_bits=9",
        '; client_max_window_bits="10"',
    ],
)
def test_every_legal_response_is_taken_and_kept_to(answer: str) -> None:
    client = opened(Role.CLIENT, DEFLATE + answer, deflate=TAKEOVER)
    data = noise(40_000) * 2
    client.send(BinaryMessage(data))
    ((first, payload),) = split(client.data_to_send())
    assert first == FIN | RSV1 | BINARY
    bits = int(answer.partition("client_max_window_bits=")[2].strip('"') or 15)
    assert zlib.decompressobj(-bits).decompress(payload + b"\x00\x00\xff\xff") == data


# -- messages ---------------------------------------------------------------------------------


@ROLES
def test_a_compressed_message_is_inflated_whole_and_in_fragments(role: Role) -> None:
    payload = deflated(b"hello " * 10)
    message = TextMessage("hello " * 10)
    whole = frames(role, (FIN | RSV1 | TEXT, payload))
    parts = frames(
        role, (RSV1 | TEXT, payload[:3]), (0, b""), (FIN | PING, b""), (FIN, payload[3:])
    )
    passes(role, whole + whole, message, message, extensions=AGREED)
    connection = opened(role, AGREED)
    assert list(connection.receive_data(parts))[1:] == [message]


@ROLES
def test_an_uncompressed_message_is_still_legal(role: Role) -> None:
    plain = frames(role, (FIN | TEXT, b"a"), (TEXT, b"b"), (FIN, b"c"))
    packed = frames(role, (FIN | RSV1 | TEXT, deflated(b"d")))
    passes(
        role,
        plain + packed + plain,
        *map(TextMessage, ("a", "bc", "d", "a", "bc")),
        extensions=AGREED,
    )


@ROLES
def test_an_empty_message_is_one_byte_or_a_final_block(role: Role) -> None:
    for payload in (b"\x00", b"\x03\x00\x00", b"\x02\x00"):
        passes(role, frames(role, (FIN | RSV1 | TEXT, payload)), TextMessage(""), extensions=AGREED)


@ROLES
def test_blocks_with_bfinal_do_not_end_the_connection_or_the_message(role: Role) -> None:
    def final(data: bytes) -> bytes:
        stream = zlib.compressobj(wbits=-15)
        return stream.compress(data) + stream.flush(zlib.Z_FINISH)

    # the example of section 7.2.3.4, and blocks after the final one
    example = bytes.fromhex("f348cdc9c9070000")
    hello = frames(role, (FIN | RSV1 | TEXT, example))
    more = frames(role, (FIN | RSV1 | TEXT, final(b"one ") + final(b"two ") + deflated(b"three")))
    cut = final(b"one ")
    parts = frames(role, (RSV1 | TEXT, cut), (0, final(b"two ")), (FIN, deflated(b"three")))
    for agreed in (AGREED, DEFLATE):
        passes(
            role,
            hello + more + hello + parts + hello,
            *map(TextMessage, ("Hello", "one two three", "Hello", "one two three", "Hello")),
            extensions=agreed,
            deflate=TAKEOVER,
        )


@ROLES
def test_thousands_of_final_blocks_in_one_message_are_1008(role: Role) -> None:
    connection = opened(role, AGREED)
    enough = frames(role, (FIN | RSV1 | TEXT, b"\x03\x00" * 1024 + b"\x00"))
    assert list(connection.receive_data(enough * 2)) == [TextMessage("")] * 2
    blocks = b"\x03\x00" * 300_000
    for data in (
        frames(role, (FIN | RSV1 | TEXT, blocks)),
        frames(role, (RSV1 | TEXT, blocks[:1200]), (0, blocks[:1200])),
    ):
        connection = opened(role, AGREED)
        (close,) = connection.receive_data(data)
        assert isinstance(close, Close)
        assert close.code == 1008


@ROLES
@pytest.mark.parametrize(
    "payload", [b"\xff\xff\xff", b"\x07", b"\x00\x01\x00\x00\x00", b"\x05" * 20]
)
def test_what_is_no_deflate_data_is_1007(role: Role, payload: bytes) -> None:
    fails(role, frames(role, (FIN | RSV1 | BINARY, payload)), 1007, extensions=AGREED)
    fails(role, frames(role, (RSV1 | BINARY, payload), (FIN, b"")), 1007, extensions=AGREED)


@ROLES
def test_a_bomb_is_1009_within_the_limit_and_64_kib(role: Role) -> None:
    stream = zlib.compressobj(9, wbits=-15)
    bomb = b"".join(stream.compress(bytes(1 << 20)) for _ in range(64))
    bomb += stream.flush(zlib.Z_SYNC_FLUSH)[:-4]
    assert len(bomb) < 70_000
    parts = [(RSV1 | BINARY, b""), *((0, bomb[i : i + 500]) for i in range(0, len(bomb), 500))]
    for data in (frames(role, (FIN | RSV1 | BINARY, bomb)), frames(role, *parts)):

        def explode(connection: Connection, data: bytes = data) -> None:
            (close,) = connection.receive_data(data)
            assert isinstance(close, Close)
            assert close.code == 1009

        peak = traced(explode, lambda: opened(role, AGREED)).peak
        # the bytearray grows by an eighth at once; up to three times the input is held
        assert peak < (1 << 20) * 9 // 8 + 3 * 64 * 1024 + 4 * len(data)


@ROLES
@pytest.mark.parametrize(("size", "passing"), [(999, True), (1000, True), (1001, False)])
def test_max_message_holds_for_the_inflated_message(role: Role, size: int, passing: bool) -> None:
    limits = Limits(max_message=1000)
    payload = deflated(b"x" * size)
    whole = frames(role, (FIN | RSV1 | BINARY, payload))
    parts = frames(role, (RSV1 | BINARY, payload[:4]), (FIN, payload[4:]))
    for data in (whole, parts):
        if passing:
            message = BinaryMessage(b"x" * size)
            passes(role, data, message, extensions=AGREED, limits=limits)
        else:
            fails(role, data, 1009, extensions=AGREED, limits=limits)


@pytest.mark.parametrize("size", [1, 100, 1000, 65_535, 1 << 20])
@pytest.mark.parametrize("level", [1, 6, 9])
def test_data_of_exactly_max_message_that_does_not_compress_passes(size: int, level: int) -> None:
    limits = Limits(max_message=size, max_frame=size)
    data = noise(size)
    client = opened(Role.CLIENT, AGREED, deflate=Deflate(threshold=0, level=level))
    client.send(BinaryMessage(data))
    server = opened(Role.SERVER, DEFLATE, limits=limits)
    assert list(server.receive_data(client.data_to_send())) == [BinaryMessage(data)]


@ROLES
def test_a_compressed_frame_beyond_what_zlib_makes_of_max_message_is_1009_at_its_header(
    role: Role,
) -> None:
    limits = Limits(max_message=1000)
    data = frames(role, (FIN | RSV1 | BINARY, bytes(1300)))[:8]
    connection = opened(role, AGREED, limits=limits)
    (close,) = connection.receive_data(data)
    assert isinstance(close, Close)
    assert close.code == 1009


# -- sending ----------------------------------------------------------------------------------


@ROLES
def test_messages_below_the_threshold_are_sent_as_they_are(role: Role) -> None:
    connection = opened(role, AGREED)
    for size, first in ((0, FIN), (1023, FIN), (1024, FIN | RSV1), (5000, FIN | RSV1)):
        connection.send(TextMessage("x" * size))
        connection.send(BinaryMessage(b"x" * size))
        assert [f for f, _ in split(connection.data_to_send())] == [first | TEXT, first | BINARY]


@ROLES
def test_close_and_other_control_frames_are_never_compressed(role: Role) -> None:
    connection = opened(role, DEFLATE, deflate=TAKEOVER)
    list(connection.receive_data(frames(role, (FIN | PING, b"x" * 100))))
    connection.send(Close(1000, "x" * 100))
    assert [first for first, _ in split(connection.data_to_send())] == [FIN | 10, FIN | CLOSE]


def pair(agreed: str, client: Deflate, server: Deflate) -> tuple[Connection, Connection]:
    return opened(Role.CLIENT, agreed, deflate=client), opened(Role.SERVER, agreed, deflate=server)


@pytest.mark.parametrize("takeover", [True, False])
def test_what_one_side_sends_the_other_receives(takeover: bool) -> None:
    deflate = Deflate(context_takeover=takeover, threshold=0)
    agreed = DEFLATE if takeover else f"{DEFLATE}; {FLAGS[0]}; {FLAGS[1]}"
    client, server = pair(agreed, deflate, deflate)
    messages = [
        TextMessage(""),
        TextMessage(""),
        TextMessage("a"),
        TextMessage(""),
        BinaryMessage(noise(70_000)),
        BinaryMessage(noise(70_000)),
        TextMessage("äöü" * 50_000),
        BinaryMessage(bytes(300_000)),
    ]
    for one, other in ((client, server), (server, client)):
        for message in messages:
            one.send(message)
        assert list(other.receive_data(one.data_to_send())) == messages


def test_with_takeover_a_repeated_message_is_smaller_and_without_it_is_not() -> None:
    message = BinaryMessage(noise(5000))
    for agreed, smaller in ((DEFLATE, True), (f"{DEFLATE}; client_no_context_takeover", False)):
        client, _ = pair(agreed, TAKEOVER, TAKEOVER)
        client.send(message)
        first = client.data_to_send()
        client.send(message)
        second = client.data_to_send()
        assert (len(second) < 100) == smaller
        assert smaller or split(second) == split(first)


def test_connections_without_takeover_share_deflaters_and_nothing_of_their_messages() -> None:
    deflaters = SharedDeflaters()
    servers = [opened(Role.SERVER, DEFLATE, deflaters=deflaters) for _ in range(3)]
    message = BinaryMessage(noise(5000))
    sent = []
    for server in servers:
        server.send(message)
        sent.append(server.data_to_send())
    assert sent[0] == sent[1] == sent[2]
    narrow = opened(Role.SERVER, f"{DEFLATE}; server_max_window_bits=9", deflaters=deflaters)
    narrow.send(BinaryMessage(b"ab" * 2000))
    client = opened(Role.CLIENT, f"{AGREED}; server_max_window_bits=9")
    assert list(client.receive_data(narrow.data_to_send())) == [BinaryMessage(b"ab" * 2000)]


def test_a_prepared_message_is_what_the_message_itself_would_be() -> None:
    for role in Role:
        for agreed in (DEFLATE, AGREED):
            for message in (TextMessage("x" * 2000), BinaryMessage(b"y"), TextMessage("")):
                one, other = (opened(role, agreed, deflate=TAKEOVER) for _ in range(2))
                one.send(message)
                other.send(Prepared(message))
                assert one.data_to_send() == other.data_to_send()


def test_contexts_are_dropped_on_close() -> None:
    data = frames(Role.SERVER, (RSV1 | BINARY, deflated(noise(100_000))))

    def used() -> Connection:
        connection = opened(Role.SERVER, DEFLATE, deflate=TAKEOVER)
        connection.send(TextMessage("x" * 2000))
        return connection

    def begin(connection: Connection) -> None:
        assert list(connection.receive_data(data)) == []

    def end(connection: Connection) -> None:
        begin(connection)
        assert [type(event) for event in connection.receive_data(b"")] == [Close]

    assert traced(begin, used).kept > 100_000
    assert traced(end, used).kept < 20_000
