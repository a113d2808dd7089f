"""masking.py: RFC 6455, section 5.3."""

from sono_core.websocket.masking import MaskingKeys


def test_masking_keys_are_taken_from_the_source_once_each() -> None:
    asked: list[int] = []

    def random(size: int) -> bytes:
        start = sum(asked)
        asked.append(size)
        return b"".join(n.to_bytes(4, "big") for n in range(start // 4, (start + size) // 4))

    keys = MaskingKeys(random)
    assert asked == []
    assert [int.from_bytes(keys(), "big") for _ in range(1000)] == list(range(1000))
    assert len(asked) < 10
