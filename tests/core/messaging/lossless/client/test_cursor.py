"""A position in a stream, and what becomes of entries. docs/protocol.md, section 2."""

from __future__ import annotations

import pytest

from sono_core.messaging.lossless.client.cursor import (
    Cursor,
    Verdict,
    first_missing,
    is_ahead,
    is_behind,
)
from tests.core.messaging.lossless.client.rig import at


def test_the_next_entry_is_taken() -> None:
    """2.4."""
    cursor = Cursor(at(0))
    assert cursor.take(at(1)) is Verdict.TAKE
    assert cursor.take(at(2)) is Verdict.TAKE
    assert cursor.at == at(2)


@pytest.mark.parametrize("offset", [1, 2, 3])
def test_an_entry_that_was_had_is_dropped(offset: int) -> None:
    """2.5."""
    cursor = Cursor(at(3))
    assert cursor.take(at(offset)) is Verdict.DROP
    assert cursor.at == at(3)


def test_an_entry_behind_a_hole_is_dropped_and_asked_for() -> None:
    """2.6."""
    cursor = Cursor(at(3))
    assert cursor.take(at(5)) is Verdict.ASK
    assert cursor.at == at(3)
    assert cursor.take(at(4)) is Verdict.TAKE


@pytest.mark.parametrize("offset", [1, 3, 4, 9])
def test_an_entry_of_another_epoch_begins_a_new_life(offset: int) -> None:
    """2.7."""
    cursor = Cursor(at(3))
    assert cursor.take(at(offset, "f")) is Verdict.NEW_LIFE
    assert cursor.at == at(offset, "f")


@pytest.mark.parametrize("epoch", ["e", "f"])
def test_there_is_no_entry_0(epoch: str) -> None:
    """2.2: it is the position before the first entry."""
    cursor = Cursor(at(0))
    assert cursor.take(at(0, epoch)) is Verdict.DROP
    assert cursor.at == at(0)


def test_how_far_it_is_from_one_position_to_another() -> None:
    """2.8."""
    assert first_missing(at(3), at(7)) == 4
    assert first_missing(at(3), at(3)) is None
    assert first_missing(at(3), at(2)) is None
    assert first_missing(at(3), at(7, "f")) is None
    assert [is_ahead(at(3), at(offset)) for offset in (2, 3, 4)] == [False, False, True]
    assert [is_behind(at(3), at(offset)) for offset in (2, 3, 4)] == [False, False, True]
    assert is_ahead(at(3), at(1, "f"))
    assert not is_behind(at(3), at(4, "f"))
