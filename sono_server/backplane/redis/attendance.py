"""Who is present by this node's word, and how long that holds without another word of it.

A node renews its lease every second, with the broker's clock. Those of a node whose lease has ended
are announced as gone by another one. A node that finds that it has lost its lease, or whose word
has not reached the broker, says all of it again under another name, so that nobody takes those for
gone whom it names anew.
"""

import secrets
from collections.abc import Callable, Collection, Sequence
from functools import partial
from typing import Any, Protocol

from sono_core.messaging.lossless import Position, Receipt
from sono_server.backplane.errors import CrowdedError
from sono_server.serving import logger

from . import scripts, wire
from .keys import Keys
from .scripts import Script

LEASE = 8.0
"""Seconds after which a node that has not renewed its lease counts as crashed."""
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
        self._listed: dict[str, bool] = {}  # whether clients are told of the channels of these
        self._owed: dict[tuple[str, str], None] = {}  # members of which the broker may not know
        self._owed_notes: dict[str, None] = {}  # likewise streams
        self._renewing = False
        self._renewals = 0

    # -- what this node says ----------------------------------------------------------------------

    def enter(
        self, receipt: Receipt[Position], stream: str, member: str, content: bytes, size: int
    ) -> Receipt[Position]:
        """A member is present. The receipt gets the roster's version."""
        members = self._streams.setdefault(stream, {})
        begins = not members
        members[member] = content, size
        if not self.name:
            self.renew()
        if begins:
            self._note(stream)
        return self._enter(receipt, stream, member)

    def exit(
        self, receipt: Receipt[Position | None], stream: str, member: str
    ) -> Receipt[Position | None]:
        """It is present no longer."""
        members = self._streams.get(stream, {})
        members.pop(member, None)
        self._exit(receipt, stream, member)
        if not members and self._streams.pop(stream, None) is not None:
            self._listed.pop(stream, None)
            self._note(stream)
        return receipt

    def announce(self, stream: str, listed: bool) -> None:
        """Whether clients may be told of the channel of a stream in which somebody is present."""
        if stream in self._streams and self._listed.get(stream, False) != listed:
            self._listed[stream] = listed
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
                (name.decode(), None)
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

    def _enter(self, receipt: Receipt[Position], stream: str, member: str) -> Receipt[Position]:
        content, size = self._streams[stream][member]
        arguments = (member, self.name, content, _MEMBER + size, self._room)
        return self._say(
            receipt,
            wire.replied_position,
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
        receipt.then(partial(self._said, stream, member))
        keys, channel = self._keys.of_stream(stream), self._keys.channel(stream)
        return self._put(receipt, read, script, keys, *arguments, channel=channel, size=size)

    def _said(self, stream: str, member: str, receipt: Receipt[Any]) -> None:
        if isinstance(receipt.error, CrowdedError):
            self._streams.get(stream, {}).pop(member, None)
        elif receipt.error is not None:
            self._owed[stream, member] = None

    def _note(self, stream: str) -> None:
        """Say that somebody is present in a stream, or nobody any more."""
        own = (self._keys.node(self.name),)
        if stream in self._streams:
            listed = int(self._listed.get(stream, False))
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
            Receipt(), wire.as_is, scripts.LEASE, keys, self.name, length, int(begins)
        )
        lease.then(partial(self._renewed, self.name))
        if begins:
            self._say_all()

    def _renewed(self, name: str, receipt: Receipt[tuple[int, list[bytes]]]) -> None:
        if name != self.name:
            return  # it was lost, or this node has ended
        self._renewing = False
        if receipt.error is not None:
            return
        valid, crashed = receipt.value
        if not valid:
            logger.error("backplane: other nodes took this one for crashed, as it was silent")
            self.lost()
            return
        self._say_what_is_owed()
        self._renewals += 1
        if self._renewals % _TOUCH == 0:
            self._noted(self.name)
        for one in crashed:
            self._reap(one.decode())

    def lost(self) -> None:
        """Nobody holds what was said for true any more."""
        self.name, self._renewing = "", False
        self.renew()

    def leave(self) -> None:
        """This node ends. What it has not taken back lasts as long as its lease."""
        if self.name and not self._streams:
            self._put(Receipt(), wire.nothing, scripts.BURY, (self._keys.nodes,), self.name)
        self.name, self._renewing = "", False

    def _say_all(self) -> None:
        self._owed.clear()
        self._owed_notes.clear()
        for stream, members in self._streams.items():
            self._note(stream)
            for member in members:
                self._enter(Receipt(), stream, member)

    def _say_what_is_owed(self) -> None:
        owed, self._owed = self._owed, {}
        for stream, member in owed:
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
        streams = [stream.decode() for stream in receipt.value[::2]]
        under_way = 0

        def go_on() -> None:
            nonlocal under_way
            while streams and under_way < _AT_ONCE:
                under_way += 1
                reap(streams.pop())
            if not under_way:
                self._put(Receipt(), wire.nothing, scripts.DROP, (self._keys.node(name),))
                self._put(Receipt(), wire.nothing, scripts.BURY, (self._keys.nodes,), name)

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
