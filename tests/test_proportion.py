"""What tells linear work from quadratic work is not misled by noise."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests import proportion


@pytest.fixture
def spend(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Lets CPU time pass."""
    now = [0.0]

    def pass_by(seconds: float) -> None:
        now[0] += seconds

    monkeypatch.setattr(proportion.time, "thread_time", lambda: now[0])
    return pass_by


@pytest.mark.parametrize("slow", [1, 10])
@pytest.mark.parametrize("first", [1, 2])
def test_linear_work_passes_although_a_large_input_was_slow_at_first(
    spend: Callable[[float], None], slow: int, first: int
) -> None:
    calls: list[int] = []

    def work(size: int) -> Callable[[], None]:
        def run() -> None:
            calls.append(size)
            late = size == 1600 and calls.count(1600) <= first
            spend(size * (slow if late else 1))

        return run

    proportion.assert_linear(work, 100)


@pytest.mark.parametrize("slow", [1, 10])
@pytest.mark.parametrize("first", [1, 2])
def test_quadratic_work_is_found_although_a_small_input_was_slow_at_first(
    spend: Callable[[float], None], slow: int, first: int
) -> None:
    calls: list[int] = []

    def work(size: int) -> Callable[[], None]:
        def run() -> None:
            calls.append(size)
            late = size == 100 and calls.count(100) <= first
            spend(size**2 * (slow if late else 1))

        return run

    with pytest.raises(AssertionError, match="1600 takes"):
        proportion.assert_linear(work, 100)
