"""What a session is saved as in a shared backplane, so that it can go on at another node.

The backplane sees digests of the session's keys and of who it belongs to, and never these
themselves: whoever reads it can open nothing.
"""

from collections import OrderedDict
from collections.abc import Callable

import msgspec

from sono_core.messaging.lossless import Backplane, Position, Receipt

from .identities import Written, written
from .sessions import Session, digest

NOWHERE = Position("-", 0)
"""Stands for a position that is not known, or will be."""
VERSION = 1
"""Of records. A session that another version has saved is as one that is gone."""
REFRESH = 3600.0
"""Seconds after which a session with a connection is saved again: it would be let go else."""

SOON = 60.0
"""Seconds after which one is saved again that got results: where these are kept no more, only what
was saved says which numbers were accepted."""
SHARE = 1 / 3
"""Of the history of its own stream: likewise, when so much has come."""

_write = msgspec.msgpack.Encoder().encode
_read_version = msgspec.msgpack.Decoder(tuple[int, msgspec.Raw]).decode


class Record(msgspec.Struct, frozen=True, array_like=True):
    """A session, but for its id, generation and owner, which the backplane knows."""

    present: bytes
    former: bytes
    """Digests of the secrets that open it; empty: there is none."""
    identity: bytes
    accepted: int
    charged: int
    wished: bool
    """See `Session.joined`."""
    channel: str
    """The current one."""
    joined: list[str]
    """The others."""
    watched: list[str]
    """Channels whose members it wants to know."""
    owed: list[int]
    """Those of the numbers up to that one that had no result yet."""
    at: Position | None
    """How far its stream was: results behind that may be of higher numbers. None: it had no
    connection, so that there are none."""
    other: bytes
    """Like `former`: see `Session.opens`."""

    def session(self, id: str, generation: int) -> Session:
        """It, as another node goes on with it."""
        session = Session(id, "", Written(self.identity))
        session.secrets(self.present, self.former, self.other)
        session.generation, session.accepted = generation, self.accepted
        session.charged, session.joined = self.charged, self.wished
        return session


_read = msgspec.msgpack.Decoder(Record).decode


def read(content: bytes) -> Record | None:
    """A record; None if this version cannot read it."""
    try:
        version, rest = _read_version(content)
        return _read(rest) if version == VERSION else None
    except (msgspec.DecodeError, ValueError, RecursionError):
        return None


class Records:
    """Saves the sessions of a node, and says when they are to be saved again.

    Args:
        backplane: keeps them.
        age: seconds for which a session without a connection is kept.
        describe: says in which channels it is (the current one first), which it watches, and how
            far its stream is.
        clock: the time, in seconds.
    """

    def __init__(
        self,
        backplane: Backplane,
        age: float,
        describe: Callable[[Session], tuple[list[str], list[str], Position]],
        clock: Callable[[], float],
    ) -> None:
        self._backplane = backplane
        self._age = age
        self._describe = describe
        self._clock = clock
        self._saved: OrderedDict[str, float] = OrderedDict()  # when, with connections
        self._noted: OrderedDict[str, float] = OrderedDict()  # since when they are to be saved soon

    def save(self, session: Session, *, free: bool = False) -> Receipt[None] | None:
        """Save one as it is now.

        Args:
            free: no node has it any more.

        Returns:
            None if nobody can tell elsewhere whose it is: it stays on this node.
        """
        try:
            identity = written(session.identity)
        except TypeError:
            session.unsaved = 0.0
            self.forget(session.id)
            return None
        (channel, *joined), watched, at = self._describe(session)
        present, former, other = session.digests
        # Whatever has no result the client may say again, unless it was told that it is accepted,
        # or one of a higher number has a result: numbers are given once.
        owed = session.owed or ()
        told = session.settled if session.opening is None else session.accepted
        accepted = max(told, session.answered, min(owed, default=session.accepted + 1) - 1)
        record = Record(
            present,
            former,
            identity,
            accepted,
            session.charged,
            session.joined,
            channel,
            joined,
            watched,
            [number for number in sorted(owed) if number <= accepted],
            None if free or not _is_connected(session) else at,
            other,
        )
        return self.put(session, record, free=free)

    def put(self, session: Session, record: Record, *, free: bool) -> Receipt[None]:
        """The same, as it was saved before."""
        age = self._age
        session.unsaved = 0.0
        self._noted.pop(session.id, None)
        self._saved.pop(session.id, None)
        if not free and _is_connected(session):
            age += 2 * REFRESH
            self._saved[session.id] = self._clock()
        keys = [key.hex() for key in (record.present, record.former, record.other) if key]
        owner = "" if free else self._backplane.node
        content = _write((VERSION, record))
        return self._backplane.save_session(
            session.id, content, keys, age, owner=owner, generation=session.generation
        )

    def note(self, session: Session, share: float) -> bool:
        """Something has come in its stream, which is that share of its history; whether it is to be
        saved now."""
        session.unsaved += share
        self._noted.setdefault(session.id, self._clock())
        return session.unsaved >= SHARE

    def drop(self, session: Session) -> Receipt[bool]:
        """It has ended; see `Backplane.drop_session`."""
        self.forget(session.id)
        return self._backplane.drop_session(session.id, session.generation)

    def forget(self, session: str) -> None:
        """It is saved here no more."""
        self._saved.pop(session, None)
        self._noted.pop(session, None)

    @property
    def deadline(self) -> float | None:
        """When some are due; None: never."""
        firsts = [
            next(iter(times.values())) + age
            for times, age in ((self._saved, REFRESH), (self._noted, SOON))
            if times
        ]
        return min(firsts, default=None)

    def due(self, now: float) -> list[str]:
        """Those that are to be saved again."""
        found: dict[str, None] = {}
        for times, age in ((self._saved, REFRESH), (self._noted, SOON)):
            for id, at in times.items():
                if at + age > now:
                    break
                found[id] = None
        return list(found)


def _is_connected(session: Session) -> bool:
    return session.attached is not None or session.opening is not None


def key_of(secret: str) -> str:
    """With what a session can be loaded."""
    return digest(secret).hex()
