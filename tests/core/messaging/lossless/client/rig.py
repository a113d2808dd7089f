"""A client machine, and short words for what its server says."""

from __future__ import annotations

from typing import Any

import msgspec

from sono_core.messaging.lossless import OWN, Position, packets, stream_of
from sono_core.messaging.lossless.client import (
    ClientLimits,
    ClientMachine,
    Pending,
    Settled,
    Status,
)
from sono_core.messaging.lossless.packets import Begun


def kept(packet: Any) -> tuple[Any, int]:
    """As a codec keeps it: a copy, and its size. Raises TypeError for what it cannot write."""
    text = msgspec.json.encode(packet)
    return msgspec.json.decode(text, type=type(packet)), len(text)


def at(offset: int, epoch: str = "e") -> Position:
    return Position(epoch, offset)


def begun(stream: str, offset: int = 0, epoch: str = "e", *, recovered: bool = False) -> Begun:
    return Begun(stream, at(offset, epoch), recovered)


def event(stream: str, offset: int | None, data: Any = None, epoch: str = "e") -> packets.Event:
    position = None if offset is None else at(offset, epoch)
    return packets.Event(stream=stream, event="chat", data=data, at=position)


class Rig:
    """A client that is told what comes, and that keeps nothing back."""

    def __init__(self, **limits: Any) -> None:
        self.client = ClientMachine(keep=kept, client_limits=ClientLimits(**limits))
        self.now = 100.0
        self.own = 0  # the offset of the last entry of the session's own stream
        self.keys = 0

    # -- connections ----------------------------------------------------------------------------

    def connect(self, token: str | None = None) -> packets.Hello:
        self.client.connected(self.now, token)
        (hello,) = self.client.packets_to_send()
        assert isinstance(hello, packets.Hello)
        return hello

    def welcome(
        self,
        *streams: Begun,
        resumed: bool = False,
        seq: int = 0,
        channel: str = "Home",
        **more: Any,
    ) -> None:
        """Answer hello; the streams are those beside the client's own, everybody's and Home."""
        self.keys += 1
        if not resumed:
            self.own = 0
        usual = {
            begun.stream: begun
            for begun in (
                Begun(OWN, at(self.own), resumed),
                Begun("*", at(0), resumed),
                Begun(stream_of("Home"), at(0), resumed),
            )
        }
        named = {begun.stream: begun for begun in streams}
        self.receive(
            packets.Welcome(
                id="me",
                key=f"key{self.keys}",
                resumed=resumed,
                seq=seq,
                channel=channel,
                streams=list((usual | named).values()),
                **more,
            )
        )

    def open(self, *streams: Begun) -> Rig:
        """A first session, of which the application has been told."""
        self.connect()
        self.welcome(*streams)
        self.told()
        return self

    def lose(self) -> None:
        self.client.lost(self.now, 1.0)

    # -- what comes and goes --------------------------------------------------------------------

    def receive(self, *received: Any) -> None:
        for packet in received:
            self.client.receive(packet, self.now)

    def said(self) -> list[Any]:
        """What the client writes."""
        return list(self.client.packets_to_send())

    def told(self) -> list[Any]:
        """What the application is told, but for the status."""
        return [told for told in self.client.events() if not isinstance(told, Status)]

    def result(self, seq: int, **fields: Any) -> None:
        self.own += 1
        self.receive(packets.Result(stream=OWN, at=at(self.own), re=seq, **fields))

    def ask(self, number: int, data: Any = None) -> None:
        """A request of the server's."""
        self.own += 1
        self.receive(
            packets.Asked(stream=OWN, at=at(self.own), id=number, name="confirm", data=data)
        )

    def let_in(self, seq: int, channel: str, offset: int = 0, *, recovered: bool = False) -> None:
        """The result of a join or a move."""
        position = msgspec.to_builtins(at(offset))
        data = {"stream": stream_of(channel), "at": position, "recovered": recovered}
        self.result(seq, data=data)

    def force(self, channel: str, offset: int = 0, *, current: bool = False) -> None:
        self.own += 1
        self.receive(
            packets.Joined(
                stream=OWN,
                at=at(self.own),
                channel=channel,
                position=at(offset),
                current=current,
            )
        )

    def expel(self, channel: str, code: str = "forbidden") -> None:
        self.own += 1
        self.receive(packets.Left(stream=OWN, at=at(self.own), channel=channel, code=code))

    # -- words ----------------------------------------------------------------------------------

    def publish(self, data: Any = None, channel: str = "Home", **options: Any) -> Pending:
        pending: Pending = self.client.publish(channel, "chat", data, now=self.now, **options)
        return pending

    def request(self, data: Any = None, name: str = "ask", **options: Any) -> Pending:
        return self.client.request(name, data, now=self.now, **options)

    def join(self, channel: str, offset: int = 0, **options: Any) -> None:
        """Join a channel, as the only packet on its way."""
        self.client.join(channel, now=self.now, **options)
        (packet,) = self.said()
        self.let_in(packet.seq, channel, offset)

    def later(self, seconds: float) -> None:
        self.now += seconds
        self.client.tick(self.now)


def settled(told: list[Any]) -> list[Pending]:
    return [each.pending for each in told if isinstance(each, Settled)]
