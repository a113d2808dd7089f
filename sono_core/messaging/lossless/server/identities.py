"""Who a client is, and for how long. docs/protocol.md, clauses 5.10 and 5.17."""

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from heapq import heapify, heappop, heappush
from typing import Any

import msgspec

EXPIRES_AT = "expires_at"
"""What an identity may have, as an attribute or a key: when it ends, by the wall clock."""
ENDED = (4011, "the identity has ended")
_UNWRITABLE = TypeError, ValueError, OverflowError, RecursionError, msgspec.MsgspecError
_SHARE = 4  # of an identity's time: no earlier than in its last quarter is a token asked for
_SPARE = 64  # times that are kept although they count no more


class Written(msgspec.Struct, frozen=True):
    """An identity of which another node has saved no more than this."""

    digest: bytes


def same(one: Any, other: Any) -> bool:
    """Whether two identities are the same, whenever they end. 1 is not True."""
    if isinstance(other, Written):
        try:
            return written(one) == other.digest
        except TypeError:
            return False
    if type(one) is not type(other):
        return False
    return bool(one == other or _lasting(one) == _lasting(other))


def written(identity: Any) -> bytes:
    """What nodes call an identity among themselves, whenever it ends: 32 bytes, from which nobody
    finds out more. Those that are written alike are the same there.

    Raises:
        TypeError: it cannot be written.
    """
    if isinstance(identity, Written):
        return identity.digest
    parts = _parts(identity)
    if parts is not None:
        parts.pop(EXPIRES_AT, None)
    value = identity if parts is None else parts
    try:
        text = msgspec.json.encode(value, order="deterministic")
    except UnicodeEncodeError:  # lone surrogates, which Python's own module escapes
        plain = msgspec.to_builtins(value, str_keys=True)
        text = json.dumps(plain, sort_keys=True, ensure_ascii=True).encode()
    except _UNWRITABLE as error:
        raise TypeError(f"the identity cannot be written: {error}") from None
    kind = f"{type(identity).__module__}.{type(identity).__qualname__}"
    return hashlib.sha256(kind.encode() + b"\0" + text).digest()


def author_of(identity: Any) -> bytes:
    """What histories call whoever says something; empty: nobody, or one that cannot be written."""
    try:
        return b"" if identity is None else written(identity)
    except TypeError:
        return b""


def _parts(identity: Any) -> dict[str, Any] | None:
    """What an identity consists of, as far as it is compared; None if it has no parts."""
    if isinstance(identity, Mapping):
        return dict(identity)
    if isinstance(identity, msgspec.Struct):
        return {name: getattr(identity, name) for name in identity.__struct_fields__}
    if dataclasses.is_dataclass(identity):
        fields = dataclasses.fields(identity)
        return {field.name: getattr(identity, field.name) for field in fields if field.compare}
    return None


def _lasting(identity: Any) -> Any:
    """An identity without the time of its end."""
    parts = _parts(identity)
    if parts is None or EXPIRES_AT not in parts:
        return identity
    del parts[EXPIRES_AT]
    return parts


class Terms:
    """Until when those who are connected are who they are.

    Args:
        lead: seconds before the end at which a fresh token is asked for; less, if an identity
            lasts less than four times as long.
    """

    __slots__ = ("_due", "_ends", "_lead")

    def __init__(self, lead: float) -> None:
        self._lead = lead
        self._ends: dict[str, float] = {}
        self._due: list[tuple[float, str, float]] = []  # a heap: when to look, whose end, and that

    def begin(self, client: str, ends: float | None, now: float) -> None:
        """From now on a client's identity ends then; None: it does not end."""
        if ends is None:
            self._ends.pop(client, None)
        elif self._ends.get(client) != ends:
            self._ends[client] = ends
            heappush(self._due, (ends - min(self._lead, (ends - now) / _SHARE), client, ends))
            if len(self._due) > 2 * len(self._ends) + _SPARE:  # clients may renew without end
                self._due = [due for due in self._due if self._ends.get(due[1]) == due[2]]
                heapify(self._due)

    def forget(self, client: str) -> None:
        """It is not connected."""
        self._ends.pop(client, None)

    @property
    def deadline(self) -> float | None:
        """When `tick` may have something to do; None if no identity ends."""
        return self._due[0][0] if self._due else None

    def tick(self, now: float) -> list[tuple[str, float]]:
        """Clients that are to be asked for a token, with the seconds that they have; or 0, if it
        is over."""
        told = []
        while self._due and self._due[0][0] <= now:
            _, client, ends = heappop(self._due)
            if self._ends.get(client) != ends:
                continue
            if ends <= now:
                del self._ends[client]
            else:
                heappush(self._due, (ends, client, ends))
            told.append((client, max(0.0, ends - now)))
        return told
