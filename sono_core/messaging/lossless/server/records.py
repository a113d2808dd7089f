"""What a session is saved as in a shared backplane, so that it can go on at another node.

The backplane sees digests of the session's keys and of who it belongs to, and never these
themselves: whoever reads it can open nothing.
"""

from collections import OrderedDict
from collections.abc import Callable, Sequence

import msgspec

from sono_core.messaging.lossless import Backplane, Receipt

from .identities import Written, written
from .sessions import Session, digest

VERSION = 1
"""Of records. A session that another version has saved is as one that is gone."""
REFRESH = 3600.0
"""Seconds after which a session with a connection is saved again: it would be let go else."""

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
    """Numbers that were accepted and had no result yet."""

    def session(self, id: str, generation: int) -> Session:
        """It, as another node goes on with it."""
        session = Session(id, "", Written(self.identity))
        session.secrets(self.present, self.former)
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
        describe: says in which channels it is (the current one first), and which it watches.
        clock: the time, in seconds.
    """

    def __init__(
        self,
        backplane: Backplane,
        age: float,
        describe: Callable[[Session], tuple[list[str], list[str]]],
        clock: Callable[[], float],
    ) -> None:
        self._backplane = backplane
        self._age = age
        self._describe = describe
        self._clock = clock
        self._saved: OrderedDict[str, float] = OrderedDict()  # when, with connections

    def save(self, session: Session, *, free: bool = False) -> Receipt[None] | None:
        """Save one as it is now.

        Args:
            free: no node has it any more.

        Returns:
            None if nobody can tell elsewhere whose it is: it stays on this node.
        """
        identity = written(session.identity)
        if identity is None:
            return None
        (channel, *joined), watched = self._describe(session)
        present, former = session.digests
        record = Record(
            present,
            former,
            identity,
            session.accepted,
            session.charged,
            session.joined,
            channel,
            joined,
            watched,
            sorted(session.owed or ()),
        )
        return self.put(session, record, free=free)

    def put(self, session: Session, record: Record, *, free: bool) -> Receipt[None]:
        """The same, as it was saved before."""
        age = self._age
        self._saved.pop(session.id, None)
        if not free and (session.attached is not None or session.opening is not None):
            age += 2 * REFRESH
            self._saved[session.id] = self._clock()
        keys = [key.hex() for key in (record.present, record.former) if key]
        owner = "" if free else self._backplane.node
        content = _write((VERSION, record))
        return self._backplane.save_session(
            session.id, content, keys, age, owner=owner, generation=session.generation
        )

    def drop(self, session: Session) -> None:
        """It has ended."""
        self.forget(session.id)
        self._backplane.drop_session(session.id, session.generation)

    def forget(self, session: str) -> None:
        """It is saved here no more."""
        self._saved.pop(session, None)

    @property
    def deadline(self) -> float | None:
        """When some are due; None: never."""
        return next(iter(self._saved.values())) + REFRESH if self._saved else None

    def due(self, now: float) -> Sequence[str]:
        """Those that are to be saved again."""
        found = []
        for id, at in self._saved.items():
            if at + REFRESH > now:
                break
            found.append(id)
        return found


def key_of(secret: str) -> str:
    """With what a session can be loaded."""
    return digest(secret).hex()
