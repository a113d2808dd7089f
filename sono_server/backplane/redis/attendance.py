"""Who is present by this node's word, and how long that holds without another word of it.

A node renews its lease every second, with the broker's clock. Those of a node whose lease has ended
are announced as gone by another one. A node that finds that it has lost its lease, or whose word
has not reached the broker, says all of it again under another name, so that nobody takes those for
gone whom it names anew.
"""

import secrets
from collections import deque
from collections.abc import Callable, Collection, Sequence
from functools import partial
from typing import Any, Protocol

from sono_core.messaging.lossless import Position, Receipt
from sono_server.backplane.errors import CrowdedError, UnusableError
from sono_server.serving import logger

from . import scripts, wire
from .keys import Keys
from .scripts import Script

LEASE = 8.0
"""Seconds after which a node that has not renewed its lease counts as crashed."""
RELEASED = 30
"""Renewals, of which there is one a second, after which somebody is gone whom another node was to
name."""
REAPED = 1000
"""Members that one script announces as gone."""
_MEMBER = 128  # bytes of memory that a member takes in the broker beside its data, about

_AT_ONCE = 256  # streams of a crashed node that are looked after at the same time
_TOUCH = 600  # renewals after which what is noted of a node is renewed, too


class Put(Protocol):
    """Has a script run; see `RedisBackplane`."""

    def __call__(
        self,
        receipt: Receipt[Any],
        read: Callable[[Any], Any],
        script: Script,
        keys: Sequence[str],
        *arguments: bytes | str | int,
        channel: str = "",
        size: int = 0,
        urgent: bool = False,
    ) -> Receipt[Any]: ...


class Attendance:
    """Says it to the broker.

    Args:
        put: has a script run.
        keys: of the deployment.
        room: bytes that the members of one roster may take.
    """

    def __init__(self, put: Put, keys: Keys, room: int) -> None:
        self.name: str = ""
        """Under which the broker knows what was said; another one after each loss."""
        self._put = put
        self._keys = keys
        self._room = room
        # Data and bytes of members, by stream and member.
        self._streams: dict[str, dict[str, tuple[bytes, int]]] = {}
        self._listed: dict[str, None] = {}  # clients may be told of the channels of these
        self._owed: dict[tuple[str, str], None] = {}  # members of which the broker may not know
        self._owed_notes: dict[str, None] = {}  # likewise streams
        self._unsure: dict[str, int] = {}  # how many of a stream are owed, or not confirmed yet
        self._leased = False  # whether the broker has ever confirmed the lease of that name
        self._renewing = False
        self._refused = False  # the lease, in a way that does not pass
        self._renewals = 0
        self._released: deque[tuple[int, str, str]] = deque()  # when they are gone, and who

    # -- what this node says ----------------------------------------------------------------------

    def enter(
        self,
        receipt: Receipt[Position],
        stream: str,
        member: str,
        content: bytes,
        size: int,
        *,
        keep: bool = False,
    ) -> Receipt[Position]:
        """A member is present. The receipt gets the roster's version.

        Args:
            keep: whether data that it has there already stays.
        """
        members = self._streams.setdefault(stream, {})
        begins = not members
        members[member] = content, size
        if not self.name:
            self.renew()
        if begins:
            self._note(stream)
        return self._enter(receipt, stream, member, keep=keep)

    def exit(
        self, receipt: Receipt[Position | None], stream: str, member: str
    ) -> Receipt[Position | None]:
        """It is present no longer."""
        members = self._streams.get(stream, {})
        members.pop(member, None)
        if not members:
            self._streams.pop(stream, None)
        self._exit(receipt, stream, member)
        return receipt

    def release(self, stream: str, member: str) -> None:
        """Another node is about to say that it is present; if none does, it is not, later."""
        members = self._streams.get(stream, {})
        if members.pop(member, None) is not None:
            self._released.append((self._renewals + RELEASED, stream, member))
            if not members:
                del self._streams[stream]

    def announce(self, stream: str, listed: bool) -> None:
        """Whether clients may be told of the channel of a stream when somebody is present there."""
        if (stream in self._listed) == listed:
            return
        if listed:
            self._listed[stream] = None
        else:
            del self._listed[stream]
        if stream in self._streams:
            self._note(stream)

    def announced(self) -> Receipt[Collection[str]]:
        """Streams of which clients may be told, of all nodes."""
        answer: Receipt[Collection[str]] = Receipt()
        found: dict[str, None] = {}
        missing = 0

        def noted(receipt: Receipt[list[bytes]]) -> None:
            nonlocal missing
            missing -= 1
            if receipt.error is not None:
                answer.fail(receipt.error)
                return
            names, flags = receipt.value[::2], receipt.value[1::2]
            found.update(
                (name.decode(errors="replace"), None)
                for name, flag in zip(names, flags, strict=True)
                if flag == b"1"
            )
            if not missing:
                answer.complete(found)

        def nodes(receipt: Receipt[list[bytes]]) -> None:
            nonlocal missing
            if receipt.error is not None:
                answer.fail(receipt.error)
                return
            missing = len(receipt.value)
            if not missing:
                answer.complete(found)
            for name in receipt.value:
                self._noted(name.decode()).then(noted)

        self._put(Receipt(), wire.as_is, scripts.NODES, (self._keys.nodes,)).then(nodes)
        return answer

    def _enter(
        self, receipt: Receipt[Position], stream: str, member: str, *, keep: bool = False
    ) -> Receipt[Position]:
        said = content, size = self._streams[stream][member]

        def entered(reply: Sequence[Any]) -> Position:
            members = self._streams.get(stream, {})
            if keep and members.get(member) is said:
                members[member] = reply[2], int(reply[3]) - _MEMBER
            return wire.replied_position(reply)

        arguments = (member, self.name, content, _MEMBER + size, self._room, int(keep))
        return self._say(
            receipt,
            entered,
            scripts.ENTER,
            stream,
            member,
            *arguments,
            size=len(content),
        )

    def _exit(self, receipt: Receipt[Position | None], stream: str, member: str) -> None:
        read = wire.replied_position_or_none
        self._say(receipt, read, scripts.EXIT, stream, member, member, self.name)

    def _say(
        self,
        receipt: Receipt[Any],
        read: Callable[[Any], Any],
        script: Script,
        stream: str,
        member: str,
        *arguments: bytes | str | int,
        size: int = 0,
    ) -> Receipt[Any]:
        self._unsure[stream] = self._unsure.get(stream, 0) + 1
        receipt.then(partial(self._said, self.name, stream, member))
        keys, channel = self._keys.of_stream(stream), self._keys.channel(stream)
        return self._put(receipt, read, script, keys, *arguments, channel=channel, size=size)

    def _said(self, name: str, stream: str, member: str, receipt: Receipt[Any]) -> None:
        if name != self.name:
            return  # all was said again meanwhile
        failed = receipt.error is not None and not isinstance(receipt.error, CrowdedError)
        if failed and (stream, member) not in self._owed:
            self._owed[stream, member] = None
            return
        self._unsure[stream] -= 1
        if not self._unsure[stream]:
            del self._unsure[stream]
            if stream not in self._streams:
                self._note(stream)

    def _note(self, stream: str) -> None:
        """Say that somebody is present in a stream, or nobody any more."""
        own = (self._keys.node(self.name),)
        if stream in self._streams:
            listed = int(stream in self._listed)
            noted = self._put(Receipt(), wire.nothing, scripts.NOTE, own, stream, listed)
        else:
            noted = self._put(Receipt(), wire.nothing, scripts.UNNOTE, own, stream)
        noted.then(lambda receipt: receipt.error and self._owed_notes.update({stream: None}))

    def _noted(self, name: str) -> Receipt[list[bytes]]:
        return self._put(Receipt(), wire.as_is, scripts.NOTED, (self._keys.node(name),))

    # -- its lease --------------------------------------------------------------------------------

    def renew(self) -> None:
        """Say that this node lives; call it every second."""
        if self._renewing:
            return
        self._renewing = True
        begins = not self.name
        if begins:
            self.name = secrets.token_urlsafe(9)
        keys, length = (self._keys.nodes,), round(LEASE * 1000)
        lease = self._put(
            Receipt(),
            wire.as_is,
            scripts.LEASE,
            keys,
            self.name,
            length,
            int(not self._leased),
            urgent=True,  # a node that has much to say is not silent
        )
        lease.then(partial(self._renewed, self.name))
        if begins:
            self._say_all()

    def _renewed(self, name: str, receipt: Receipt[tuple[int, list[bytes]]]) -> None:
        if name != self.name:
            return  # it was lost, or this node has ended
        self._renewing = False
        if (error := receipt.error) is not None:
            if isinstance(error, UnusableError) and not self._refused:
                self._refused = True
                text = "backplane: a node's lease is refused, and who is present is not known: %s"
                logger.error(text, error)
            return
        self._refused = False
        valid, crashed = receipt.value
        if not valid:
            logger.error("backplane: other nodes took this one for crashed, as it was silent")
            self.lost()
            return
        self._leased = True
        self._say_what_is_owed()
        self._renewals += 1
        while self._released and self._released[0][0] <= self._renewals:
            _, stream, member = self._released.popleft()
            if member not in self._streams.get(stream, {}):  # else it has come back here
                self._exit(Receipt(), stream, member)
        if self._renewals % _TOUCH == 0:
            self._noted(self.name)
        for one in crashed:
            self._reap(one.decode())

    def lost(self, *, other: bool = False) -> None:
        """Nobody holds what was said for true any more.

        Args:
            other: as the broker is another one, which has none of it.
        """
        if not self.name:
            return  # nothing was said
        if other:
            self._bury(self.name)
        self._forget()
        self.renew()

    def leave(self) -> None:
        """This node ends. What it has not taken back, for all it knows, lasts as long as its
        lease."""
        owed = self._streams or self._unsure or self._owed_notes or self._released
        if self.name and not owed:
            self._bury(self.name)
        self._forget()

    def _forget(self) -> None:
        self.name, self._renewing, self._leased = "", False, False

    def _bury(self, name: str) -> None:
        self._put(Receipt(), wire.nothing, scripts.REMOVE, (self._keys.node(name),))
        self._put(Receipt(), wire.nothing, scripts.BURY, (self._keys.nodes,), name)

    def _say_all(self) -> None:
        self._owed.clear()
        self._owed_notes.clear()
        self._unsure.clear()
        self._released.clear()
        for stream, members in self._streams.items():
            self._note(stream)
            for member in members:
                self._enter(Receipt(), stream, member)

    def _say_what_is_owed(self) -> None:
        owed, self._owed = self._owed, {}
        for stream, member in owed:
            self._unsure[stream] -= 1  # it is counted again
            if member in self._streams.get(stream, {}):
                self._enter(Receipt(), stream, member)
            else:
                self._exit(Receipt(), stream, member)
        notes, self._owed_notes = self._owed_notes, {}
        for stream in notes:
            self._note(stream)

    # -- what crashed nodes have left -------------------------------------------------------------

    def _reap(self, name: str) -> None:
        """Announce that the members of a crashed node are gone."""
        logger.warning("backplane: node %s has crashed, or is cut off", name)
        self._noted(name).then(partial(self._reap_streams, name))

    def _reap_streams(self, name: str, receipt: Receipt[list[bytes]]) -> None:
        if receipt.error is not None:
            return  # another node is asked to see to it
        streams = [stream.decode(errors="replace") for stream in receipt.value[::2]]
        under_way = 0

        def go_on() -> None:
            nonlocal under_way
            while streams and under_way < _AT_ONCE:
                under_way += 1
                reap(streams.pop())
            if not under_way:
                self._bury(name)

        def reap(stream: str) -> None:
            keys, channel = self._keys.of_stream(stream), self._keys.channel(stream)
            arguments = (name, REAPED)
            self._put(Receipt(), wire.as_is, scripts.REAP, keys, *arguments, channel=channel).then(
                partial(reaped, stream)
            )

        def reaped(stream: str, receipt: Receipt[int]) -> None:
            nonlocal under_way
            if receipt.error is not None:
                streams.clear()
                return  # so that it is never finished here
            under_way -= 1
            if receipt.value:
                streams.append(stream)
            go_on()

        go_on()
