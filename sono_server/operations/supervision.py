"""Which worker starts, drains and is killed, and when: decides all of it, and does nothing.

What has happened goes in, with the time; actions come out. So the whole course of a supervisor can
be tested without a process or a clock. `supervisor` carries the actions out.

A *slot* is a worker's place; workers that follow one another have the same. One of them serves.
One may boot: the first, a successor of one that died, or a replacement for the one that serves.
Each worker is of a *generation*; those of an earlier one than the last SIGHUP asked for are
replaced.
"""

import math
import signal
from dataclasses import dataclass
from logging import ERROR, INFO
from typing import NamedTuple, TypeAlias

BOOT = 60.0
"""Seconds that a worker may take until it is ready; then it is killed."""
_STABLE = 10.0  # seconds: whoever served for so long has not failed at once
_FIRST_DELAY = 0.5  # seconds before the second start in a row; it doubles with each
_MAX_DELAY = 30.0  # seconds
GRACE = 2.0
"""Seconds beyond the drain time after which a worker is killed."""
_TOLD = (0, -signal.SIGTERM, -signal.SIGKILL)  # how a worker ends that is told to
_PATIENCE = 5.0  # seconds that connections may wait for a successor


class Start(NamedTuple):
    """Start a process for a slot; later it is spoken of by `worker`."""

    worker: int
    slot: int


class Drain(NamedTuple):
    """Ask a worker to close its connections and end."""

    worker: int
    replaced: bool
    """Whether there is a successor that serves: its clients can come back at once."""


class Kill(NamedTuple):
    """End a worker at once."""

    worker: int


class Mute(NamedTuple):
    """A slot is without a worker for long: no connections should wait for it."""

    slot: int


class Opened(NamedTuple):
    """Each slot has a worker that is ready, or one that has failed: the start is over."""


class Close(NamedTuple):
    """All is over: nobody listens any more."""


class Log(NamedTuple):
    """Say something to the operator."""

    level: int
    text: str


Action: TypeAlias = Start | Drain | Kill | Mute | Opened | Close | Log


@dataclass(eq=False)
class _Worker:
    id: int
    slot: "_Slot"
    generation: int
    since: float
    """When it was started; later, when it became ready."""
    kill_at: float
    draining: bool = False


@dataclass(eq=False)
class _Slot:
    number: int
    serving: _Worker | None = None
    booting: _Worker | None = None
    start_at: float = math.inf
    failures: int = 0
    """In a row, each without a time of stable service before it."""
    boot_time: float = 0.0
    """Seconds that the last one took to get ready."""
    down_since: float | None = None
    """Since when nobody serves, if somebody should."""
    settled: bool = False
    """Whether the first one has become ready, or failed."""


class Supervision:
    """The course of a supervisor.

    Each method is told the time, in seconds of a clock that never steps, and returns what is to be
    done, in this order. Call `tick` when `due` has come.

    Args:
        workers: how many.
        drain: seconds that connections get to close.
        boot: seconds that a worker gets to become ready.
    """

    def __init__(self, workers: int, *, drain: float, boot: float = BOOT) -> None:
        self.status: int | None = None
        """The exit status, once everything is over."""
        self._drain_time = drain
        self._boot_time = boot
        self._slots = [_Slot(number) for number in range(workers)]
        self._workers: dict[int, _Worker] = {}
        self._actions: list[Action] = []
        self._started = 0
        self._generation = 0
        self._wanted = 0  # the least generation that may go on serving
        self._stops = 0
        self._is_open = False  # some worker has been ready
        self._was_told = False  # that the start is over

    # -- what happens -----------------------------------------------------------------------------

    def begin(self, now: float) -> list[Action]:
        """Start the first worker. The others follow when it is ready: a mistake is told once."""
        self._start(self._slots[0], now)
        return self.tick(now)

    def ready(self, worker: int, now: float) -> list[Action]:
        """A worker serves."""
        one = self._workers[worker]
        slot = one.slot
        if one is slot.booting and not self._stops:
            former, slot.serving, slot.booting = slot.serving, one, None
            slot.boot_time, one.since, one.kill_at = now - one.since, now, math.inf
            slot.settled, slot.down_since = True, None
            if former:
                self._drain(former, now, replaced=True)
                self._log(INFO, slot, "has been replaced")
            if not self._is_open:
                self._is_open = True
                for other in self._slots[1:]:
                    other.start_at = now
        return self.tick(now)

    def died(self, worker: int, status: int, what: str, now: float) -> list[Action]:
        """A worker has ended.

        Args:
            status: its exit status; below 0 if a signal has ended it.
            what: the same in words, for the log.
        """
        one = self._workers.pop(worker)
        slot = one.slot
        slot.settled = True
        if one.draining:
            if status not in _TOLD:
                self._log(ERROR, slot, f"{what}, instead of closing its connections")
        elif one is slot.serving:
            slot.serving = None
            if now - one.since >= _STABLE:
                slot.failures = 0
            if slot.booting:  # its replacement is on its way
                self._log(ERROR, slot, what)
            else:
                self._restart(slot, what, now)
        else:
            slot.booting = None
            if slot.serving:
                self._call_off(one, what)
            elif status > 0 and not self._is_open:
                self.status = status  # it has said why, and would say it again
            else:
                self._restart(slot, what, now)
        return self.tick(now)

    def hangup(self, now: float) -> list[Action]:
        """Replace all workers, one by one, also those that are being replaced already."""
        if not self._stops:
            self._generation += 1
            self._wanted = self._generation
            for slot in self._slots:
                if slot.start_at < math.inf:  # what made it fail may be mended
                    slot.start_at, slot.failures = now, 0
        return self.tick(now)

    def stop(self, now: float) -> list[Action]:
        """End everything in good order; the second time, at once."""
        self._stops += 1
        if self._stops == 1:
            self._actions.append(Close())
            for slot in self._slots:
                slot.start_at = math.inf
        for one in self._workers.values():
            if self._stops > 1:
                self._actions.append(Kill(one.id))
            elif not one.draining:
                self._drain(one, now, replaced=False)
        return self.tick(now)

    def tick(self, now: float) -> list[Action]:
        """Do what is due."""
        for one in self._workers.values():
            if one.kill_at <= now:
                one.kill_at = math.inf
                self._actions.append(Kill(one.id))
                late = "does not end" if one.draining else "is not ready in time"
                self._log(ERROR, one.slot, f"{late}, and is killed")
        if self._stops:
            if not self._workers:
                self.status = 0
        elif self.status is None:
            for slot in self._slots:
                if slot.start_at <= now:
                    self._start(slot, now)
            self._replace_next(now)
            if not self._was_told and all(slot.settled for slot in self._slots):
                self._was_told = True
                self._actions.append(Opened())
        actions, self._actions = self._actions, []
        return actions

    @property
    def due(self) -> float:
        """When `tick` has something to do."""
        kills = [one.kill_at for one in self._workers.values()]
        return min([*kills, *(slot.start_at for slot in self._slots)])

    # -- what follows -----------------------------------------------------------------------------

    def _start(self, slot: _Slot, now: float) -> None:
        self._started += 1
        one = _Worker(self._started, slot, self._generation, now, now + self._boot_time)
        slot.start_at = math.inf
        slot.booting = self._workers[one.id] = one
        self._actions.append(Start(one.id, slot.number))

    def _drain(self, one: _Worker, now: float, *, replaced: bool) -> None:
        one.draining = True
        one.kill_at = now + self._drain_time + GRACE
        self._actions.append(Drain(one.id, replaced))

    def _restart(self, slot: _Slot, what: str, now: float) -> None:
        """Start a successor: the first at once, and each that fails too after twice the time."""
        slot.failures += 1
        delay = 0.0
        if slot.failures > 1:
            # exponents are bounded, as failures are not
            delay = min(_MAX_DELAY, _FIRST_DELAY * 2 ** min(slot.failures - 2, 10))
        slot.start_at = now + delay
        if slot.down_since is None:
            slot.down_since = now
        # Once a successor boots it may listen any moment; so this is decided before.
        if slot.start_at + slot.boot_time - slot.down_since > _PATIENCE:
            self._actions.append(Mute(slot.number))
        self._log(
            ERROR, slot, f"{what}; another one starts {f'in {delay:g} s' if delay else 'now'}"
        )

    def _call_off(self, one: _Worker, what: str) -> None:
        """A replacement has failed: the old one serves on, and so do those that were to follow."""
        if one.generation == self._wanted:
            self._wanted = 0
        text = f"is not replaced, as its replacement failed: {what}; the old one goes on"
        self._log(ERROR, one.slot, text)

    def _replace_next(self, now: float) -> None:
        """Begin the next replacement, if nobody boots and nobody drains."""
        if any(one.draining or one is one.slot.booting for one in self._workers.values()):
            return
        for slot in self._slots:
            if slot.serving and slot.serving.generation < self._wanted:
                self._start(slot, now)
                return

    def _log(self, level: int, slot: _Slot, text: str) -> None:
        self._actions.append(Log(level, f"worker {slot.number + 1} {text}"))
