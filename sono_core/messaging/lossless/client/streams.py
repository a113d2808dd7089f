"""The streams that a client follows: how they begin, go on and end. docs/protocol.md, 2 and 5.6.

After a resume the streams come in any order. So a stream may go on, because the welcome named it,
before the session's own stream says where the membership began, or that it ended in between. The
own stream also is late while it is read again. Until it has certainly caught up, the positions of
streams that ended are kept: a membership that begins may be a former one, and no entry may be taken
again.
"""

from collections.abc import Callable, Iterable
from typing import NamedTuple

from sono_core.messaging.lossless import OWN, Position
from sono_core.messaging.lossless.packets import Begun, Read

from .cursor import Cursor, Verdict, first_missing, is_ahead, is_behind
from .told import Missed


class Streams:
    """A position in each stream.

    Args:
        limit: how many streams are followed at most.
        tell: tells the application a gap.
        read: sends a `read`, if there is a connection.
    """

    __slots__ = ("_asked", "_cursors", "_early", "_former", "_late", "_limit", "_read", "_tell")

    def __init__(
        self, limit: int, *, tell: Callable[[Missed], None], read: Callable[[Read], None]
    ) -> None:
        self._limit = limit
        self._tell = tell
        self._read = read
        self._cursors: dict[str, Cursor] = {}
        self._asked: dict[str, float] = {}  # when a `read` was sent, the oldest first
        self._former: dict[str, Cursor] = {}  # of those that ended, the oldest first
        self._early: dict[str, Position] = {}  # what was dropped last of streams yet to begin
        self._late = False  # whether the own stream may tell of what other streams are past

    def __contains__(self, stream: str) -> bool:
        return stream in self._cursors

    @property
    def positions(self) -> dict[str, Position]:
        """The position in each stream, in the order of their beginning."""
        return {stream: cursor.at for stream, cursor in self._cursors.items()}

    def take(self, stream: str, at: Position, now: float) -> Verdict:
        """What to do with an entry; the gap is told, and the `read` sent."""
        cursor = self._cursors.get(stream)
        if cursor is None:  # 2.11
            if stream in self._early or len(self._early) < self._limit:
                self._early[stream] = at
            return Verdict.DROP
        verdict = cursor.take(at)
        if verdict is Verdict.ASK:
            if stream not in self._asked:  # 2.6
                self._asked[stream] = now
                self._read(Read(stream, cursor.at))
        elif verdict is not Verdict.DROP:
            self._asked.pop(stream, None)
        if verdict is Verdict.NEW_LIFE:
            self._tell(Missed(stream, Position(at.epoch, at.offset - 1), None))
        return verdict

    @property
    def asked_at(self) -> float | None:
        """When the oldest `read` was sent that has brought nothing yet."""
        return next(iter(self._asked.values()), None)

    def skip(self, stream: str, at: Position) -> bool:
        """Move over a gap that the server tells; whether something is missing."""
        cursor = self._cursors.get(stream)
        if cursor is None or not is_ahead(cursor.at, at):
            return False
        self._jump(stream, cursor, at)
        return True

    def _jump(self, stream: str, cursor: Cursor, at: Position) -> None:
        self._tell(Missed(stream, at, first_missing(cursor.at, at)))
        cursor.at = at
        self._asked.pop(stream, None)

    def begin(self, begun: Begun, wanted: Position | None = None) -> bool:
        """Follow a stream; whether there is room for it.

        Args:
            begun: as a `join`, `move` or `joined` says.
            wanted: the position that the client asked for.
        """
        stream, at = begun.stream, begun.at
        if wanted is not None and begun.recovered:
            at = wanted
        cursor = self._cursors.get(stream)
        if cursor is not None:
            if self._complete(stream, cursor, at):
                self._read(Read(stream, cursor.at))
            return True
        if len(self._cursors) >= self._limit:
            return False
        if wanted is not None and wanted != at:
            self._tell(Missed(stream, at, first_missing(wanted, at)))
        came_before = False  # whether something can be read that came before the welcome
        former = self._former.pop(stream, None)
        if former is None or wanted is not None or is_behind(former.at, at):
            cursor = Cursor(at)
        else:  # it may be the later one, and its entries must not be taken again
            cursor = former
            # Of two epochs the server knows which is the later one, and tells the gap.
            came_before = self._complete(stream, cursor, at) or cursor.at.epoch != at.epoch
        self._cursors[stream] = cursor
        early = self._early.pop(stream, None)
        if came_before or (early is not None and is_ahead(cursor.at, early)):
            self._read(Read(stream, cursor.at))
        return True

    def _complete(self, stream: str, cursor: Cursor, at: Position) -> bool:
        """Account for what is between the begin of a membership and the welcome that named it.

        Returns:
            Whether it can be read still.
        """
        origin, cursor.origin = cursor.origin, None
        if origin is None or not is_ahead(at, origin):
            return False
        if cursor.at == origin and at.epoch == origin.epoch:
            cursor.at = at
            return True
        self._tell_late(cursor, Missed(stream, origin, first_missing(at, origin)))
        return False

    def _tell_late(self, cursor: Cursor, missed: Missed) -> None:
        """Tell a gap that is behind the position, unless one of unknown extent was told since."""
        if cursor.at.epoch == missed.at.epoch:
            self._tell(missed)

    def doubt(self) -> None:
        """What says where memberships began may be lost: what came before a welcome is, then."""
        for stream, cursor in self._cursors.items():
            if cursor.origin is not None:
                self._tell_late(cursor, Missed(stream, cursor.origin, None))
                cursor.origin = None

    def end(self, stream: str) -> bool:
        """Follow a stream no longer; whether it was followed."""
        cursor = self._cursors.pop(stream, None)
        if cursor is None:
            return False
        self._asked.pop(stream, None)
        if self._late:
            self._former.pop(stream, None)
            self._former[stream] = cursor
            if len(self._former) > self._limit:
                del self._former[next(iter(self._former))]
        return True

    def fall_behind(self) -> None:
        """The own stream may be late from now on."""
        self._late = True

    def catch_up(self) -> None:
        """It is late no longer."""
        self._late = False
        self._former.clear()

    def resume(self, streams: Iterable[Begun], *, resumed: bool) -> "Resumption":
        """Go on as a welcome says.

        Args:
            streams: those that the client has.
            resumed: whether the session lives; else its own stream is another one.
        """
        named = {begun.stream: begun for begun in streams}
        gone = [stream for stream in self._cursors if stream not in named]
        self._late = resumed
        for stream in gone:
            self.end(stream)
        if not resumed:
            self._cursors.pop(OWN, None)
            self._former.clear()
        self._asked.clear()  # who was asked is gone
        self._early.clear()
        began = []
        missed = []
        for stream, begun in named.items():
            cursor = self._cursors.get(stream)
            if cursor is not None:
                if not begun.recovered and begun.at != cursor.at:
                    self._jump(stream, cursor, begun.at)
                    missed.append(stream)
            elif len(self._cursors) < self._limit:
                former = self._former.pop(stream, None)
                self._cursors[stream] = former or Cursor(begun.at, late=resumed)
                if former is not None:
                    self._read(Read(stream, former.at))
                began.append(stream)
        return Resumption(began, missed, gone)


class Resumption(NamedTuple):
    """What a welcome has changed, by the names of streams."""

    began: list[str]
    missed: list[str]
    """Those in which entries are missing."""
    gone: list[str]
    """Those that were followed, and are not named."""
