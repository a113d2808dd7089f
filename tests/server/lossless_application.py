"""The conformance application of docs/transcripts.md, on the smallest server."""

from __future__ import annotations

from typing import Any

from sono_core.messaging.lossless import packets
from tests.server import lossless_model
from tests.server.lossless_model import LATER, Refused, Session, fits

CONTROLS = ("emit", "send", "join", "leave", "allow", "end")


class Model(lossless_model.Model):
    def fail(self, session: Session, packet: packets.Request) -> Any:
        raise Refused("failed")

    def slow(self, session: Session, packet: packets.Request) -> Any:
        seconds = packet.data["seconds"]
        session.busy = True

        def done() -> None:
            self.resume_handling(session, packet, data="slow")

        def late() -> None:
            self.resume_handling(session, packet, error=Refused("timeout").error)

        timeout = packet.timeout or 30.0
        self.later(min(timeout, seconds), done if seconds <= timeout else late)
        return LATER

    def ask(self, session: Session, packet: packets.Request) -> Any:
        data, id = packet.data, next(self.numbers)
        other = self.sessions[data.get("to", session.id)]
        session.busy = True

        def answered(reply: Any, error: packets.Failure | None) -> None:
            done = {"error": error.code} if error else {"data": reply}
            self.resume_handling(session, packet, data=done)

        def late() -> None:
            if other.asked.pop(id, None):
                self.resume_handling(session, packet, data={"error": "timeout"})

        other.asked[id] = answered
        self.later(data.get("timeout", 30.0), late)
        self.own(other, type="request", id=id, name=data["name"], data=data["data"])
        return LATER

    def typed(self, session: Session, packet: packets.Request) -> Any:
        fits(packet.data)
        return packet.data

    def history(self, session: Session, packet: packets.Request) -> Any:
        data = packet.data
        channel = self.listed(session, data)
        before = data.get("before", ["", 1 << 60])[1]
        kept = [
            {"at": [stream.epoch, k], **{key: body[key] for key in ("event", "data", "from")}}
            for stream in [self.streams[f"#{channel}"]]
            for k, body in stream.kept
            if k < before
        ]
        limit = data.get("limit", 100)
        return {"entries": kept[-limit:], "more": len(kept) > limit}

    def listed(self, session: Session, data: Any) -> str:
        channel = data.get("channel")
        if not isinstance(channel, str):
            raise Refused("invalid-packet", "channel is missing")
        if channel not in session.channels:
            raise Refused("not-a-member")
        return channel

    def sono_members(self, session: Session, packet: packets.Request) -> Any:
        there = self.members(self.listed(session, packet.data))
        version = self.versions.get(packet.data["channel"], 0)
        return {"version": version, "members": there, "count": len(there)}

    def sono_channels(self, session: Session, packet: packets.Request) -> Any:
        return {"channels": [stream[1:] for stream in self.streams if stream[0] == "#"]}

    def control(self, session: Session, packet: packets.Request) -> Any:
        data = packet.data
        other = self.sessions.get(data.get("to", session.id))
        if other is None:
            raise Refused("unknown-client")
        word = packet.name.removeprefix("conformance.")
        if word == "emit":
            self.entry("*", {"type": "event", **data})
        elif word == "send":
            self.own(other, type="event", event=data["event"], data=data["data"])
        elif word == "join":
            at = self.of(other, f"#{data['channel']}").at
            self.own(other, type="joined", channel=data["channel"], position=at)
            self.member(other, data["channel"])
        elif word == "leave":
            self.part(other, data["channel"])
            self.own(other, type="left", channel=data["channel"], code="forbidden")
        elif word == "allow":
            (self.forbidden.discard if data["allowed"] else self.forbidden.add)(data["channel"])
        elif word == "end":
            if other.conn:
                self.end(other.conn, 4013)
            self.forget(other)
        return True

    def echo(self, session: Session, packet: packets.Request) -> Any:
        return packet.data

    def identity(self, session: Session, packet: packets.Request) -> Any:
        return session.identity


Model.requests = {
    "echo": Model.echo,
    "fail": Model.fail,
    "slow": Model.slow,
    "typed": Model.typed,
    "conformance.ask": Model.ask,
    "conformance.identity": Model.identity,
    "sono.channels": Model.sono_channels,
    "sono.history": Model.history,
    "sono.members": Model.sono_members,
    **{f"conformance.{word}": Model.control for word in CONTROLS},
}
