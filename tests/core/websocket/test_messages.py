"""messages.py: fragments and pieces of frames to whole messages."""

import zlib

import pytest

from sono_core import BinaryMessage, Limits, TextMessage
from sono_core.errors import ProtocolFailure
from sono_core.websocket.deflate import Inflater
from sono_core.websocket.frames import Frame
from sono_core.websocket.messages import MessageAssembler
from sono_core.websocket.opcodes import BINARY, CONTINUATION, TEXT


def piece(opcode: int, payload: bytes, fin: bool = True, complete: bool = True) -> Frame:
    return Frame(opcode, payload, fin, False, complete)


def packed(data: bytes) -> bytes:
    stream = zlib.compressobj(wbits=-15)
    return (stream.compress(data) + stream.flush(zlib.Z_SYNC_FLUSH))[:-4]


def test_a_message_of_one_frame() -> None:
    assembler = MessageAssembler(Limits())
    assert assembler.push(piece(TEXT, "é".encode())) == TextMessage("é")
    assert assembler.push(piece(BINARY, b"\xff")) == BinaryMessage(b"\xff")


@pytest.mark.parametrize(
    ("opcode", "message"), [(TEXT, TextMessage("aé€")), (BINARY, BinaryMessage("aé€".encode()))]
)
def test_fragments_and_pieces_of_them_are_joined(
    opcode: int, message: TextMessage | BinaryMessage
) -> None:
    data = "aé€".encode()
    assembler = MessageAssembler(Limits())
    for _ in range(2):
        assert assembler.push(piece(opcode, data[:2], fin=False)) is None
        assert assembler.push(piece(CONTINUATION, b"", fin=False)) is None
        assert assembler.push(piece(CONTINUATION, data[2:3], complete=False)) is None
        assert assembler.push(piece(CONTINUATION, data[3:])) == message


def test_payloads_are_bytes_and_stay_valid() -> None:
    assembler = MessageAssembler(Limits())
    assembler.push(piece(BINARY, b"ab", fin=False))
    first = assembler.push(piece(CONTINUATION, b"c"))
    assembler.push(piece(BINARY, b"xy", fin=False))
    assembler.push(piece(CONTINUATION, b"z"))
    assert isinstance(first, BinaryMessage)
    assert type(first.data) is bytes
    assert first.data == b"abc"


@pytest.mark.parametrize(
    "frames", [[(b"\xff", True, True)], [(b"a", False, True), (b"\xed\xa0", False, False)]]
)
def test_a_wrong_text_is_1007(frames: list[tuple[bytes, bool, bool]]) -> None:
    assembler = MessageAssembler(Limits())
    with pytest.raises(ProtocolFailure) as failure:
        for i, (payload, fin, complete) in enumerate(frames):
            assembler.push(piece(CONTINUATION if i else TEXT, payload, fin, complete))
    assert failure.value.code == 1007


def test_a_compressed_frame_is_inflated_when_it_is_complete() -> None:
    data = packed(b"hello " * 10)
    assembler = MessageAssembler(Limits(), Inflater(15, False))
    for _ in range(2):
        assert assembler.push(Frame(TEXT, data[:3], False, True, False)) is None
        assert assembler.push(Frame(TEXT, data[3:5], False, True, True)) is None
        assert assembler.push(Frame(CONTINUATION, data[5:], True, False, False)) is None
        last = assembler.push(Frame(CONTINUATION, b"", True, False, True))
        assert last == TextMessage("hello " * 10)
    assert assembler.push(Frame(BINARY, packed(b"\xff"), True, True, True)) == BinaryMessage(
        b"\xff"
    )


def test_the_limit_is_on_the_inflated_message() -> None:
    assembler = MessageAssembler(Limits(max_message=100), Inflater(15, False))
    with pytest.raises(ProtocolFailure) as failure:
        assembler.push(Frame(BINARY, packed(bytes(101)), True, True, True))
    assert failure.value.code == 1009
