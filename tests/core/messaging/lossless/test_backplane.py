"""Receipts, and calls that are all made although some fail."""

from __future__ import annotations

import pytest

from sono_core import LocalProtocolError, SonoError
from sono_core.messaging.lossless.backplane import (
    BackplaneError,
    Change,
    Receipt,
    Roster,
    SavedSession,
    call_each,
)
from sono_core.messaging.lossless.positions import Position


def test_a_receipt_is_done_once() -> None:
    receipt: Receipt[int] = Receipt()
    seen: list[int] = []
    receipt.then(lambda done: seen.append(done.value))
    assert (receipt.done, receipt.error, seen) == (False, None, [])
    receipt.complete(7)
    receipt.complete(8)
    receipt.fail(BackplaneError("too late"))
    assert (receipt.done, receipt.error, receipt.value) == (True, None, 7)
    receipt.then(lambda done: seen.append(done.value))
    assert seen == [7, 7]


def test_a_receipt_may_have_no_value() -> None:
    assert Receipt.of(None).value is None


def test_a_receipt_that_is_not_done_has_no_value() -> None:
    receipt: Receipt[int] = Receipt()
    with pytest.raises(LocalProtocolError, match="not done yet"):
        _ = receipt.value


def test_the_value_of_what_failed_is_its_error() -> None:
    receipt: Receipt[int] = Receipt()
    error = BackplaneError("gone")
    receipt.fail(error)
    receipt.complete(7)
    assert (receipt.done, receipt.error) == (True, error)
    assert isinstance(error, SonoError)
    assert error.temporary
    with pytest.raises(BackplaneError, match="gone"):
        _ = receipt.value


def test_all_who_wait_are_told_although_one_fails() -> None:
    receipt: Receipt[int] = Receipt()
    seen: list[int] = []

    def fails(_: object) -> None:
        raise KeyError("first")

    def fails_too(_: object) -> None:
        raise ValueError("second")

    for callback in (fails, lambda done: seen.append(done.value), fails_too):
        receipt.then(callback)
    with pytest.raises(KeyError, match="first"):
        receipt.complete(7)
    assert (seen, receipt.value) == ([7], 7)


def test_no_calls_are_made_without_harm() -> None:
    call_each([])


def test_reprs_do_not_show_public_data_and_records() -> None:
    at = Position("e", 1)
    shown = [
        Roster(at, {"member": "data"}),
        Change(at, "member", "data", True, 1),
        SavedSession("s", b"data"),
    ]
    assert "data" not in str(shown)
    assert "member='member'" in str(shown)
