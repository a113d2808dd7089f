"""Which server of a cluster has which slots: asked of whichever node answers, in a thread."""

import threading
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, NamedTuple

from sono_server.backplane.errors import UnusableError
from sono_server.serving import logger

from .commands import CLOSING, FIRST_DELAY, LAST_DELAY
from .handover import Handover
from .servers import EXPECTED, Address, Link, connecting

PAUSE = 0.1
"""Seconds between two times that a cluster is asked, at least."""


class Range(NamedTuple):
    """Slots of one server."""

    first: int
    last: int
    address: Address
    """Of their master."""


def read(link: Link, asked: Address) -> list[Range]:
    """What a node knows of its cluster.

    Args:
        asked: the node.

    Raises:
        UnusableError: it is in no cluster.
        ConnectionResetError: it is cut off from most of the others, so others may know better.
    """
    link.ask(("INFO", "cluster"))
    if link.ask(("CLUSTER", "INFO")).get("cluster_state") != "ok":
        raise ConnectionResetError("the cluster is down, as far as one of its nodes knows")
    link.send(("CLUSTER", "SLOTS"))
    return [
        Range(int(first), int(last), (_host(master[0], asked), int(master[1])))
        for first, last, master, *_ in link.receive()
    ]


def _host(named: Any, asked: Address) -> str:
    """A node that does not know its own name is where it was asked."""
    name: str = named.decode() if named else "?"
    return asked[0] if name == "?" else name


class Scout:
    """Finds out which server has which slots, from `start` to `close`, whenever it is asked to.

    Args:
        connect: makes a connection to a node.
        seeds: nodes that are asked while no others are known.
        handover: to the thread of whoever wants to know.
        found: called there with what was found.
        failed: called there each time that no node knows, with why if that will not pass.
    """

    def __init__(
        self,
        connect: Callable[[Address], Link],
        seeds: Iterable[Address],
        handover: Handover,
        found: Callable[[list[Range]], object],
        failed: Callable[[UnusableError | None], object],
    ) -> None:
        self._connect = connect
        self._seeds = tuple(seeds)
        self._known: dict[Address, None] = {}  # masters, as last found
        self._better: Address | None = None  # a node that somebody else says to know
        self._worse: set[Address] = set()  # nodes that did not do what they were asked
        self._handover = handover
        self._found = found
        self._failed = failed
        self._lock = threading.Condition()
        self._asked = False
        self._closed = False
        self._away = False
        self._link: Link | None = None
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin, and find out."""
        if self._thread is not None:
            self._thread.join()
        self._closed, self._asked = False, True
        self._thread = threading.Thread(target=self._run, name="sono-cluster", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End. A node that does not answer is waited for no longer than CLOSING seconds."""
        with self._lock:
            self._closed = True
            self._lock.notify()
        if self._thread is not None:
            if link := self._link:
                link.abort()
            self._thread.join(CLOSING)

    def ask(self, better: Address | None = None, worse: Address | None = None) -> None:
        """Find out soon. From any thread.

        Args:
            better: a node that knows.
            worse: one that may not.
        """
        with self._lock:
            self._asked = True
            self._better = better or self._better
            if worse is not None:
                self._worse.add(worse)
            self._lock.notify()

    # -- in the thread ----------------------------------------------------------------------------

    def _run(self) -> None:
        delay = FIRST_DELAY
        while self._wait():
            try:
                found = self._look()
            except Exception as error:
                self._lost(error)
                with self._lock:
                    self._asked = True
                    self._lock.wait_for(lambda: self._closed, delay)
                delay = min(2 * delay, LAST_DELAY)
                continue
            delay = FIRST_DELAY
            if self._away:
                self._away = False
                logger.warning("the backplane's cluster answers again")
            self._handover.put([partial(self._found, found)])
            with self._lock:
                self._lock.wait_for(lambda: self._closed, PAUSE)

    def _wait(self) -> bool:
        while True:
            with self._lock:
                if self._lock.wait_for(lambda: self._asked or self._closed, LAST_DELAY):
                    self._asked = False
                    return not self._closed
            self._handover.retry()

    def _look(self) -> list[Range]:
        """Ask one node after the other, those that should know first.

        Raises:
            Exception: what the last one raised that was asked, or the first that will not do.
        """
        with self._lock:
            better, self._better = self._better, None
            worse, self._worse = self._worse, set()
        nodes = dict.fromkeys([*([better] if better else ()), *self._known, *self._seeds])
        failure: Exception | None = None
        for address in sorted(nodes, key=lambda one: one in worse and one != better):
            if self._closed:
                break
            try:
                found = self._ask(address)
            except Exception as error:
                failure = failure if isinstance(failure, UnusableError) else error
            else:
                self._known = dict.fromkeys(one.address for one in found)
                return found
        raise failure or ConnectionResetError("closed")

    def _ask(self, address: Address) -> list[Range]:
        link = self._link = self._connect(address)
        try:
            with connecting():
                link.open()
                return read(link, address)
        finally:
            self._link = None
            link.close()

    def _lost(self, error: Exception) -> None:
        if not self._away and not self._closed:
            self._away = True
            unexpected = None if isinstance(error, EXPECTED) else error
            logger.error("the backplane's cluster is not found: %s", error, exc_info=unexpected)
        refused = error if isinstance(error, UnusableError) else None
        self._handover.put([partial(self._failed, refused)])
