"""What the tests of sessions share."""

from __future__ import annotations

import pytest

from sono_core import BinaryMessage, Role
from sono_core.websocket.frames import encode_frame
from sono_core.websocket.opcodes import BINARY, CONTINUATION
from tests.fakes import Rig
from tests.rules.peers import MASK

PAUSE = 64 * 1024
BOTH = pytest.mark.parametrize("role", list(Role))


def frame_of(size: int) -> BinaryMessage:
    """A message whose frame from a server has that many bytes; 130 to 65,539."""
    return BinaryMessage(bytes(size - 4))


def fill(rig: Rig, size: int) -> None:
    """Queue exactly that many bytes for a peer that does not read."""
    rig.blocks()
    while rig.waiting < size:
        rest = size - rig.waiting
        assert rig.session.send(frame_of(rest if rest <= PAUSE else PAUSE // 2))
    assert rig.waiting == size


def raising() -> object:
    raise ValueError("handler")


def fragmented(pieces: int, size: int = 0) -> bytes:
    """A message in that many frames."""
    first = encode_frame(BINARY, bytes(size), fin=False, mask=MASK)
    middle = encode_frame(CONTINUATION, bytes(size), fin=False, mask=MASK)
    return first + middle * (pieces - 2) + encode_frame(CONTINUATION, bytes(size), mask=MASK)
