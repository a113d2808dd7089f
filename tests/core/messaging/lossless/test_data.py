"""A payload: what it may hold, its two forms, and that each is made once."""

from __future__ import annotations

import copy
import dataclasses
import datetime
import enum
import json
import pickle
import uuid
from base64 import b64decode
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sono_core import Limits, LocalProtocolError
from sono_core.messaging.classic import packets as classic
from sono_core.messaging.lossless import Data, data
from sono_core.native import scan_json, scan_msgpack

ANY = (1 << 63) - 1


def nested(depth: int, innermost: Any = 0) -> Any:
    for _ in range(depth):
        innermost = [innermost]
    return innermost


# -- its forms --------------------------------------------------------------------------------


def test_both_forms() -> None:
    made = Data.of({"a": [1, 2.5, None, "ü"]})
    assert made.json() == '{"a":[1,2.5,null,"ü"]}'.encode()
    assert msgspec.msgpack.decode(made.msgpack()) == {"a": [1, 2.5, None, "ü"]}
    assert made.value() == {"a": [1, 2.5, None, "ü"]}


def test_it_is_made_once_and_the_other_form_when_it_is_asked_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    calls: list[str] = []

    def counted(name: str, real: Any) -> Any:
        def call(value: Any) -> Any:
            calls.append(name)
            return real(value)

        return call

    for name in ("_write_json", "_write_msgpack", "_read_json", "_read_msgpack"):
        monkeypatch.setattr(data, name, counted(name, getattr(data, name)))
    made = Data.of([1])
    calls.clear()
    assert made.json() is made.json()
    assert calls == []
    assert made.msgpack() is made.msgpack()
    assert calls == ["_read_json", "_write_msgpack"]
    binary = Data.of([b"1"])
    calls.clear()
    assert binary.msgpack() is binary.msgpack()
    assert calls == []
    assert binary.json() is binary.json()
    assert calls == ["_read_msgpack", "_write_json"]


def test_binary_values_are_base64_in_json() -> None:
    made = Data.of({"a": b"\x00\xff", "b": [bytearray(b"x"), memoryview(b"yz")], "c": "d"})
    assert made.binary
    assert json.loads(made.json()) == {
        "a": {"$bytes": "AP8="},
        "b": [{"$bytes": "eA=="}, {"$bytes": "eXo="}],
        "c": "d",
    }
    assert made.value() == {"a": b"\x00\xff", "b": [b"x", b"yz"], "c": "d"}
    assert json.loads(Data.of(b"").json()) == {"$bytes": ""}


def test_what_looks_like_a_binary_value_in_json_is_none() -> None:
    made = Data.of({"$bytes": "eA=="})
    assert not made.binary
    assert made.value() == {"$bytes": "eA=="}
    assert msgspec.msgpack.decode(made.msgpack()) == {"$bytes": "eA=="}


def test_what_is_deepest_has_both_forms() -> None:
    for innermost in (b"x", 0):
        made = Data.of(nested(data.MAX_DEPTH, innermost))
        assert made.json()
        assert made.value() == msgspec.msgpack.decode(made.msgpack())


def test_each_value_is_a_new_object() -> None:
    for value in ([1], [b"1"]):
        made = Data.of(value)
        made.value().append(2)
        value.append(3)
        assert made.value() == value[:1]


def test_a_value_that_changes_later_is_not_seen() -> None:
    buffer = bytearray(b"a")
    made = Data.of([buffer])
    buffer[0] = 0
    assert made.value() == [b"a"]


# -- what it may be ---------------------------------------------------------------------------


class Colour(enum.Enum):
    RED = "red"


@dataclasses.dataclass
class Point:
    x: int
    y: Any = None


class Chat(msgspec.Struct):
    text: str
    image: Any = None


MOMENT = datetime.datetime(2026, 1, 2, tzinfo=datetime.timezone.utc)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ((1, (2,)), [1, [2]]),
        ({1}, [1]),
        (Colour.RED, "red"),
        (Point(1), {"x": 1, "y": None}),
        (Chat("a", b"b"), {"text": "a", "image": b"b"}),
        (MOMENT, "2026-01-02T00:00:00Z"),
        (uuid.UUID(int=0), "00000000-0000-0000-0000-000000000000"),
        ({1: 2, -1.5: 3, Colour.RED: 4}, {"1": 2, "-1.5": 3, "red": 4}),
        ({"__proto__": {"constructor": 1}}, {"__proto__": {"constructor": 1}}),
        ([(1 << 63) - 1, -(1 << 63), 1e300, -0.0], [(1 << 63) - 1, -(1 << 63), 1e300, -0.0]),
    ],
)
def test_it_is_whatever_msgspec_can_write_and_the_same_in_both_forms(
    value: object, expected: object
) -> None:
    made = Data.of(value)
    assert made.value() == expected
    assert msgspec.msgpack.decode(made.msgpack()) == expected
    if not made.binary:
        assert json.loads(made.json()) == expected


def test_a_payload_may_be_within_another() -> None:
    for inner in ({"a": 1}, [b"x"]):
        made = Data.of(inner)
        assert Data.of(made) is made
        outer = Data.of({"entries": [{"data": made}]})
        assert outer.value() == {"entries": [{"data": inner}]}
        assert outer.binary is made.binary


class Cyclic(list[Any]):
    def __init__(self) -> None:
        super().__init__()
        self.append(self)


@pytest.mark.parametrize(
    "value",
    [object(), [object()], {(1, 2): 3}, {None: 1}, Cyclic(), msgspec.UNSET, [msgspec.UNSET]],
)
def test_what_cannot_be_written_is_the_callers_mistake(value: object) -> None:
    with pytest.raises(TypeError, match=f"^data of type {type(value).__name__} cannot be written"):
        Data.of(value)


def test_a_buffer_in_pieces_cannot_be_written() -> None:
    with pytest.raises(TypeError, match="cannot be written"):
        Data.of([memoryview(b"abcd")[::2]])


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("\ud800", "data holds a lone surrogate"),
        ({"\udfff": b"x"}, "data holds a lone surrogate"),
        (float("nan"), "data holds NaN or an infinity"),
        ([1, {"a": float("-inf")}], "data holds NaN or an infinity"),
        ([b"x", float("nan")], "data holds NaN or an infinity"),
        (1 << 63, "data holds an integer that does not fit into 64 bits"),
        ([1 << 64], "data holds an integer that does not fit into 64 bits"),
        ({"a": -(1 << 63) - 1}, "data holds an integer that does not fit into 64 bits"),
        ([b"x", 1 << 63], "data holds an integer that does not fit into 64 bits"),
        (nested(data.MAX_DEPTH + 1), "data is nested deeper than 248 levels"),
        (nested(data.MAX_DEPTH + 1, b"x"), "data is nested deeper than 248 levels"),
    ],
)
def test_what_others_could_not_read_is_refused(value: object, text: str) -> None:
    with pytest.raises(LocalProtocolError, match=f"^{text}$"):
        Data.of(value)


# -- what is known of it ----------------------------------------------------------------------


def test_its_size_never_changes() -> None:
    for value in ({"a": "ü" * 100}, {"a": b"x" * 100}):
        made = Data.of(value)
        form = made.msgpack() if made.binary else made.json()
        assert made.size == len(form)
        made.json(), made.msgpack()
        assert made.size == len(form)


def test_a_repr_shows_nothing_of_the_content() -> None:
    assert repr(Data.of("secret")) == "Data(size=8, binary=False)"
    assert repr(Data.of(b"secret")) == "Data(size=8, binary=True)"


def test_two_are_equal_if_they_are_written_alike() -> None:
    assert Data.of((1, 2)) == Data.of([1, 2])
    assert hash(Data.of((1, 2))) == hash(Data.of([1, 2]))
    assert Data.of([1]) != Data.of([2])
    assert Data.of("a") != "a"
    # MessagePack of one and JSON of the other are the same two bytes.
    assert Data.of(b"").msgpack() == b"\xc4\x00"
    assert Data(b"22", 2, True) != Data(b"22", 2, False)


def test_it_is_not_changed() -> None:
    made = Data.of([1])
    for name in ("size", "cost", "binary", "other"):
        with pytest.raises(AttributeError):
            setattr(made, name, 1)


def test_it_can_be_copied_and_pickled() -> None:
    for value in ([1], [b"x"]):
        made = Data.of(value)
        for other in (copy.copy(made), copy.deepcopy(made), pickle.loads(pickle.dumps(made))):
            assert (other, other.cost, other.json()) == (made, made.cost, made.json())


# -- properties -------------------------------------------------------------------------------

scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(1 << 65), 1 << 65)
    | st.floats()
    | st.text(st.characters(), max_size=8)
    | st.binary(max_size=8)
)
anything = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text(max_size=4) | st.integers(0, 9), inner, max_size=4)
    ),
    max_leaves=12,
)


def as_written(value: Any) -> Any:
    """What comes back of it."""
    if isinstance(value, dict):
        return {str(key): as_written(item) for key, item in value.items()}
    return list(map(as_written, value)) if isinstance(value, list) else value


def without_base64(value: Any) -> Any:
    """The value that a text of JSON stands for; payloads here hold no such key otherwise."""
    if isinstance(value, dict):
        if set(value) == {data.BYTES}:
            return b64decode(value[data.BYTES], validate=True)
        return {key: without_base64(item) for key, item in value.items()}
    return list(map(without_base64, value)) if isinstance(value, list) else value


@given(anything)
def test_any_value_comes_back_or_is_refused(value: object) -> None:
    try:
        made = Data.of(value)
    except LocalProtocolError:
        with pytest.raises((LocalProtocolError, TypeError)):
            Data.of([value])
        return
    expected = as_written(value)
    assert made.value() == expected
    assert msgspec.msgpack.decode(made.msgpack()) == expected
    assert without_base64(json.loads(made.json())) == expected
    own = made.msgpack() if made.binary else made.json()
    found = scan_msgpack(own, ANY, ANY, True) if made.binary else scan_json(own.decode(), ANY, ANY)
    assert (made.size, made.cost) == (len(own), found)


def holds_binary(value: object) -> bool:
    if isinstance(value, dict):
        return any(map(holds_binary, value.values()))
    return any(map(holds_binary, value)) if isinstance(value, list) else isinstance(value, bytes)


@given(anything)
def test_it_refuses_what_the_classic_dialect_refuses(value: object) -> None:
    refused = None
    try:
        assert Data.of(value).binary is holds_binary(as_written(value))
    except LocalProtocolError as error:
        refused = error
    if not holds_binary(value):
        try:
            classic.dump(value, value, Limits())
        except LocalProtocolError:
            assert refused
        else:
            assert not refused
