"""Whether an amount is within a limit of sessions, and whether a time of theirs still runs."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from sono_core import Limits, Timeouts
from sono_core.messaging import Hub
from sono_core.messaging.lossless import Data, packets
from sono_core.messaging.lossless.server import Presence, Session, Sessions, Settings, Terms
from sono_core.messaging.lossless.server.pending import Pending
from sono_core.messaging.lossless.server.presence import RECORD
from sono_server import Sono
from sono_server.app.beats import Beats
from sono_server.app.lossless import settings_of
from tests.core.messaging.lossless.house import House
from tests.helpers import FakeLoop


def settings(limits: Limits) -> Settings:
    return settings_of(limits, Timeouts())


def suspended(limits: Limits, number: int, size: int = 0, address: str | None = None) -> bool:
    sessions = Sessions(settings(limits).sessions)
    ended = []
    for each in range(number):
        session = Session(str(each), "secret", "somebody", address or str(each))
        sessions.add(session)
        ended += sessions.suspend(session, size, 0.0)
    return not ended


def suspended_bytes(limits: Limits, size: int) -> bool:
    return suspended(limits, 1, size)


def suspended_of_address(limits: Limits, number: int) -> bool:
    return suspended(limits, number, address="here")


def results(limits: Limits, *sent: packets.FromClient) -> bool:
    """No result is an error."""
    line = House(settings=settings(limits)).line()
    line.hello()
    line.send(*sent)
    return not any(isinstance(got, packets.Result) and got.error for got in line.got)


def joined(limits: Limits, number: int) -> bool:
    return results(limits, *[packets.Join(n, f"c{n}") for n in range(1, number + 1)])


def requests(limits: Limits, number: int) -> bool:
    pending = Pending(settings(limits).max_requests)
    return all(pending.begin("a", each, 1.0) for each in range(number))


def members(limits: Limits, number: int) -> bool:
    everybody = [str(each) for each in range(number)]
    most, size = settings(limits).max_members, settings(limits).max_presence
    presence = Presence(lambda channel: everybody, 1.0, most, size)
    return len(presence.snapshot("Home").members) == number


def presence(limits: Limits, size: int) -> bool:
    return results(limits, packets.Present(1, "Home", "x" * (size - len('""'))))


def presence_bytes(limits: Limits, size: int) -> bool:
    found = settings(limits)
    presence = Presence(lambda channel: ["a"], 1.0, 1, found.max_presence)
    return presence.present("Home", "a", Data.of("x" * (size - RECORD - len('""'))), 0.0)


# -- times ----------------------------------------------------------------------------------------


class Clocked(FakeLoop):
    """Remembers when it is to call an alarm."""

    def schedule(self, alarm: Any, due: float) -> None:
        alarm.scheduled = due


class Part(SimpleNamespace):
    """Something of a connection; each is another."""

    __hash__ = object.__hash__


def opened(timeouts: Timeouts) -> tuple[Any, Any, list[int]]:
    """The host of a `Sono`, a connection to it, and the codes that this was closed with."""
    sono = Sono(timeouts=timeouts)
    loop: Any = Clocked()
    sono._dispatcher.serve_on(loop)
    closed: list[int] = []
    socket = SimpleNamespace(close=lambda code, reason: closed.append(code), open=True, queued=0)
    request = SimpleNamespace(client=("here", 1))
    line = Part(socket=socket, request=request, client=None, sent=0.0)
    lossless = sono._dispatcher.lossless
    lossless.opened(line, loop)  # type: ignore[arg-type]
    return lossless, line, closed


def hello(timeouts: Timeouts, seconds: float) -> bool:
    lossless, _, closed = opened(timeouts)
    lossless._tick(seconds)
    return not closed


def session(timeouts: Timeouts, seconds: float) -> bool:
    sessions = Sessions(settings_of(Limits(), timeouts).sessions)
    lost = Session("a", "secret")
    sessions.add(lost)
    sessions.suspend(lost, 0, 0.0)
    return not sessions.expire(seconds)


def asked(timeouts: Timeouts, seconds: float) -> bool:
    pending = Pending(1)
    house = House(settings=settings_of(Limits(), timeouts))
    line = house.line()
    line.hello()
    house.now = 0.0
    session = line.conversation.session
    assert session
    house.node._pending = pending
    house.node.await_answer(session, packets.Request(1, "later", None))
    return not pending.expire(seconds)


def grace(timeouts: Timeouts, seconds: float) -> bool:
    presence = Presence(lambda channel: ["a"], settings_of(Limits(), timeouts).grace, 1, 1)
    presence.suspended("a", 0.0)
    presence.tick(lambda member: ["Home"], seconds)
    return presence.snapshot("Home").count == 1


def beat(timeouts: Timeouts, seconds: float) -> bool:
    hub = Hub()
    hub.add("a")
    line: Any = SimpleNamespace(socket=SimpleNamespace(open=True), sent=0.0)
    clients: Any = {"a": SimpleNamespace(_line=line)}
    beats = Beats(timeouts.beat, hub, clients)
    beats.begin("a", line, 0.0)
    return not beats.tick(seconds)


def renew(timeouts: Timeouts, seconds: float) -> bool:
    lead = settings_of(Limits(), timeouts).renew
    terms = Terms(lead)
    terms.begin("a", 4096.0, 0.0)
    return not terms.tick(4096.0 - 2 * lead + seconds)


def replay(timeouts: Timeouts, seconds: float) -> bool:
    lossless, _, _ = opened(timeouts)
    lossless._silent.clear()
    lossless._full["a"], lossless._look_at = None, timeouts.replay
    lossless.alarm.scheduled = float("inf")
    lossless.node._following._next_check = 1e9
    lossless.schedule()
    return bool(lossless.alarm.scheduled > seconds)
