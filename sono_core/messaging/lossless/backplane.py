"""What keeps the streams, presence and sessions of all nodes, and carries entries between them.

A node is a process that serves clients. With one node the backplane is a part of it (`memory`);
several share one. Nothing here waits: an operation returns a `Receipt`, which is done later, maybe
at once, in the thread that made the call.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any, Generic, NamedTuple, TypeVar

import msgspec

from sono_core.errors import LocalProtocolError, SonoError
from sono_core.quoting import Discreet

from .history import History
from .positions import Position
from .streams import Batch, Entry, Page

T = TypeVar("T")


class BackplaneError(SonoError):
    """The backplane did not do it, or it is not known whether it did; later it may."""

    temporary = True


class Fenced(BackplaneError):  # noqa: N818 - a refusal
    """Nothing was done: the session goes on elsewhere, under a higher generation."""

    temporary = False


class Origin(NamedTuple):
    """Whose publication it is."""

    session: str = ""
    """Who said it; what it said before it went on elsewhere comes too late. Empty: it cannot go."""
    generation: int = 1
    """Grows by one whenever another node claims the session."""
    author: bytes = b""
    """By which `Backplane.erase` finds it again; empty: it does not."""


class Receipt(Generic[T]):
    """Stands for the result of an operation that is done later."""

    __slots__ = ("_callbacks", "_done", "_error", "_value")

    def __init__(self) -> None:
        self._done = False
        self._value: T | None = None
        self._error: SonoError | None = None
        self._callbacks: list[Callable[[Receipt[T]], object]] = []

    @classmethod
    def of(cls, value: T) -> "Receipt[T]":
        """One that is done."""
        receipt = cls.__new__(cls)  # it needs no list of callbacks
        receipt._done, receipt._value, receipt._error = True, value, None
        return receipt

    @property
    def done(self) -> bool:
        """Whether the operation has succeeded or failed."""
        return self._done

    @property
    def error(self) -> SonoError | None:
        """Why it failed; None if it did not, or is not done."""
        return self._error

    @property
    def value(self) -> T:
        """The result.

        Raises:
            SonoError: the operation failed.
            LocalProtocolError: it is not done.
        """
        if not self._done:
            raise LocalProtocolError("the operation is not done yet")
        if self._error is not None:
            raise self._error
        return self._value  # type: ignore[return-value]

    def then(self, callback: Callable[["Receipt[T]"], object]) -> None:
        """Call this with the receipt when it is done; at once if it is."""
        if self._done:
            callback(self)
        else:
            self._callbacks.append(callback)

    def complete(self, value: T) -> None:
        """For whoever does the operation: it succeeded. What comes second changes nothing."""
        self._finish(value, None)

    def fail(self, error: SonoError) -> None:
        """For whoever does the operation: it failed. What comes second changes nothing."""
        self._finish(None, error)

    def settle(self, other: "Receipt[T]") -> None:
        """For whoever has it done by another operation: it ended like that one."""
        self._finish(other._value, other._error)

    def _finish(self, value: T | None, error: SonoError | None) -> None:
        if self._done:
            return
        self._done, self._value, self._error = True, value, error
        callbacks, self._callbacks = self._callbacks, []
        if callbacks:
            call_each((callback, self) for callback in callbacks)


def call_each(calls: Iterable[tuple[Callable[[Any], object], Any]]) -> None:
    """Make calls with one argument each, all of them, although some fail.

    Raises:
        Exception: what the first one raised that failed.
    """
    failure: Exception | None = None
    for call, argument in calls:
        try:
            call(argument)
        except Exception as error:
            failure = failure or error
    if failure is not None:
        raise failure


class Roster(Discreet, frozen=True):
    """Who is present in a stream's channel."""

    version: Position
    """Grows by one with each change; another epoch is another roster."""
    members: Mapping[str, Any]
    """Public data by id, in the order of their coming."""

    def shown(self) -> Iterable[tuple[str, object]]:
        """See `Discreet`."""
        yield from (("version", self.version), ("count", len(self.members)))


class Change(Discreet, frozen=True):
    """Who came, changed or went since the version before."""

    version: Position
    member: str
    data: Any
    """Its public data; of no meaning if it went."""
    present: bool
    """False: it went."""
    count: int
    """Of all members."""

    def shown(self) -> Iterable[tuple[str, object]]:
        """See `Discreet`."""
        yield from (("version", self.version), ("member", self.member), ("present", self.present))


class Top(msgspec.Struct, frozen=True):
    """How far a stream is."""

    at: Position
    """Of its last entry."""
    roster: Position | None = None
    """The version of its roster; None if nobody was ever there."""


class SavedSession(Discreet, frozen=True):
    """What a session was saved as."""

    id: str
    record: bytes
    generation: int = 1
    owner: str = ""
    """The node that has it; if it has just been claimed, the one that had it. Empty: none."""


def _nobody() -> None:
    """Nobody follows streams."""


class Backplane(ABC):
    """Keeps streams, rosters and sessions.

    Every receipt is done in the end; if the operation failed, or nobody knows whether it did, with
    `BackplaneError`. An operation sees what was done before it was called. What one node publishes
    in one stream is published in the order of its calls, whenever their receipts are done: clients
    are promised the order in which they said something.

    Offsets never go back within an epoch: an implementation that may lose what it had, by a restart
    or a fail-over, begins a new epoch then.

    Streams are made when they are first named; `positions` says how they are called. Everything is
    bounded: what is kept of a stream by its history, the rest by the implementation.

    What is told live (to `on_entry`, `on_change`, `on_volatile`) may come twice, late, in another
    order, or never: a `Feed` sees to that.
    """

    suspected: Callable[[], object] = staticmethod(_nobody)
    """Set by whoever follows streams, to be called when something live may have been lost: it
    compares them with `tops` at once, and not when it would have done so anyway."""
    shared: bool = False
    """Whether several nodes have it, so that clients may be elsewhere."""
    interval: float = math.inf
    """Seconds after which `tick` is to be called again."""
    node: str = ""
    """How this node is called among those that share it, from `start` on."""

    # -- its life ---------------------------------------------------------------------------------

    def start(self) -> None:  # noqa: B027 - what is in this process has nothing to do here
        """Begin to do what is asked, and may have been asked already. Nothing happens if it has
        begun."""

    def close(self) -> None:  # noqa: B027
        """Do no more; what is asked from now on fails, until `start`."""

    def tick(self) -> None:  # noqa: B027
        """Look after itself."""

    @property
    def ready(self) -> bool:
        """Whether it does what is asked, and tells what is published."""
        return True

    @property
    def held(self) -> int:
        """Bytes of this process's memory that it takes."""
        return 0

    @abstractmethod
    def alive(self, node: str) -> Receipt[bool]:
        """Whether another node has said lately that it is there."""

    # -- streams --------------------------------------------------------------------------------

    @abstractmethod
    def publish(
        self,
        stream: str,
        body: Any,
        size: int,
        history: History,
        key: str | None = None,
        origin: Origin | None = None,
    ) -> Receipt[Position]:
        """Append to a stream, keep it as the history says, and tell all that follow the stream.

        Args:
            body: is not changed any more. An implementation may say what it can carry.
            size: bytes of the body.
            key: of the publication, such as its sender's session and number. Within five minutes,
                and the stream's last 1,024 publications with a key, what has the same key is not
                published again, and its receipt gives the same position.
            origin: if this stream has seen a higher generation of its session within ten minutes,
                and among the last 1,024 sessions with one above 1, it fails with `Fenced`.
        """

    @abstractmethod
    def send(
        self,
        stream: str,
        body: Any,
        size: int,
        history: History,
        key: str | None = None,
        origin: Origin | None = None,
    ) -> Receipt[Position | None]:
        """As `publish`, if there is such a stream; None: there is none, and nothing happened."""

    @abstractmethod
    def tell(self, stream: str, body: Any) -> Receipt[None]:
        """Tell all that follow a stream something volatile: it has no position, and is not kept."""

    @abstractmethod
    def read(self, stream: str, after: Position, limit: int | None = None) -> Receipt[Batch]:
        """Get the entries after a position, or why some cannot be had.

        Args:
            limit: bytes of the entries; one is always there if there are any. None: all of them.
        """

    @abstractmethod
    def page(self, stream: str, before: Position | None, count: int) -> Receipt[Page]:
        """Get the last entries before a position, at most `count`; None: before none."""

    @abstractmethod
    def subscribe(
        self,
        stream: str,
        on_entry: Callable[[Entry], object],
        *,
        on_change: Callable[[Change], object] | None = None,
        on_volatile: Callable[[Any], object] | None = None,
    ) -> Receipt[Position]:
        """Follow a stream: be told its entries, changes of its roster, and what is volatile.

        The stream is not freed meanwhile. The same `on_entry` again replaces what there was.

        Returns:
            A position after which every entry is told; what is published on this node after the
            call is behind it. Entries may be told before the receipt is done.
        """

    @abstractmethod
    def unsubscribe(self, stream: str, on_entry: Callable[[Entry], object]) -> Receipt[None]:
        """Follow a stream no longer. What is under way may still be told."""

    @abstractmethod
    def tops(self, streams: Sequence[str]) -> Receipt[dict[str, Top]]:
        """How far those of the streams are that there are.

        A node asks at least every 10 s about the streams that it follows, as nothing else shows
        that the last entry of one was lost on its way.
        """

    @abstractmethod
    def fence(self, stream: str, session: str, generation: int) -> Receipt[Position]:
        """Refuse from now on what a session says in a stream under a lower generation; see
        `publish`.

        Returns:
            The stream's last position.
        """

    @abstractmethod
    def free(self, stream: str) -> Receipt[bool]:
        """Forget a stream, behind what was published in it here before, unless somebody follows it.
        If it is named again, it has a new epoch.

        Returns:
            Whether it is forgotten.
        """

    @abstractmethod
    def erase(self, author: bytes) -> Receipt[int]:
        """Let go all entries of an author in all streams, for good. Whoever reads there is told
        that they are missing.

        Returns:
            How many they were.
        """

    # -- presence -------------------------------------------------------------------------------

    @abstractmethod
    def enter(
        self, stream: str, member: str, data: Any, size: int, *, keep: bool = False
    ) -> Receipt[Position]:
        """Be present in a stream's channel, or change one's public data there. Who comes and goes
        on one node does so in the order of the calls.

        Args:
            data: is not changed any more; as the body in `publish`.
            size: bytes of the data.
            keep: whether data that it has there already stays, from another node perhaps.

        Returns:
            The roster's version since.
        """

    @abstractmethod
    def exit(self, stream: str, member: str) -> Receipt[Position | None]:
        """Be present no longer. Nothing happens if the member is not there.

        Returns:
            The roster's version since; None if there is no roster any more.
        """

    def release(self, stream: str, member: str) -> None:
        """Be no longer responsible for who is present: it is about to enter on another node. If it
        does not, it is gone in a while."""
        self.exit(stream, member)

    @abstractmethod
    def members(self, stream: str) -> Receipt[Roster]:
        """Who is present."""

    def announce(self, stream: str, listed: bool) -> None:  # noqa: B027 - nobody else would ask
        """Say whether clients of other nodes may be told of the channel of a stream in which
        somebody of this node is present."""

    def announced(self) -> Receipt[Collection[str]]:
        """Streams of channels, in which somebody is present on any node, that clients may be told
        of. A backplane of one node need not know them."""
        return Receipt.of(())

    # -- sessions -------------------------------------------------------------------------------

    @abstractmethod
    def save_session(
        self,
        session: str,
        record: bytes,
        keys: Sequence[str],
        age: float,
        *,
        owner: str = "",
        generation: int = 1,
    ) -> Receipt[None]:
        """Save a session instead of what was saved of it before.

        It fails with `Fenced` if what was saved has a higher generation. What is saved of one
        session is saved in the order of the calls.

        Args:
            session: its public id.
            record: says all about it, to whoever saved it.
            keys: with which it can be loaded. They may be read by whoever looks into the backplane:
                give digests of what clients know.
            age: seconds for which it is saved.
            owner: the node that has it; empty: none.
        """

    @abstractmethod
    def load_session(self, session: str, key: str) -> Receipt[SavedSession | None]:
        """What a session was saved as, if it was with that key; None if it was not, or is gone."""

    @abstractmethod
    def claim_session(self, session: str, key: str, owner: str) -> Receipt[SavedSession | None]:
        """The same; from now on it has the next generation and that owner.

        Returns:
            It, with the new generation and the former owner.
        """

    @abstractmethod
    def drop_session(self, session: str, generation: int) -> Receipt[bool]:
        """Forget a session, unless it was saved or claimed with a higher generation.

        Returns:
            Whether it is forgotten, or was.
        """
