"""What three servers and their broker go through while clients talk, and what the clients see.

Every fault is real: processes are killed and stopped, connections are cut, a master is replaced.
Within history nothing may be lost, doubled or out of order, and the rest must be told.
"""

import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, contextmanager
from http.client import HTTPConnection, HTTPException
from typing import NamedTuple

from sono_client import SonoClient
from sono_core.messaging.lossless import BackplaneError
from sono_server import Publisher
from tests.backplane.brokers import Broker, broker, guarded
from tests.backplane.cable import Cable
from tests.faults.victims import Victim, victim

from .outcome import Outcome
from .returning import Report
from .returns import judge, reports_of

NODES = 3
CALM = 4.0
"""Seconds before the fault."""
_AFTER = 15.0  # seconds for which clients go on talking after it
_LOOK = 0.02
_ANSWER = 1.0  # seconds
_PATIENCE = 60.0  # seconds for all to be well again
_SOON = 10.0  # seconds within which a fault must be noticed, and be over
_LARGE = 200_000  # bytes: more than the broker is told to keep for a subscriber


class Scene(NamedTuple):
    """Those that a fault happens to."""

    server: Broker
    url: str
    cable: Cable | None
    nodes: Sequence[Victim]


class Fault(NamedTuple):
    """One of them."""

    what: str
    happens: Callable[[Scene], object]
    """Returns when it is over."""
    lasts: float
    """Seconds, about."""
    setting: "Callable[[], AbstractContextManager[Setting]] | None" = None
    another: bool = False
    """Whether the broker is another one then, so that nothing of before is within history."""
    notices: "Callable[[Scene, float], float | None] | None" = None
    """Waits until it is noticed, and says how many seconds after that time; None: nobody must."""
    options: tuple[str, ...] = ()
    """Of the servers."""


class Setting(NamedTuple):
    """A broker, and how servers get there."""

    server: Broker
    url: str
    url_of_one: str = ""
    """Another way, for one of the servers."""
    cable: Cable | None = None


# -- brokers --------------------------------------------------------------------------------------


@contextmanager
def _alone(*options: str) -> Iterator[Setting]:
    with broker(*options) as one:
        yield Setting(one, one.url)


@contextmanager
def _cabled() -> Iterator[Setting]:
    with broker() as one:
        cable = Cable(("127.0.0.1", one.port))
        try:
            yield Setting(one, one.url, f"redis://127.0.0.1:{cable.address[1]}/0", cable)
        finally:
            cable.close()


@contextmanager
def _guarded() -> Iterator[Setting]:
    with guarded() as servers:
        yield Setting(servers.master, servers.url)


@contextmanager
def _lagging() -> Iterator[Setting]:
    """The replica stands still until its master is lost."""
    with guarded() as servers:
        kill = servers.master.kill

        def kill_and_promote() -> None:
            kill()
            servers.replica.signal(signal.SIGCONT)

        servers.master.kill = kill_and_promote  # type: ignore[method-assign]
        threading.Timer(1.0, servers.replica.signal, (signal.SIGSTOP,)).start()
        yield Setting(servers.master, servers.url)


# -- what happens ---------------------------------------------------------------------------------


def _restart(scene: Scene) -> None:
    scene.server.kill()
    time.sleep(3)
    scene.server.start()


def _deafen(scene: Scene) -> None:
    for _ in range(60):
        scene.server.command("CLIENT", "KILL", "TYPE", "pubsub")
        time.sleep(1)


def _pause(scene: Scene) -> None:
    scene.server.command("CLIENT", "PAUSE", 8000, "ALL")
    time.sleep(8)


def _fill(scene: Scene) -> None:
    scene.server.command("CONFIG", "SET", "maxmemory", 1)
    time.sleep(3)
    scene.server.command("CONFIG", "SET", "maxmemory", 0)


def _overrun(scene: Scene) -> None:
    scene.server.command("CONFIG", "SET", "client-output-buffer-limit", "pubsub 100kb 0 0")
    with Publisher(scene.url) as publisher:
        large = f"{'x' * _LARGE}.1.{time.monotonic() * 1e6:.0f}"
        publisher.publish("room 1", "said", large)
    time.sleep(1)


def _cut(scene: Scene) -> None:
    assert scene.cable
    scene.cable.cut.set()
    time.sleep(8)
    scene.cable.cut.clear()


def _promote(scene: Scene) -> None:
    scene.server.kill()


def _kill_node(scene: Scene) -> None:
    scene.nodes[0].signal(signal.SIGKILL)


def _stop_node(scene: Scene) -> None:
    scene.nodes[0].signal(signal.SIGSTOP)
    time.sleep(20)
    scene.nodes[0].signal(signal.SIGCONT)


def _nothing(scene: Scene) -> None:
    pass


# -- who notices -----------------------------------------------------------------------------------


def _lives(node: Victim) -> bool:
    return node.program.process.poll() is None


def _is_ready(node: Victim) -> bool | None:
    """None: it does not answer."""
    connection = HTTPConnection(*node.address, timeout=_ANSWER)
    try:
        connection.request("GET", "/readyz")
        return connection.getresponse().status == 200
    except (OSError, HTTPException):
        return None
    finally:
        connection.close()


def _until(happens: Callable[[], bool], since: float) -> float | None:
    while time.monotonic() < since + _SOON + CALM:  # late is something else than never
        if happens():
            return round(time.monotonic() - since, 2)
        time.sleep(_LOOK)
    return None


def _on_readyz(scene: Scene, since: float) -> float | None:
    """One of the servers says that it is not ready."""
    return _until(lambda: any(_is_ready(one) is False for one in scene.nodes if _lives(one)), since)


def _by_members(scene: Scene, since: float) -> float | None:
    """Members of the first server are gone for those of another one."""
    host, port = scene.nodes[1].address
    with SonoClient(f"ws://{host}:{port}/ws") as client:

        def present() -> int:
            return int(client.request("sono.members", {"channel": "room 1"})["count"])

        client.join("room 1")  # or it may not ask
        before = present()
        return _until(lambda: present() < before, since)


def _by_publishing(scene: Scene, since: float) -> float | None:
    """A publication is refused."""
    with Publisher(scene.url) as publisher:

        def is_refused() -> bool:
            try:
                publisher.publish("nobody", "said", "")
            except BackplaneError:
                return True
            return False

        return _until(is_refused, since)


FAULTS: dict[str, Fault] = {
    "restart": Fault(
        "Redis is killed, and restarted without its data",
        _restart,
        3,
        another=True,
        notices=_on_readyz,
    ),
    "restart-with-data": Fault(
        "Redis is killed, and restarted with its append-only file",
        _restart,
        3,
        lambda: _alone("--appendonly", "yes"),
        another=True,
        notices=_on_readyz,
    ),
    "deaf": Fault("CLIENT KILL TYPE pubsub each second for a minute", _deafen, 60),
    "pause": Fault("CLIENT PAUSE for 8 s", _pause, 8, notices=_on_readyz),
    "failover": Fault(
        "a master is killed, and Sentinel promotes", _promote, 4, _guarded, True, _on_readyz
    ),
    "lagging": Fault("the same, with a replica that lags", _promote, 4, _lagging, True, _on_readyz),
    "overrun": Fault("a publication above what Redis keeps for subscribers", _overrun, 1),
    "cut": Fault(
        "one server's network swallows everything for 8 s", _cut, 8, _cabled, notices=_on_readyz
    ),
    "killed": Fault("SIGKILL for one of the servers", _kill_node, 15, notices=_by_members),
    "stopped": Fault(
        "SIGSTOP for one of the servers, SIGCONT after 20 s", _stop_node, 20, notices=_by_members
    ),
    "clocks": Fault(
        "the servers' clocks step by an hour, all the time",
        _nothing,
        5,
        options=("--stepping-clock",),
    ),
    "memory": Fault("maxmemory is reached for 3 s", _fill, 3, notices=_by_publishing),
}


def run(name: str, kind: str, clients: int, rate: float) -> Outcome:
    """One of the faults, from the start of the servers to their end.

    Args:
        kind: of the servers.
        rate: messages a second of all clients.
    """
    fault = FAULTS[name]
    with ExitStack() as stack:
        setting = stack.enter_context((fault.setting or _alone)())
        urls = [setting.url_of_one or setting.url, *[setting.url] * (NODES - 1)]
        nodes = [
            stack.enter_context(victim(kind, "--backplane", url, *fault.options)) for url in urls
        ]
        scene = Scene(setting.server, setting.url, setting.cable, nodes)
        stay = (CALM + fault.lasts + _AFTER) / 2
        ports = [node.address[1] for node in nodes]
        threads = stack.enter_context(ThreadPoolExecutor(2))
        talking = threads.submit(reports_of, ports, clients, 1, rate, stay)
        _ready(nodes, time.monotonic() + _PATIENCE)  # each begins with its first client
        time.sleep(CALM)
        watching = fault.notices and threads.submit(fault.notices, scene, time.monotonic())
        fault.happens(scene)
        over = time.monotonic()
        # Or servers would be found well that have not noticed yet.
        noticed = watching.result() if watching else None
        well = _ready(nodes, over + _PATIENCE) - over
        reports = talking.result()
    outcome = _judged(reports, fault)
    longest = max(report.longest for report in reports)
    outcome.figures |= {
        "seconds until it was noticed": noticed,
        "seconds until all are ready, after the fault": round(well, 2),
        "longest seconds from a publication to a member": round(longest, 2),
    }
    outcome.require(well < _SOON, f"the servers were not ready {_SOON:g} s after it")
    if fault.notices:
        text = f"nobody noticed within {_SOON:g} s"
        outcome.require(noticed is not None and noticed <= _SOON, text)
    return outcome


def _judged(reports: Sequence[Report], fault: Fault) -> Outcome:
    """As `returns`; but what was said during a fault may have failed, and be said to be unknown."""
    judged = judge(reports, sum(report.drops for report in reports))
    outcomes = sum((Counter(report.outcomes) for report in reports), Counter[str]())
    unknown = sum((Counter(report.unknown) for report in reports), Counter[str]())
    anew = sum(len(report.anew) for report in reports)
    wrong = [what for report in reports for what in report.wrong]
    outcome = Outcome(judged.figures, wrong[:10])
    outcome.figures["of a publication the outcome was"] = dict(outcomes)
    outcome.figures["gaps of unknown extent"] = unknown.total()
    outcome.figures["sessions that were gone"] = anew
    lost = [one for one in judged.failures if "heard by nobody" in one and ", 0 of" in one]
    outcome.failures += [] if fault.another else lost
    outcome.require(fault.another or not unknown, "gaps of unknown extent")
    outcome.require(fault.another or not anew, f"{anew} sessions were gone")
    return outcome


def _ready(nodes: Sequence[Victim], until: float) -> float:
    """When all of them are that live."""
    while not all(_is_ready(node) for node in nodes if _lives(node)):
        if time.monotonic() > until:
            break
        time.sleep(_LOOK)
    return time.monotonic()
