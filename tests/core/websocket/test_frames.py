"""frames.py: RFC 6455, section 5, below the connection."""

import pytest

from sono_core import Limits, Role
from sono_core.errors import ProtocolFailure
from sono_core.websocket.frames import Frame, FrameDecoder, compressed_bound, encode_frame
from sono_core.websocket.opcodes import BINARY, CLOSE, CONTINUATION, PING, PONG, TEXT


def decoder(role: Role = Role.CLIENT, *, compression: bool = False, **limits: int) -> FrameDecoder:
    return FrameDecoder(role, Limits(**limits), compression)


def decoded(decoder: FrameDecoder, *pieces: bytes) -> list[Frame]:
    """All frames and pieces of frames; the decoder is asked after each chunk."""
    found = []
    for piece in pieces:
        decoder.feed(piece)
        while (frame := decoder.next_frame()) is not None:
            found.append(frame)
    return found


MASK = b"\x37\xfa\x21\x3d"


# The examples of section 5.7.
EXAMPLES = [
    (TEXT, b"Hello", b"", True, "81 05 48 65 6c 6c 6f"),
    (TEXT, b"Hello", MASK, True, "81 85 37 fa 21 3d 7f 9f 4d 51 58"),
    (TEXT, b"Hel", b"", False, "01 03 48 65 6c"),
    (PING, b"Hello", b"", True, "89 05 48 65 6c 6c 6f"),
    (PONG, b"Hello", MASK, True, "8a 85 37 fa 21 3d 7f 9f 4d 51 58"),
    (BINARY, bytes(256), b"", True, "82 7e 01 00" + " 00" * 256),
    (BINARY, bytes(65536), b"", True, "82 7f 00 00 00 00 00 01 00 00" + " 00" * 65536),
]


@pytest.mark.parametrize(("opcode", "payload", "mask", "fin", "data"), EXAMPLES)
def test_the_examples_of_section_5_7(
    opcode: int, payload: bytes, mask: bytes, fin: bool, data: str
) -> None:
    encoded = bytes.fromhex(data)
    assert encode_frame(opcode, payload, fin=fin, mask=mask) == encoded
    role = Role.SERVER if mask else Role.CLIENT
    assert decoded(decoder(role), encoded) == [Frame(opcode, payload, fin, False, True)]


@pytest.mark.parametrize("mask", [b"", MASK])
@pytest.mark.parametrize("size", [0, 1, 5, 125, 126, 1000])
def test_a_data_frame_in_pieces_comes_out_as_its_bytes_come(mask: bytes, size: int) -> None:
    payload = bytes(i & 0xFF for i in range(size))
    data = encode_frame(BINARY, payload, mask=mask)
    for step in (1, 2, 3, 7, 64):
        role = Role.SERVER if mask else Role.CLIENT
        pieces = [data[i : i + step] for i in range(0, len(data), step)]
        found = decoded(decoder(role), *pieces)
        assert b"".join(frame.payload for frame in found) == payload
        assert [frame.complete for frame in found] == [False] * (len(found) - 1) + [True]
        assert {frame.opcode for frame in found} == {BINARY}
        if step == 1 and size:
            assert len(found) == size


@pytest.mark.parametrize("mask", [b"", MASK])
def test_a_control_frame_comes_out_whole(mask: bytes) -> None:
    data = encode_frame(PING, b"x" * 125, mask=mask) + encode_frame(PONG, b"", mask=mask)
    for step in (1, 2, 100):
        role = Role.SERVER if mask else Role.CLIENT
        pieces = [data[i : i + step] for i in range(0, len(data), step)]
        assert decoded(decoder(role), *pieces) == [
            Frame(PING, b"x" * 125, True, False, True),
            Frame(PONG, b"", True, False, True),
        ]


def test_what_is_fed_without_asking_stays_in_order() -> None:
    data = b"".join(
        (
            encode_frame(TEXT, b"a" * 300, fin=False),
            encode_frame(PING, b"b" * 100),
            encode_frame(CONTINUATION, b"c" * 70_000),
            encode_frame(CLOSE, b""),
        )
    )
    for step in (1, 3, 200, len(data)):
        frames = decoder()
        for i in range(0, len(data), step):
            frames.feed(data[i : i + step])
        found = decoded(frames, b"")
        assert b"".join(f.payload for f in found if f.opcode == CONTINUATION) == b"c" * 70_000
        assert [f.opcode for f in found if f.complete] == [TEXT, PING, CONTINUATION, CLOSE]


def test_nothing_of_what_was_decoded_is_kept() -> None:
    frames = decoder()
    assert len(decoded(frames, encode_frame(BINARY, bytes(100_000)))) == 1
    assert frames._buffer == b""


@pytest.mark.parametrize("in_message", [False, True])
@pytest.mark.parametrize("compression", [False, True])
@pytest.mark.parametrize("role", list(Role))
def test_every_first_byte(role: Role, compression: bool, in_message: bool) -> None:
    for first in range(256):
        opcode, fin, rsv1 = first & 15, bool(first & 0x80), bool(first & 0x40)
        legal = not first & 0x30
        if opcode in (CLOSE, PING, PONG):
            legal &= fin and not rsv1
        elif opcode in (TEXT, BINARY):
            legal &= not in_message and (compression or not rsv1)
        elif opcode == CONTINUATION:
            legal &= in_message and not rsv1
        else:
            legal = False
        mask = MASK if role is Role.SERVER else b""
        frames = decoder(role, compression=compression)
        if in_message:
            decoded(frames, encode_frame(TEXT, b"", fin=False, mask=mask))
        frame = bytes((first,)) + encode_frame(0, b"ab", mask=mask)[1:]
        if legal:
            assert decoded(frames, frame) == [Frame(opcode, b"ab", fin, rsv1, True)]
        else:
            with pytest.raises(ProtocolFailure) as failure:
                decoded(frames, frame[:2])
            assert failure.value.code == 1002
            assert failure.value.reason


def test_a_first_byte_alone_is_not_judged_yet() -> None:
    assert decoded(decoder(), b"\xff") == []


@pytest.mark.parametrize("size", [0, 1, 7, 64, 1000, 65_535, 1 << 20, (1 << 24) + 1])
def test_the_compressed_bound_is_zlibs(size: int) -> None:
    # deflateBound for any window and memory level, as zlib's manual and source give it
    assert compressed_bound(size) >= size + ((size + 7) >> 3) + ((size + 63) >> 6) + 5
    assert compressed_bound(size) <= size + size // 6 + 64


@pytest.mark.parametrize(("size", "passing"), [(900, True), (1000, True), (2000, False)])
def test_a_compressed_frame_may_take_what_zlib_makes_of_max_frame(size: int, passing: bool) -> None:
    frames = decoder(compression=True, max_frame=1000)
    data = encode_frame(BINARY, bytes(size), rsv1=True)
    if passing:
        assert len(decoded(frames, data, encode_frame(BINARY, b""))) == 2
    else:
        with pytest.raises(ProtocolFailure) as failure:
            decoded(frames, data)
        assert failure.value.code == 1009
