"""What all dialects share: each encodes an event once."""

from __future__ import annotations

from typing import Any

import pytest

from sono_core.messaging import Deliver, Dialect, Publish
from sono_core.messaging.classic import CLASSIC


def dialect(name: str, encode: Any) -> Dialect:
    return Dialect(
        name=name,
        weigh=CLASSIC.weigh,
        parse=CLASSIC.parse,
        enters=CLASSIC.enters,
        said=CLASSIC.said,
        receive=CLASSIC.receive,
        encode=encode,
        error=CLASSIC.error,
    )


@pytest.mark.parametrize(
    "publication", [Publish("Home", "e", "p", "a", "b"), Deliver("b", "e", "p", None)]
)
def test_each_dialect_writes_an_event_once(publication: Publish | Deliver) -> None:
    calls: list[str] = []

    def encode_one(publication: Publish | Deliver) -> str:
        calls.append("one")
        return f"one {publication.event} {publication.payload} {publication.sender}"

    def encode_other(publication: Publish | Deliver) -> bytes:
        calls.append("other")
        return b""  # which counts as an encoding, too

    one, other = dialect("one", encode_one), dialect("other", encode_other)
    for _ in range(3):
        assert one.written(publication) == f"one e p {publication.sender}"
        assert other.written(publication) == b""
    assert calls == ["one", "other"]


def test_what_could_not_be_written_is_tried_again() -> None:
    results: list[Any] = [TypeError("not yet"), "written"]

    def encode(publication: Publish | Deliver) -> str:
        result = results.pop(0)
        if isinstance(result, Exception):
            raise result
        return str(result)

    one, publication = dialect("one", encode), Publish(None, "e", "p", None)
    with pytest.raises(TypeError, match="not yet"):
        one.written(publication)
    assert one.written(publication) == "written"


def test_dialects_are_told_apart_by_what_they_are() -> None:
    assert dialect("x", CLASSIC.encode) != dialect("x", CLASSIC.encode)
    assert {CLASSIC: 1}[CLASSIC] == 1


def test_a_dialect_need_not_say_what_is_for_the_current_channel() -> None:
    assert dialect("one", lambda publication: "").publishes("a packet") is False
