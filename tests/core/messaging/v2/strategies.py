"""Every packet of `sono.v2`, and every value that one may carry."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st
from msgspec import UNSET

from sono_core.messaging import RESERVED_EVENTS
from sono_core.messaging.lossless import MAX_NUMBER, Position, packets

_odd = st.sampled_from(["__proto__", "constructor", "$bytes", "type", "\u2028", '"', "\x00", "😀"])
texts = st.text(max_size=8) | _odd
_scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(1 << 63), (1 << 63) - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | texts
)


def _values(scalars: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.recursive(
        scalars,
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
        max_leaves=10,
    )


values = _values(_scalars)
"""What JSON can say."""
binary_values = _values(_scalars | st.binary(max_size=9))
"""What MessagePack can say beside it."""

names = st.text(
    st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]), min_size=1, max_size=8
) | st.sampled_from(["__proto__", "x" * 128, "sono.history"])
events = names.filter(lambda name: name not in RESERVED_EVENTS)
positions = st.builds(
    Position, st.text(min_size=1, max_size=64), st.integers(0, MAX_NUMBER) | st.just(MAX_NUMBER)
)
numbers = st.integers(1, MAX_NUMBER)
integers = st.integers(-(1 << 63), (1 << 63) - 1)
seconds = st.floats(0, 1e9, exclude_min=True)
failures = st.builds(packets.Failure, texts, texts, st.booleans())


def packets_with(values: st.SearchStrategy[Any]) -> tuple[list[st.SearchStrategy[Any]], ...]:
    """What clients say, and what servers say, with such payloads."""
    optional = st.none() | numbers
    at = st.none() | positions
    members = st.lists(st.tuples(texts, values), max_size=3)
    own: dict[str, Any] = {"stream": texts, "at": positions}
    client: dict[Any, dict[str, Any]] = {
        packets.Hello: {
            "token": st.none() | texts,
            "key": st.none() | texts,
            "streams": st.dictionaries(texts, positions, max_size=3),
            "channel": st.none() | names,
            "joined": st.lists(names, max_size=3),
        },
        packets.Join: {"seq": numbers, "channel": names, "at": at, "presence": st.booleans()},
        packets.Move: {"seq": numbers, "channel": names, "at": at},
        packets.Leave: {"seq": numbers, "channel": names},
        packets.Publish: {
            "channel": names,
            "event": events,
            "data": values,
            "seq": optional,
            "to_self": st.booleans(),
        },
        packets.Send: {"to": texts, "event": events, "data": values, "seq": optional},
        packets.Request: {
            "seq": numbers,
            "name": names,
            "data": values,
            "timeout": st.none() | seconds,
        },
        packets.Reply: {
            "seq": numbers,
            "re": integers,
            "data": st.just(UNSET) | values,
            "error": st.none() | failures,
        },
        packets.Present: {"seq": numbers, "channel": names, "data": values},
        packets.Read: {"stream": texts, "at": positions},
        packets.Token: {"token": texts},
        packets.Beat: {},
        packets.Bye: {},
    }
    server: dict[Any, dict[str, Any]] = {
        packets.Welcome: {
            "id": texts,
            "key": texts,
            "resumed": st.booleans(),
            "seq": integers,
            "channel": texts,
            "streams": st.lists(
                st.builds(packets.Begun, texts, positions, st.booleans()), max_size=3
            ),
            "denied": st.lists(st.builds(packets.Denied, texts, failures), max_size=3),
            "beat": seconds,
            "limits": st.dictionaries(texts, integers, max_size=3),
        },
        packets.Event: {
            "stream": texts,
            "event": texts,
            "data": values,
            "at": at,
            "sender": st.none() | texts,
        },
        packets.Skip: own,
        packets.Gap: own,
        packets.Result: {
            **own,
            "re": integers,
            "data": st.just(UNSET) | values,
            "published": at,
            "error": st.none() | failures,
        },
        packets.Asked: {**own, "id": integers, "name": texts, "data": values},
        packets.Joined: {
            **own,
            "channel": texts,
            "position": positions,
            "current": st.booleans(),
        },
        packets.Left: {**own, "channel": texts, "code": texts},
        packets.Members: {
            "channel": texts,
            "version": integers,
            "members": members,
            "count": integers,
        },
        packets.Presence: {
            "channel": texts,
            "version": integers,
            "count": integers,
            "entered": members,
            "gone": st.lists(texts, max_size=3),
        },
        packets.Ack: {"seq": integers},
        packets.Renew: {"seconds": seconds},
        packets.Beat: {},
        packets.Error: {"code": texts, "message": texts},
    }
    return tuple(
        [st.builds(kind, **fields) for kind, fields in side.items()] for side in (client, server)
    )


_client, _server = packets_with(values)
from_clients = st.one_of(_client)
from_servers = st.one_of(_server)
_client, _server = packets_with(binary_values)
binary_from_clients = st.one_of(_client)
binary_from_servers = st.one_of(_server)
