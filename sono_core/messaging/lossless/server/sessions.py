"""Sessions: what outlives a client's connection, and for how long. docs/protocol.md, section 5.

A session is *open* while a connection is attached to it, *suspended* after that connection was
lost, and then either opened again or ended.
"""

import enum
import hashlib
import hmac
from collections import OrderedDict
from collections.abc import Collection
from typing import Any

import msgspec

from sono_core.messaging.lossless import Position

from .identities import same

_SEPARATOR = "."  # in a key, between the session's id and the secret


class Numbering(enum.Enum):
    """What a packet's number says."""

    NEXT = enum.auto()
    REPEATED = enum.auto()
    LEAP = enum.auto()


class Session:
    """What is known of a client, with a connection or without.

    Args:
        id: public, unique, and without a dot.
        secret: at least 128 random bits as text.
        identity: the application's word for who it is; None is nobody.
        address: where its connection came from; sessions of one address are counted.
    """

    __slots__ = (
        "_former",
        "_other",
        "_secret",
        "accepted",
        "address",
        "answered",
        "at",
        "attached",
        "charged",
        "ends",
        "generation",
        "id",
        "identity",
        "joined",
        "opening",
        "owed",
        "settled",
        "suspended_at",
        "unsaved",
    )

    def __init__(self, id: str, secret: str, identity: Any = None, address: str = "") -> None:
        self.id: str = id
        self.identity: Any = identity
        self.ends: float | None = None
        """When the identity ends, by the node's clock; None: it does not."""
        self.address: str = address
        self.accepted: int = 0
        """The highest number of its packets that was accepted."""
        self.at: Position | None = None
        """Where its stream was when it came from elsewhere: `accepted` accounts for it so far."""
        self.joined: bool = False
        """Whether it ever became a member of a channel by its own wish."""
        self.attached: Any = None
        """Its connection, whatever stands for one; None while it is suspended."""
        self.opening: Any = None
        """A connection that it is being opened for."""
        self.settled: int = 0
        """The client knows that the numbers up to this one are accepted."""
        self.suspended_at: float | None = None
        self.charged: int = 0
        """Bytes that came for it alone, as far as its stream may keep them."""
        self.generation: int = 1
        """Grows whenever another node claims it."""
        self.owed: set[int] | None = None
        """Numbers that were accepted and have no result in its stream yet, where another node may
        go on."""
        self.answered: int = 0
        """Numbers up to this one are not said again there: it has its result, or memberships have
        changed since, so that they would be refused now that were carried out."""
        self.unsaved: float = 0.0
        """The share of its stream's history that has come since it was saved."""
        # Of secrets that another node has given there are digests alone, as bytes.
        self._secret: str | bytes = secret
        self._former: str | bytes = ""  # before, until a packet came under the present one
        self._other: bytes = b""  # likewise: another node gave it instead of the present one

    @property
    def key(self) -> str:
        """What opens the session again."""
        assert isinstance(self._secret, str)  # else it is `renew`ed first
        return f"{self.id}{_SEPARATOR}{self._secret}"

    @property
    def digests(self) -> tuple[bytes, bytes, bytes]:
        """Of the present, the former and the other secret; empty: there is none."""
        return _digested(self._secret), _digested(self._former), self._other

    def secrets(self, present: bytes, former: bytes, other: bytes) -> None:
        """Those that another node has given, as their digests."""
        self._secret, self._former, self._other = present, former, other

    def belongs_to(self, identity: Any) -> bool:
        """Whether that is the identity whose session it is, whenever it ends. 1 is not True."""
        return same(identity, self.identity)

    def opens(self, secret: str) -> bool:
        """Whether it is the session's secret, or the one before it whose successor may be lost, or
        may be another one that the client has of another node."""
        present, former = _is(secret, self._secret), _is(secret, self._former)
        other = bool(self._other) and _is(secret, self._other)
        return present or former or other  # in the same time, whichever it is

    def renew(self, used: str, secret: str) -> None:
        """Replace the secret after it was used, unless that was the former one: a retry gets the
        same new key, if this node knows it."""
        if not _is(used, self._former):
            self._former, self._secret, self._other = used, secret, b""
        elif isinstance(self._secret, bytes):  # whose client may have it
            self._other, self._secret = self._secret, secret

    def confirm(self) -> bool:
        """A packet came under the present key, so the client has it: retire the former. Whether
        there was one."""
        retires, self._former, self._other = bool(self._former), "", b""
        return retires

    def number(self, seq: int) -> Numbering:
        """What that number says; the next one is accepted by it."""
        if seq <= self.accepted:
            return Numbering.REPEATED
        if seq > self.accepted + 1:
            return Numbering.LEAP
        self.accepted = seq
        return Numbering.NEXT

    def __repr__(self) -> str:
        return f"<Session {self.id}>"  # and never the key


def digest(secret: str) -> bytes:
    """What other nodes are told of a secret."""
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).digest()


def _digested(kept: str | bytes) -> bytes:
    if isinstance(kept, bytes):
        return kept
    return digest(kept) if kept else b""


def _is(secret: str, kept: str | bytes) -> bool:
    """Whether a secret is the one that is kept, or whose digest is."""
    if isinstance(kept, bytes):
        return hmac.compare_digest(digest(secret), kept)
    given = secret.encode("utf-8", "surrogatepass")
    return hmac.compare_digest(given, kept.encode()) and kept != ""


def parts_of(key: str) -> tuple[str, str]:
    """The id of a session and the secret that a key is."""
    id, _, secret = key.partition(_SEPARATOR)
    return id, secret


class Bounds(msgspec.Struct, frozen=True, kw_only=True):
    """How many sessions without a connection are kept, and for how long."""

    age: float
    """Seconds."""
    count: int
    count_of_address: int
    size: int
    """Bytes of all of them."""


class _Addresses:
    """Ids of sessions by address. Most addresses have one, for which a dict would be large."""

    __slots__ = ("_ids",)

    def __init__(self) -> None:
        self._ids: dict[str, str | dict[str, None]] = {}

    def add(self, address: str, id: str) -> Collection[str]:
        """All of that address now, in the order in which they were added."""
        known = self._ids.get(address)
        if known is None:
            self._ids[address] = id
            return (id,)
        if isinstance(known, str):
            known = self._ids[address] = {known: None}
        known[id] = None
        return known

    def remove(self, address: str, id: str) -> None:
        """One that is there."""
        known = self._ids[address]
        if isinstance(known, str) or len(known) == 1:
            del self._ids[address]
        else:
            del known[id]


class Sessions:
    """All sessions of a server; those without a connection within bounds.

    Beyond a bound, anonymous sessions that never joined a channel go first, then those that were
    suspended first. They are forgotten at once, and returned, so that the owner tidies up.
    """

    def __init__(self, bounds: Bounds) -> None:
        self._bounds = bounds
        self._sessions: dict[str, Session] = {}
        # Suspended ones in the order of their suspension, with the bytes that each holds.
        self._strangers: OrderedDict[str, int] = OrderedDict()
        self._others: OrderedDict[str, int] = OrderedDict()
        self._held = 0
        self._addresses = _Addresses()

    def __len__(self) -> int:
        return len(self._sessions)

    def __contains__(self, id: object) -> bool:
        return id in self._sessions

    def has(self, session: Session) -> bool:
        """Whether it is one of them, and not another one of that id."""
        return self._sessions.get(session.id) is session

    def __getitem__(self, id: str) -> Session:
        return self._sessions[id]

    def all(self) -> list[Session]:
        """All of them, whether they have connections or not."""
        return list(self._sessions.values())

    @property
    def suspended(self) -> int:
        """How many have no connection."""
        return len(self._strangers) + len(self._others)

    @property
    def held(self) -> int:
        """Bytes that those hold."""
        return self._held

    def add(self, session: Session) -> None:
        """Take a new session, which has a connection.

        Raises:
            ValueError: its id is taken.
        """
        if session.id in self._sessions:
            raise ValueError(f"session {session.id!r} already exists")
        self._sessions[session.id] = session

    def find(self, key: str) -> tuple[Session, str] | None:
        """The session that a key opens, and the secret in it; None if there is none."""
        id, secret = parts_of(key)
        session = self._sessions.get(id)
        return (session, secret) if session and session.opens(secret) else None

    def end(self, session: Session) -> None:
        """Forget a session; nothing happens if it is forgotten already."""
        if self._sessions.get(session.id) is session:
            self.open(session)
            del self._sessions[session.id]

    def open(self, session: Session) -> None:
        """A suspended session has a connection again; nothing happens if it had one."""
        session.suspended_at = None
        for kept in (self._strangers, self._others):
            size = kept.pop(session.id, None)
            if size is not None:
                self._held -= size
                self._addresses.remove(session.address, session.id)

    def suspend(self, session: Session, size: int, now: float) -> list[Session]:
        """A session has lost its connection.

        Args:
            size: bytes that it holds beside what came for it.

        Returns:
            Sessions that were too many; perhaps this one.
        """
        session.suspended_at = now
        size += session.charged
        stranger = session.identity is None and not session.joined
        (self._strangers if stranger else self._others)[session.id] = size
        self._held += size
        neighbours = self._addresses.add(session.address, session.id)
        ended = []
        if len(neighbours) > self._bounds.count_of_address:
            first = next((id for id in neighbours if id in self._strangers), next(iter(neighbours)))
            ended.append(self._ended(first))
        return ended + self._evicted()

    def charge(self, session: Session, size: int, most: int) -> list[Session]:
        """Bytes have come for a session; they count while it is suspended.

        Args:
            size: how many.
            most: how many its stream keeps at most; what came before goes then.

        Returns:
            As `suspend`.
        """
        size = min(size, most - session.charged)
        if size <= 0:
            return []
        session.charged += size
        if session.suspended_at is None:
            return []
        for kept in (self._strangers, self._others):
            if session.id in kept:
                kept[session.id] += size
                self._held += size
        return self._evicted()

    def expire(self, now: float) -> list[Session]:
        """Forget the sessions whose time is over, and return them."""
        ended = []
        while (deadline := self.deadline) is not None and deadline <= now:
            ended.append(self._ended(self._oldest.id))
        return ended

    @property
    def deadline(self) -> float | None:
        """When the next session's time is over; None if all have connections."""
        if not self.suspended:
            return None
        suspended_at = self._oldest.suspended_at
        assert suspended_at is not None
        return suspended_at + self._bounds.age

    @property
    def _oldest(self) -> Session:
        firsts = [
            self._sessions[next(iter(kept))] for kept in (self._strangers, self._others) if kept
        ]
        return firsts[0] if len(firsts) == 1 else min(firsts, key=_suspended_at)

    def _evicted(self) -> list[Session]:
        ended = []
        while self.suspended > self._bounds.count or self._held > self._bounds.size:
            ended.append(self._ended(next(iter(self._strangers or self._others))))
        return ended

    def _ended(self, id: str) -> Session:
        session = self._sessions[id]
        self.end(session)
        return session


def _suspended_at(session: Session) -> float:
    assert session.suspended_at is not None
    return session.suspended_at
