"""What the tests of sessions share."""

from __future__ import annotations

import pytest

from sono_core import BinaryMessage, Role
from tests.fakes import Rig

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
