"""Clients of other nodes: what this node has done with them, and what others have it do with its.

That an identity is disconnected goes through a stream with a history, so that a node that was cut
off for a while does it when it is back. Who asks a client something waits for the answer, and what
it asked is not repeated later.
"""

import contextlib
from collections.abc import Callable
from functools import partial
from typing import Any, Protocol

from sono_core.errors import LocalProtocolError
from sono_core.messaging.lossless import OWN, Backplane, Data, History, Position, Receipt, Top
from sono_core.messaging.lossless.packets import Failure

from .failures import UNAVAILABLE, unknown_client
from .orders import CONTROL, Answer, Ask, Disconnect, End, Order
from .pending import Pending
from .questions import Answered

PATIENCE = 10.0
"""Seconds for the answer of a client's node, beside those that the client itself has."""
MOST = 10_000
"""Answers of other nodes that may be waited for."""

_HISTORY = History(count=10_000, age=300.0, size=4 << 20)
_AGAIN = 1.0  # seconds after which what did not reach the backplane is said again
_ENVELOPE = 256  # bytes of an order beside its data, about
_LATE = Failure("timeout", "the node of the client has not answered in time", True)
_TOO_MANY = Failure("too-many-requests", f"{MOST} answers of other nodes are waited for", True)


class Here(Protocol):
    """What is done with clients of this node."""

    def end_client(self, client: str, code: int, reason: str) -> bool:
        """End a client; False if it is not here."""

    def ask_client(
        self, client: str, name: str, data: Data, timeout: float, answered: Answered
    ) -> None:
        """Ask it something; nothing happens if it is not here."""

    def disconnect_clients(self, identity: bytes, code: int, reason: str) -> None:
        """End all clients of an identity."""


class Elsewhere:
    """Asks other nodes, and does what they ask.

    Args:
        backplane: has the stream; whoever follows it gives what comes to `ordered`.
        name: of this node, unlike all others.
        clock: the time, in seconds.
        here: has this node's clients.
    """

    def __init__(
        self, backplane: Backplane, name: str, clock: Callable[[], float], here: Here
    ) -> None:
        self._backplane = backplane
        self._name = name
        self._clock = clock
        self._here = here
        self._last = 0
        self._waiting: dict[int, Answered] = {}
        self._pending = Pending(MOST)
        self._owed: dict[Disconnect, None] = {}  # what the backplane did not take
        self._again_at: float | None = None

    # -- what this node wants ---------------------------------------------------------------------

    def disconnect(self, identity: bytes, code: int, reason: str) -> Receipt[Position]:
        """End all clients of an identity on all other nodes. If the backplane does not take it, it
        is said again until it does.

        Args:
            identity: see `identities.written`.
        """
        return self._disconnect(Disconnect(self._name, identity, code, reason))

    def _disconnect(self, order: Disconnect) -> Receipt[Position]:
        receipt = self._backplane.publish(CONTROL, order, _ENVELOPE, _HISTORY)

        def published(receipt: Receipt[Position]) -> None:
            if receipt.error is not None and len(self._owed) < MOST:
                self._owed[order] = None
                self._again_at = self._clock() + _AGAIN

        receipt.then(published)
        return receipt

    def end(self, client: str, code: int, reason: str, answered: Answered) -> None:
        """End a client of another node."""
        make = lambda number: End(self._name, number, client, code, reason)  # noqa: E731
        self._find(client, partial(self._ask, make, PATIENCE), answered)

    def ask(self, client: str, name: str, data: Data, timeout: float, answered: Answered) -> None:
        """Ask a client of another node something.

        Args:
            timeout: seconds.
        """
        make = lambda number: Ask(self._name, number, client, name, timeout, data)  # noqa: E731
        self._find(client, partial(self._ask, make, timeout + PATIENCE), answered)

    def _find(self, client: str, go_on: Callable[[Answered], object], answered: Answered) -> None:
        """Whoever is a client anywhere has a stream of its own."""
        own = f"{OWN}{client}"

        def found(receipt: Receipt[dict[str, Top]]) -> None:
            if receipt.error is not None:
                answered(None, UNAVAILABLE)
            elif own not in receipt.value:
                answered(None, unknown_client(client))
            else:
                go_on(answered)

        self._backplane.tops([own]).then(found)

    def _ask(self, make: Callable[[int], End | Ask], timeout: float, answered: Answered) -> None:
        number = self._last = self._last + 1
        if not self._pending.begin("", number, self._clock() + timeout):
            answered(None, _TOO_MANY)
            return
        self._waiting[number] = answered
        self._order(make(number)).then(partial(self._ordered, number))

    def _order(self, order: End | Ask | Answer) -> Receipt[None]:
        return self._backplane.tell(CONTROL, order)

    def _ordered(self, number: int, receipt: Receipt[None]) -> None:
        if receipt.error is not None:
            self._settle(number, None, UNAVAILABLE)

    def _settle(self, number: int, data: Any, error: Failure | None) -> None:
        if answered := self._waiting.pop(number, None):
            self._pending.end("", number)
            answered(data, error)

    # -- what nodes want --------------------------------------------------------------------------

    def ordered(self, order: Order) -> None:
        """A node wants something; what this one wants comes here as well."""
        with contextlib.suppress(LocalProtocolError, ValueError):  # nobody of ours says such things
            self._carry_out(order)

    def _carry_out(self, order: Order) -> None:
        match order:
            case Disconnect() if order.asker != self._name:
                self._here.disconnect_clients(order.identity, order.code, order.reason)
            case End():
                if self._here.end_client(order.client, order.code, order.reason):
                    self._order(Answer(order.asker, order.number, None))
            case Ask():
                answered = partial(self._answer, order)
                data = order.data or Data.of(None)
                self._here.ask_client(order.client, order.name, data, order.timeout, answered)
            case Answer() if order.asker == self._name:
                value: Any = order.data.value() if order.data else None
                self._settle(order.number, value, order.error)

    def _answer(self, order: Ask, data: Any, error: Failure | None) -> None:
        written = Data.of(data) if error is None else None
        answer = Answer(order.asker, order.number, error, written)

        def told(receipt: Receipt[None]) -> None:
            if receipt.error is not None and written is not None:  # it is too large, perhaps
                failure = Failure("failed", f"the reply cannot be passed on: {receipt.error}")
                self._order(Answer(order.asker, order.number, failure))

        self._order(answer).then(told)

    # -- time -------------------------------------------------------------------------------------

    @property
    def deadline(self) -> float | None:
        """When `tick` may have something to do; None if nothing is waited for."""
        if self._again_at is None or self._pending.deadline is None:
            return self._pending.deadline or self._again_at
        return min(self._pending.deadline, self._again_at)

    def end_all(self) -> None:
        """This node ends: nothing is waited for any more."""
        waiting, self._waiting = self._waiting, {}
        for number, answered in waiting.items():
            self._pending.end("", number)
            answered(None, UNAVAILABLE)

    def tick(self, now: float) -> None:
        """Give up what is waited for too long, and say again what has to be."""
        if self._again_at is not None and self._again_at <= now:
            self._again_at = None
            owed, self._owed = self._owed, {}
            for order in owed:
                self._disconnect(order)
        for _, number in self._pending.expire(now):
            self._waiting.pop(number)(None, _LATE)
