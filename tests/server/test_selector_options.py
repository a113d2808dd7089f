"""Options that `serve` refuses."""

from __future__ import annotations

from typing import Any

import pytest

from sono_server import serve


@pytest.mark.parametrize(
    "options",
    [
        {"port": -1},
        {"port": 65536},
        {"max_connections": 0},
        {"drain": -0.1},
        {"drain": float("nan")},
        {"watchdog": 0},
        {"watchdog": float("inf")},
    ],
)
def test_arguments_out_of_range(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(options))):
        serve("127.0.0.1", **{"port": 0, **options})


@pytest.mark.parametrize("options", [{"close_code": 1000}, {"drain": -1}])
def test_options_that_are_out_of_range(options: Any) -> None:
    with pytest.raises(ValueError, match=next(iter(options))):
        serve(port=0, **options)


def test_origins_are_a_collection() -> None:
    with pytest.raises(TypeError, match="origins"):
        serve("127.0.0.1", 0, origins="https://example.com")
