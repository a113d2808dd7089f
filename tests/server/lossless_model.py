"""The smallest server of `sono.v2` that passes the transcripts: in memory, on a clock of its own.

It shows that the transcripts do not contradict each other. It has no bounds, and is no example of
how to write a server.
"""

from __future__ import annotations

import heapq
import itertools
import json
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from sono_core.messaging.lossless import packets
from sono_core.messaging.lossless.positions import Position
from sono_server.conformance import Closed, Message, Server
from sono_server.conformance.codec import MSGPACK, read

IDENTITIES = {"good": "good", "other": "other", "short": "good"}
BEAT, LEAD, SUSPENDED = 10.0, 5.0, 60.0
TYPES = {kind.__struct_config__.tag for kind in packets.FromClient.__args__}
TEMPORARY = {"too-many-channels", "too-many-requests", "timeout", "failed", "unavailable"}


class Refused(Exception):  # noqa: N818 - a packet is, and nothing failed
    def __init__(self, code: str, message: str = "no") -> None:
        self.error = {"code": code, "message": message}
        if code in TEMPORARY:
            self.error["temporary"] = True
        super().__init__(code)


class Wrong:
    """A numbered packet that is refused."""

    def __init__(self, seq: int, code: str) -> None:
        self.seq, self.code = seq, code


class Stream:
    def __init__(self, epoch: str, keep: int = 100) -> None:
        self.epoch, self.keep, self.top = epoch, keep, 0
        self.kept: list[tuple[int, dict[str, Any]]] = []

    @property
    def at(self) -> list[Any]:
        return [self.epoch, self.top]

    def append(self, body: dict[str, Any]) -> dict[str, Any]:
        self.top += 1
        self.kept = [*self.kept, (self.top, body)][-self.keep :] if self.keep else []
        return {**body, "at": self.at}

    def since(self, position: Position) -> tuple[list[Any], list[dict[str, Any]]]:
        """Behind which position entries can be had, and those."""
        after = position.offset if position.epoch == self.epoch else -1
        first = self.kept[0][0] if self.kept else self.top + 1
        start = self.top if after > self.top else max(after, first - 1)
        entries = [{**body, "at": [self.epoch, k]} for k, body in self.kept if k > start]
        return [self.epoch, start], entries


class Session:
    def __init__(self, id: str, identity: str | None, own: Stream) -> None:
        self.id, self.identity, self.own = id, identity, own
        self.key, self.former = "", ""
        self.channel, self.channels = "Home", {"Home": 0.0}
        self.accepted = 0
        self.results: dict[int, dict[str, Any]] = {}
        self.queue: list[packets.Numbered] = []
        self.busy = False
        self.asked: dict[int, Callable[[Any, Any], None]] = {}
        self.conn: Conn | None = None
        self.lost_at: float | None = None
        self.watched: set[str] = set()
        self.data: dict[str, Any] = {}
        self.waiting = 0


class Conn:
    def __init__(self, protocol: str | None, now: float) -> None:
        self.protocol, self.opened, self.spoke = protocol, now, now
        self.session: Session | None = None
        self.id, self.classic = f"classic-{id(self)}", "Home"
        self.out: list[Message | Closed] = []
        self.closed = False
        self.expires: float | None = None
        self.renewed = False


def name_of(name: str, event: bool = False) -> str:
    if event and name in ("error", "grab"):
        raise Refused("reserved-event")
    if not 1 <= len(name) <= 128 or any(ord(c) < 32 for c in name):
        raise Refused("invalid-packet", "an illegal name")
    return name


def fits(data: Any) -> None:
    text = data.get("text") if isinstance(data, dict) else None
    if not isinstance(text, str) or len(text) > 500:
        raise Refused("invalid-packet", "text is not as it should be")


class Model(Server):
    requests: Mapping[str, Any] = {}
    """What answers a request, by its name."""

    def __init__(self) -> None:
        self.now = 0.0
        self.numbers = itertools.count(1)
        self.streams: dict[str, Stream] = {"*": self.stream(), "#Home": self.stream()}
        self.sessions: dict[str, Session] = {}
        self.conns: dict[str, Conn] = {}
        self.timers: list[tuple[float, int, Callable[[], None]]] = []
        self.forbidden: set[str] = set()
        self.versions: dict[str, int] = {}

    def word(self) -> str:
        return f"w{next(self.numbers)}"

    def stream(self, keep: int = 100) -> Stream:
        return Stream(self.word(), keep)

    def later(self, seconds: float, call: Callable[[], None]) -> None:
        heapq.heappush(self.timers, (self.now + seconds, next(self.numbers), call))

    # -- what the player does ------------------------------------------------------------------

    def open(self, name: str, protocol: str | None) -> str | None:
        conn = self.conns[name] = Conn(protocol, self.now)
        if protocol:
            self.later(5, lambda: None if conn.session else self.end(conn, 4010))
            self.later(BEAT, lambda: self.beat(conn))
        return protocol

    def heard(self, name: str, *, patient: bool) -> Message | Closed | None:
        out = self.conns[name].out
        return out.pop(0) if out else None

    def close(self, name: str, code: int, reason: str) -> None:
        session = self.conns[name].session
        self.lose(name)
        if session and code == 1000:
            self.forget(session)

    def lose(self, name: str) -> None:
        conn = self.conns[name]
        conn.closed = True
        if conn.session and conn.session.conn is conn:
            conn.session.conn = None
            conn.session.lost_at = self.now

    def wait(self, seconds: float) -> None:
        end = self.now + seconds
        while self.timers and self.timers[0][0] <= end:
            self.now, _, call = heapq.heappop(self.timers)
            call()
        self.now = end

    def say_raw(self, name: str, message: str | bytes) -> None:
        conn = self.conns[name]
        content = read(message, conn.protocol)
        binary = isinstance(message, bytes)
        if binary == (conn.protocol == MSGPACK) and isinstance(content, dict):
            self.say(name, Message(content))
        else:
            self.error(conn, "invalid-packet")

    def say(self, name: str, message: Message) -> None:
        conn, content = self.conns[name], message.content
        if conn.closed:
            return
        if conn.protocol is None:
            self.say_classic(conn, content)
            return
        kind = content.get("type")
        if any(type(data) is msgspec.msgpack.Ext for data in content.values()):
            return self.refuse(conn, content, "invalid-packet")
        try:
            packet = msgspec.convert(content, packets.FromClient)
        except msgspec.ValidationError:
            unknown = isinstance(kind, str) and kind not in TYPES
            return self.refuse(conn, content, "unknown-type" if unknown else "invalid-packet")
        try:
            if conn.session is None:
                if not isinstance(packet, packets.Hello):
                    raise Refused("hello-first")
                return self.hello(conn, packet)
            if isinstance(packet, packets.Hello):
                raise Refused("invalid-packet")
            conn.session.former = ""
            self.take(conn, conn.session, packet)
        except Refused as refused:
            self.error(conn, refused.error["code"])

    def refuse(self, conn: Conn, content: dict[str, Any], code: str) -> None:
        seq = content.get("seq")
        if conn.session is None or type(seq) is not int or not 1 <= seq < 1 << 53:
            return self.error(conn, code)
        try:
            self.numbered(conn, conn.session, Wrong(seq, code))
        except Refused as refused:
            self.error(conn, refused.error["code"])

    def say_classic(self, conn: Conn, content: Any) -> None:
        payload = content["payload"]
        if content["protocol"] == "changeChannel":
            conn.classic = payload["to"]
        else:
            skip = content["protocol"] == "broadcast"
            body = {"type": "event", "event": content["event"], "data": payload["message"]}
            body |= {"from": conn.id, **({"not": conn.id} if skip else {})}
            self.entry(f"#{conn.classic}", body)

    # -- connections ---------------------------------------------------------------------------

    def put(self, conn: Conn | None, packet: dict[str, Any]) -> None:
        if conn and not conn.closed:
            conn.spoke = self.now
            conn.out.append(Message(json.loads(json.dumps(packet))))

    def error(self, conn: Conn, code: str) -> None:
        self.put(conn, {"type": "error", "code": code, "message": "no"})

    def end(self, conn: Conn, code: int) -> None:
        if not conn.closed:
            conn.closed = True
            conn.out.append(Closed(code))

    def beat(self, conn: Conn) -> None:
        if not conn.closed:
            if conn.session and self.now - conn.spoke >= BEAT:
                self.put(conn, {"type": "beat"})
            self.later(BEAT - (self.now - conn.spoke), lambda: self.beat(conn))

    # -- sessions ------------------------------------------------------------------------------

    def hello(self, conn: Conn, hello: packets.Hello) -> None:
        if hello.token is not None and hello.token not in IDENTITIES:
            return self.end(conn, 4011)
        identity = IDENTITIES.get(hello.token or "")
        session = next((s for s in self.sessions.values() if hello.key in (s.key, s.former)), None)
        if not hello.key or (session and self.expired(session)):
            session = None
        if session and session.identity != identity:
            return self.end(conn, 4011)
        resumed, denied = session is not None, []
        if session is None:
            session = Session(self.word(), identity, self.stream())
            self.sessions[session.id] = session
            if hello.channel is not None and not self.denies(hello.channel, denied):
                session.channel, session.channels = hello.channel, {}
                self.member(session, hello.channel)
            for channel in hello.joined:
                if not self.denies(channel, denied):
                    self.member(session, channel)
        elif session.conn:
            self.end(session.conn, 4012)
        for channel in list(session.channels) if resumed else ():
            if self.denies(channel, denied):
                del session.channels[channel]
        if hello.key != session.former or not resumed:
            session.key, session.former = self.word(), session.key
        conn.session, session.conn, session.lost_at = session, conn, None
        if hello.token == "short":
            self.expire_in(conn, 8.0)
        begun, follow = [], []
        for stream in ("@", "*", *(f"#{channel}" for channel in session.channels)):
            position = hello.streams.get(stream)
            if stream == "@" and not resumed:
                position = None
            start, entries = self.begin(session, stream, position)
            begun.append(start)
            follow += entries
        self.put(
            conn,
            {
                "type": "welcome",
                "id": session.id,
                "key": session.key,
                "resumed": resumed,
                "seq": session.accepted,
                "channel": session.channel,
                "streams": begun,
                "denied": denied,
                "beat": BEAT,
            },
        )
        for packet in follow:
            self.put(conn, packet)
        for channel in session.watched:
            self.snapshot(session, channel)

    def begin(
        self, session: Session, stream: str, position: Position | None
    ) -> tuple[dict[str, Any], list[dict[str, Any]]]:
        source = self.of(session, stream)
        if position is None:
            return {"stream": stream, "at": source.at, "recovered": False}, []
        at, entries = source.since(position)
        recovered = at == [position.epoch, position.offset]
        return {"stream": stream, "at": at, "recovered": recovered}, [
            self.seen(entry, session) for entry in entries
        ]

    def expired(self, session: Session) -> bool:
        return session.lost_at is not None and self.now - session.lost_at >= SUSPENDED

    def forget(self, session: Session) -> None:
        self.sessions.pop(session.id, None)
        for channel in list(session.channels):
            self.part(session, channel)

    def expire_in(self, conn: Conn, seconds: float) -> None:
        conn.expires = self.now + seconds

        def renew() -> None:
            if conn.expires:
                self.put(conn, {"type": "renew", "in": LEAD})

        self.later(seconds - LEAD, renew)
        self.later(seconds, lambda: self.end(conn, 4011) if conn.expires else None)

    # -- streams -------------------------------------------------------------------------------

    def of(self, session: Session, stream: str) -> Stream:
        if stream == "@":
            return session.own
        keep = {"small": 3, "none": 0}.get(stream[1:].partition(":")[0], 100)
        return self.streams.setdefault(stream, self.stream(keep))

    def has(self, session: Session, stream: str) -> bool:
        return stream in ("@", "*") or (stream[:1] == "#" and stream[1:] in session.channels)

    def seen(self, entry: dict[str, Any], session: Session) -> dict[str, Any]:
        if entry.get("not") == session.id:
            return {"type": "skip", "stream": entry["stream"], "at": entry["at"]}
        return {key: value for key, value in entry.items() if key != "not"}

    def entry(self, stream: str, body: dict[str, Any], session: Session | None = None) -> Any:
        """Append, and tell those that have the stream; its position."""
        source = session.own if session else self.of(Session("", None, self.stream()), stream)
        entry = source.append({**body, "stream": stream})
        for one in [session] if session else list(self.sessions.values()):
            if session or self.has(one, stream):
                self.put(one.conn, self.seen(entry, one))
        for conn in self.conns.values():
            told = conn.protocol is None and f"#{conn.classic}" == stream
            if told and entry.get("not") != conn.id and "$bytes" not in json.dumps(entry):
                payload = {"message": entry["data"], "from": entry["from"]}
                self.put(conn, {"protocol": entry["event"], "payload": payload})
        return entry["at"]

    def own(self, session: Session, **body: Any) -> dict[str, Any]:
        at = self.entry("@", body, session)
        return {**body, "stream": "@", "at": at}

    # -- packets -------------------------------------------------------------------------------

    def take(self, conn: Conn, session: Session, packet: Any) -> None:
        if isinstance(packet, packets.Beat):
            self.put(conn, {"type": "beat"})
        elif isinstance(packet, packets.Bye):
            self.end(conn, 1000)
            self.forget(session)
        elif isinstance(packet, packets.Token):
            if IDENTITIES.get(packet.token) != session.identity:
                self.end(conn, 4011)
            conn.expires = None
        elif isinstance(packet, packets.Read):
            if not self.has(session, packet.stream):
                raise Refused("not-a-member")
            at, entries = self.of(session, packet.stream).since(packet.at)
            if at != [packet.at.epoch, packet.at.offset]:
                self.put(conn, {"type": "gap", "stream": packet.stream, "at": at})
            for entry in entries:
                self.put(conn, self.seen(entry, session))
        elif packet.seq is None:
            self.volatile(session, packet)
        else:
            self.numbered(conn, session, packet)

    def numbered(self, conn: Conn, session: Session, packet: Any) -> None:
        if packet.seq > session.accepted + 1:
            raise Refused("bad-seq")
        if packet.seq <= session.accepted:
            if packet.seq in session.results:
                self.put(conn, session.results[packet.seq])
            return
        session.accepted = packet.seq
        self.put(conn, {"type": "ack", "seq": packet.seq})
        if isinstance(packet, packets.Reply):
            self.handle(session, packet)
            return
        waiting = sum(isinstance(one, packets.Request) for one in session.queue)
        if isinstance(packet, packets.Request) and waiting >= 4:
            self.settle(session, packet, error=Refused("too-many-requests").error)
            return
        session.queue.append(packet)
        self.next(session)

    def next(self, session: Session) -> None:
        while session.queue and not session.busy:
            self.handle(session, session.queue.pop(0))

    def handle(self, session: Session, packet: Any) -> None:
        try:
            data = HANDLERS[type(packet)](self, session, packet)
        except Refused as refused:
            data = {"error": refused.error}
        if data is not LATER:
            self.settle(session, packet, **data)

    def settle(self, session: Session, packet: Any, **what: Any) -> None:
        if packet.seq not in session.results:
            result = self.own(session, type="result", re=packet.seq, **what)
            session.results[packet.seq] = result

    def resume_handling(self, session: Session, packet: Any, **what: Any) -> None:
        self.settle(session, packet, **what)
        session.busy = False
        self.next(session)

    def volatile(self, session: Session, packet: Any) -> None:
        event = {"type": "event", "event": name_of(packet.event, True), "data": packet.data}
        event["from"] = session.id
        if isinstance(packet, packets.Send):
            to = self.sessions.get(packet.to)
            if not to:
                raise Refused("unknown-client")
            self.put(to.conn, {**event, "stream": "@"})
            return
        if packet.channel not in session.channels:
            raise Refused("not-a-member")
        for one in self.sessions.values():
            if packet.channel in one.channels and (packet.to_self or one is not session):
                self.put(one.conn, {**event, "stream": f"#{packet.channel}"})

    def publish(self, session: Session, packet: packets.Publish) -> dict[str, Any]:
        name_of(packet.event, True)
        if packet.channel not in session.channels:
            raise Refused("not-a-member")
        if packet.event in ("declined", "fail"):
            raise Refused({"fail": "failed"}.get(packet.event, packet.event))
        if packet.event == "typed":
            fits(packet.data)
        body = {"type": "event", "event": packet.event, "data": packet.data, "from": session.id}
        if not packet.to_self:
            body["not"] = session.id
        return {"published": self.entry(f"#{packet.channel}", body)}

    def send(self, session: Session, packet: packets.Send) -> dict[str, Any]:
        name_of(packet.event, True)
        to = self.sessions.get(packet.to)
        if not to or self.expired(to):
            raise Refused("unknown-client")
        body = {"event": packet.event, "data": packet.data, "from": session.id}
        self.own(to, type="event", **body)
        return {}

    # -- channels ------------------------------------------------------------------------------

    def denies(self, channel: str, denied: list[dict[str, Any]]) -> bool:
        try:
            self.allow(channel)
        except Refused as refused:
            denied.append({"channel": channel, "error": refused.error})
            return True
        return False

    def allow(self, channel: str) -> None:
        kind = channel.partition(":")[0]
        if kind == "forbidden" or channel in self.forbidden:
            raise Refused("forbidden")
        if channel != "Home" and kind not in ("room", "small", "none", "guarded"):
            raise Refused("unknown-channel")

    def member(self, session: Session, channel: str) -> None:
        session.channels.setdefault(channel, self.now)
        self.changed(channel, session, entered=[[session.id, session.data.get(channel)]])

    def part(self, session: Session, channel: str) -> None:
        session.channels.pop(channel, None)
        session.watched.discard(channel)
        self.changed(channel, session, gone=[session.id])

    def members(self, channel: str) -> list[list[Any]]:
        here = [one for one in self.sessions.values() if channel in one.channels]
        return [[one.id, one.data.get(channel)] for one in here]

    def changed(
        self, channel: str, session: Session, entered: Any = None, gone: Any = None
    ) -> None:
        self.versions[channel] = version = self.versions.get(channel, 0) + 1
        packet = {"type": "presence", "channel": channel, "version": version}
        packet |= {"in": entered or [], "out": gone or [], "count": len(self.members(channel))}
        for one in self.sessions.values():
            if channel in one.watched:
                self.put(one.conn, packet)

    def join(self, session: Session, packet: packets.Join) -> Any:
        name_of(packet.channel)
        self.allow(packet.channel)
        known = packet.channel in session.channels
        if not known and len(session.channels) >= 8:
            raise Refused("too-many-channels")
        begun, entries = self.begin(session, f"#{packet.channel}", packet.at)
        self.settle(session, packet, data=begun)
        if not known:
            for entry in entries:
                self.put(session.conn, entry)
            self.member(session, packet.channel)
        if packet.presence:
            session.watched.add(packet.channel)
            self.snapshot(session, packet.channel)
        return LATER

    def snapshot(self, session: Session, channel: str) -> None:
        there = self.members(channel)
        members = {"channel": channel, "members": there, "count": len(there)}
        version = self.versions.get(channel, 0)
        self.put(session.conn, {"type": "members", "version": version, **members})

    def move(self, session: Session, packet: packets.Move) -> Any:
        former = session.channel
        self.join(session, packets.Join(seq=packet.seq, channel=packet.channel, at=packet.at))
        if former != packet.channel:
            self.part(session, former)
        session.channel = packet.channel
        return LATER

    def leave(self, session: Session, packet: packets.Leave) -> dict[str, Any]:
        if packet.channel == session.channel:
            raise Refused("forbidden")
        if packet.channel in session.channels:
            self.part(session, packet.channel)
        return {}

    def present(self, session: Session, packet: packets.Present) -> dict[str, Any]:
        if packet.channel not in session.channels:
            raise Refused("not-a-member")
        session.data[packet.channel] = packet.data
        self.changed(packet.channel, session, entered=[[session.id, packet.data]])
        return {}

    # -- requests ------------------------------------------------------------------------------

    def reply(self, session: Session, packet: packets.Reply) -> dict[str, Any]:
        answered = session.asked.pop(packet.re, None)
        if answered is None:
            raise Refused("no-such-request")
        answered(packet.data, packet.error)
        return {}

    def request(self, session: Session, packet: packets.Request) -> Any:
        name_of(packet.name)
        handler = self.requests.get(packet.name)
        if handler is None:
            raise Refused("unknown-request")
        data = handler(self, session, packet)
        return data if data is LATER else {"data": data}


def wrong(model: Model, session: Session, packet: Wrong) -> Any:
    raise Refused(packet.code)


LATER: Any = object()
HANDLERS: dict[type, Any] = {
    packets.Join: Model.join,
    packets.Leave: Model.leave,
    packets.Move: Model.move,
    packets.Present: Model.present,
    packets.Publish: Model.publish,
    packets.Reply: Model.reply,
    packets.Request: Model.request,
    packets.Send: Model.send,
    Wrong: wrong,
}
