"""origin.py: whose pages may connect."""

import pytest

from sono_core.websocket.origin import origin_allowed


@pytest.mark.parametrize(
    ("origin", "host", "allowed"),
    [
        (None, "a", True),
        ("http://a", "a", True),
        ("https://a:444", "a:444", True),
        ("null", "a", False),
        ("http://[a", "a", False),
        ("http://a:x", "a", False),
        ("http://a", "a:81", False),
    ],
)
def test_origins(origin: str | None, host: str, allowed: bool) -> None:
    assert origin_allowed(origin, host, ()) is allowed
    assert origin_allowed(origin, host, ["*"])
