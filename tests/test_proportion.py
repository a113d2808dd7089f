"""What tells linear work from quadratic work is not misled by noise."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests import proportion

Work = Callable[[int, int], Callable[[int], Callable[[], object]]]


@pytest.fixture
def spend(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Lets CPU time pass."""
    now = [0.0]

    def pass_by(seconds: float) -> None:
        now[0] += seconds

    monkeypatch.setattr(proportion.time, "thread_time", lambda: now[0])
    return pass_by


@pytest.fixture(params=[(1, 1), (10, 1), (10, 2)])
def work(request: pytest.FixtureRequest, spend: Callable[[float], None]) -> Work:
    """Makes work whose time is a power of its size, and which is slower for the first calls with
    one size."""
    times, first = request.param

    def of(power: int, late_size: int) -> Callable[[int], Callable[[], object]]:
        calls: list[int] = []

        def prepared(size: int) -> Callable[[], None]:
            def run() -> None:
                calls.append(size)
                late = size == late_size and calls.count(size) <= first
                spend(size**power * (times if late else 1))

            return run

        return prepared

    return of


def test_linear_work_passes_although_a_large_input_was_slow_at_first(work: Work) -> None:
    proportion.assert_linear(work(1, 1600), 100)


def test_quadratic_work_is_found_although_a_small_input_was_slow_at_first(work: Work) -> None:
    with pytest.raises(AssertionError, match="1600 takes"):
        proportion.assert_linear(work(2, 100), 100)
