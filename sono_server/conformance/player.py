"""Plays a transcript to a server or a client, and compares what it says. docs/transcripts.md.

What moves the bytes, and whose clock it is, is the business of whoever implements `Server` or
`Client`: connections in memory, or real ones.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sono_core.errors import SonoError

from . import matching
from .codec import with_bytes
from .matching import Mismatch
from .transcripts import DEFAULT_PROTOCOL, Step, Transcript, normal


@dataclass(frozen=True)
class Message:
    """A message of a connection, as JSON; binary data in it is `{"$bytes": BASE64}`.

    One that cannot be read so is a text, or `{"$bytes": BASE64}` as a whole.
    """

    content: Any


@dataclass(frozen=True)
class Closed:
    """The end of a connection: by the other side, or lost (1006)."""

    code: int
    reason: str = ""


class Failed(SonoError):  # noqa: N818 - what was tested has, and not the player
    """What was tested did something else than the transcript says."""


class Skipped(SonoError):  # noqa: N818 - no error
    """This transcript cannot be played here; the text says why."""


class Subject(ABC):
    """What is tested, as the player sees it. Names are those of connections."""

    @abstractmethod
    def say(self, name: str, message: Message) -> None:
        """Send it a packet."""

    @abstractmethod
    def say_raw(self, name: str, message: str | bytes) -> None:
        """Send it a message as it is."""

    @abstractmethod
    def heard(self, name: str, *, patient: bool) -> Message | Closed | None:
        """The next thing that it says there, or None.

        Args:
            patient: wait for it as long as it may take; otherwise until it is clear that nothing
                follows. In memory both are "until nothing moves any more".
        """

    @abstractmethod
    def close(self, name: str, code: int, reason: str) -> None:
        """Close a connection of its."""

    @abstractmethod
    def lose(self, name: str) -> None:
        """Lose a connection, without a word to it."""

    @abstractmethod
    def wait(self, seconds: float) -> None:
        """Let time pass.

        Raises:
            Skipped: that is too long.
        """


class Server(Subject):
    """A server that is tested. It runs the conformance application."""

    @abstractmethod
    def open(self, name: str, protocol: str | None) -> str | None:
        """Open a connection that offers this subprotocol; the one that was agreed on."""


class Client(Subject):
    """A client that is tested, with an application that does what it is told."""

    @abstractmethod
    def attempt(self, *, patient: bool) -> Sequence[str] | None:
        """The next attempt to connect, by the subprotocols that it offers; or None."""

    @abstractmethod
    def accept(self, name: str, protocol: str | None) -> None:
        """Let that attempt succeed, with this subprotocol."""

    @abstractmethod
    def refuse(self, name: str, status: int, headers: Mapping[str, str]) -> None:
        """Answer that attempt with an HTTP status."""

    @abstractmethod
    def do(self, word: str, name: str | None, arguments: Mapping[str, Any]) -> None:
        """Let the application say something; its outcome is told by that name."""

    @abstractmethod
    def told(self, *, patient: bool) -> tuple[str, Mapping[str, Any]] | None:
        """The next thing that the application was told, or None."""


def play(transcript: Transcript, subject: Server | Client, run: str = "run") -> None:
    """Play a transcript.

    Args:
        run: a word of letters and digits, different for each play on one server.

    Raises:
        Failed: the subject did something else.
        Skipped: it cannot be played here.
    """
    player = _Play(transcript, subject)
    for step in transcript.steps(run):
        try:
            player.step(step)
        except (Failed, Mismatch) as error:
            raise Failed(f"line {step.line}: {error}") from None
    try:
        player.finish()
    except Failed as error:
        raise Failed(f"at the end: {error}") from None


# Packets that come when a server or a client sees fit: they are compared only where a transcript
# expects one, and then the first that is as it says counts.
_FREE_PACKETS = frozenset(("ack", "beat"))
_FREE_TELLS = frozenset(("status", "members", "joined", "left"))

_Order = tuple[str, object]
"""What is in order with what else: entries of one stream, packets of one type, and so on."""


def _order_of_packet(side: str, packet: Any) -> _Order:
    if not isinstance(packet, dict):
        return "not a packet", None
    kind = str(packet.get("type"))
    if kind in _FREE_PACKETS:
        return kind, None
    if side == "client":
        return "packets", None
    if "at" in packet and isinstance(packet.get("stream"), str):
        return "stream", packet["stream"]
    return kind, None


def _order_of_tell(told: tuple[str, Any]) -> _Order:
    kind, what = told
    if kind in ("event", "gap"):
        return "stream", what.get("stream")
    return kind, what.get("of") if kind == "outcome" else None


@dataclass(frozen=True)
class _Unread:
    number: int
    """It came after those with lower numbers."""
    order: _Order
    content: Any


class _Queue:
    """What has come from one source and was not yet compared."""

    def __init__(self, free: frozenset[str]) -> None:
        self.unread: list[_Unread] = []
        self.ended: Closed | None = None
        self._free = free
        self._count = 0

    def add(self, order: _Order, content: Any) -> None:
        self._count += 1
        self.unread.append(_Unread(self._count, order, content))

    def of(self, order: _Order) -> Iterator[_Unread]:
        return iter([one for one in self.unread if one.order == order])

    def is_free(self, order: _Order) -> bool:
        return order[0] in self._free

    def left(self) -> list[Any]:
        """What nobody expected."""
        return [one.content for one in self.unread if not self.is_free(one.order)]


class _Play:
    def __init__(self, transcript: Transcript, subject: Server | Client) -> None:
        self._subject = subject
        self._side = "client" if isinstance(subject, Client) else "server"
        self._bound: matching.Bindings = {}
        self._values = transcript.values
        if self._side == "client":
            self._bound.update(transcript.values)
        self._heard: dict[str, _Queue] = {}
        self._told = _Queue(_FREE_TELLS)

    def step(self, step: Step) -> None:
        _STEPS[step.kind](self, step)

    def finish(self) -> None:
        """Nothing that was not expected may be left or follow."""
        self._nothing(list(self._heard))

    # -- connections ---------------------------------------------------------------------------

    def open(self, step: Step) -> None:
        protocol = step.fields.get("protocol", DEFAULT_PROTOCOL)
        if isinstance(self._subject, Client):
            self._attempt(step, [protocol] if protocol else None)
            self._subject.accept(step.on, protocol)
        else:
            agreed = self._subject.open(step.on, protocol)
            if agreed != protocol:
                raise Failed(f"the server agreed on {agreed!r} instead of {protocol!r}")
        self._heard[step.on] = _Queue(_FREE_PACKETS)

    def refuse(self, step: Step) -> None:
        if isinstance(self._subject, Client):
            self._attempt(step, None)
            self._subject.refuse(step.on, step.fields["status"], step.fields.get("headers", {}))

    def _attempt(self, step: Step, protocols: Sequence[str] | None) -> None:
        assert isinstance(self._subject, Client)
        offers = self._subject.attempt(patient=True)
        if offers is None:
            raise Failed("the client does not connect")
        wanted = step.fields.get("offers", protocols)
        if wanted is not None and list(offers) != wanted:
            raise Failed(f"the client offers {list(offers)}, and should offer {wanted}")

    def close(self, step: Step) -> None:
        if step.fields.get("by", "client") != self._side:
            code, reason = step.fields.get("code", 1000), step.fields.get("reason", "")
            self._subject.close(step.on, code, reason)
            del self._heard[step.on]
            return
        queue = self._heard[step.on]
        while queue.ended is None:
            if not self._hear(step.on, patient=True):
                raise Failed(f"connection {step.on} should have been closed{self._unexpected()}")
        wanted = step.fields.get("code", queue.ended.code)
        if queue.ended.code != wanted:
            raise Failed(f"closed with {queue.ended.code} instead of {wanted}")
        self._must_be_read(step.on)
        del self._heard[step.on]

    def lose(self, step: Step) -> None:
        self._subject.lose(step.on)
        del self._heard[step.on]

    # -- packets -------------------------------------------------------------------------------

    def packets(self, step: Step) -> None:
        said = step.fields[step.kind]
        several = said if isinstance(said, list) else [said]
        if step.kind != self._side:
            for packet in several:
                if step.kind == "server":
                    self._invent(packet)
                self._subject.say(step.on, Message(matching.fill(packet, self._bound)))
            return
        after = 0
        for packet in several:
            after = self._expect(step.on, packet, after if len(several) > 1 else 0)

    def _invent(self, packet: Any) -> None:
        """Give placeholders of a server's packet that have no value one: their own name."""
        for name in matching.names_in(packet):
            self._bound.setdefault(name, name)

    def raw(self, step: Step) -> None:
        raw = step.fields["raw"]
        self._subject.say_raw(step.on, raw if isinstance(raw, str) else with_bytes(raw))

    def _expect(self, name: str, pattern: Any, after: int) -> int:
        """Take the packet that is as expected; its number."""
        queue = self._heard[name]
        wanted = normal(pattern, self._side)
        order = _order_of_packet(self._side, wanted)
        while True:
            for one in queue.of(order):
                try:
                    bound = matching.match(wanted, normal(one.content, self._side), self._bound)
                except Mismatch as mismatch:
                    if queue.is_free(order):
                        queue.unread.remove(one)
                        continue
                    text = f"{mismatch}, in {one.content!r}"
                    raise Failed(f"{text}; expected was {pattern!r}") from None
                if one.number < after:
                    raise Failed(f"{one.content!r} came too early")
                queue.unread.remove(one)
                self._bound = bound
                return one.number
            if not self._hear(name, patient=True):
                ended = f"; it was closed with {queue.ended.code}" if queue.ended else ""
                raise Failed(f"missing on {name}: {pattern!r}{ended}{self._unexpected()}")

    def _hear(self, name: str, *, patient: bool) -> bool:
        """Wait for something to be said there; whether something was."""
        queue = self._heard[name]
        if queue.ended is not None:
            return False
        heard = self._subject.heard(name, patient=patient)
        if isinstance(heard, Closed):
            queue.ended = heard
        elif heard is not None:
            queue.add(_order_of_packet(self._side, heard.content), heard.content)
        return heard is not None

    # -- what must not be ----------------------------------------------------------------------

    def wait(self, step: Step) -> None:
        self._subject.wait(float(matching.fill(step.fields["wait"], self._bound)))

    def nothing(self, step: Step) -> None:
        self._nothing([step.on] if "on" in step.fields else list(self._heard))

    def _nothing(self, names: list[str]) -> None:
        for name in names:
            while self._hear(name, patient=False):
                pass
            self._must_be_read(name)
            if ended := self._heard[name].ended:
                raise Failed(f"connection {name} was closed with {ended.code} {ended.reason}")
        if isinstance(self._subject, Client):
            if (offers := self._subject.attempt(patient=False)) is not None:
                raise Failed(f"the client connects, and offers {list(offers)}")
            while told := self._subject.told(patient=False):
                self._told.add(_order_of_tell(told), told)
            if self._told.left():
                raise Failed(f"the application was told {self._told.left()[0]!r}")

    def _must_be_read(self, name: str) -> None:
        if left := self._heard[name].left():
            raise Failed(f"not expected on {name}: {left[0]!r}")

    def _unexpected(self) -> str:
        """What else came, for the text of a failure."""
        found = [f"{left!r} on {name}" for name in self._heard for left in self._heard[name].left()]
        return f"; unread: {', '.join(found)}" if found else ""

    # -- applications of clients ---------------------------------------------------------------

    def do(self, step: Step) -> None:
        if isinstance(self._subject, Client):
            arguments = matching.fill(step.fields.get("with", {}), self._bound)
            self._subject.do(step.fields["do"], step.fields.get("as"), arguments)

    def tell(self, step: Step) -> None:
        if not isinstance(self._subject, Client):
            return
        kind, wanted = step.fields["tell"], step.fields.get("with", {})
        order = _order_of_tell((kind, wanted))
        while True:
            for one in self._told.of(order):
                found = one.content
                try:
                    if found[0] != kind:
                        raise Mismatch(f"it was told {found!r}")
                    bound = matching.match(wanted, found[1], self._bound)
                except Mismatch as mismatch:
                    self._told.unread.remove(one)
                    if self._told.is_free(order):
                        continue
                    raise Failed(f"{mismatch}; expected was {kind} {wanted!r}") from None
                self._told.unread.remove(one)
                self._bound = bound
                return
            told = self._subject.told(patient=True)
            if told is None:
                left = f"; it was told {self._told.left()!r}" if self._told.left() else ""
                raise Failed(f"the application was not told {kind} {wanted!r}{left}")
            self._told.add(_order_of_tell(told), told)


_STEPS = {
    "open": _Play.open,
    "refuse": _Play.refuse,
    "client": _Play.packets,
    "server": _Play.packets,
    "raw": _Play.raw,
    "close": _Play.close,
    "lose": _Play.lose,
    "wait": _Play.wait,
    "nothing": _Play.nothing,
    "do": _Play.do,
    "tell": _Play.tell,
}
