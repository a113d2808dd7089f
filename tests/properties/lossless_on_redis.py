"""The country of `lossless_country` behind one real Redis: a backplane for each node.

Nothing happens by itself, so that walks are nearly the same each time: an operation is done when it
is called, and what the broker tells meanwhile is delivered in the steps of `DelayedBackplane`.
"""

from __future__ import annotations

import contextlib
import itertools
import queue
from collections.abc import Callable, Iterable
from random import Random
from typing import Any

from sono_core.messaging.lossless import Backplane, BackplaneError, Position, Receipt
from sono_server.backplane import Envelopes
from tests.properties.lossless_country import Country
from tests.properties.lossless_town import Town
from tests.servers import PATIENCE

_numbers = itertools.count(1)


class _Prompt:
    """What a node asks is done when the call returns; see `Prompt`."""

    shared = True

    def __init__(self, country: CountryOnRedis, *, listens: bool = True) -> None:
        from sono_server.backplane.redis import RedisBackplane

        self._country = country
        self._calls: queue.SimpleQueue[Callable[[], object]] = queue.SimpleQueue()
        self.inner = RedisBackplane(
            country.url,
            self._calls.put,
            Envelopes(),
            prefix=country.prefix,
            clock=lambda: country.now,
            listens=listens,
        )
        self.node = self.inner.node
        self.inner.start()

    def done(self, receipt: Receipt[Any]) -> Receipt[Any]:
        while not receipt.done:
            self._calls.get(timeout=PATIENCE)()
        return receipt

    def settle(self) -> None:
        """Hear all that has been told: a probe comes back behind it."""
        self.inner.tick()
        back = 0
        while back < 2:
            probe = self.inner.probe()
            if probe.done:  # no server is known yet
                self._calls.get(timeout=PATIENCE)()
                continue
            with contextlib.suppress(BackplaneError):
                back += self.done(probe).error is None

    def alive(self, node: str) -> Receipt[bool]:
        return Receipt.of(node in self._country.alive)


def _forwarded(name: str) -> Callable[..., Receipt[Any]]:
    def operation(self: _Prompt, *arguments: Any, **named: Any) -> Receipt[Any]:
        receipt = self.done(getattr(self.inner, name)(*arguments, **named))
        if receipt.error is None:
            self._country.note(name, arguments, receipt.value)
        return receipt

    return operation


_rest = {
    name: _forwarded(name)
    for name in (*Backplane.__abstractmethods__, "announce", "announced")  # type: ignore[attr-defined]
    if name not in vars(_Prompt)
}
Prompt: Any = type("Prompt", (_Prompt, Backplane), _rest)


class _Ledger:
    """The bodies of all entries, by stream and epoch, as the nodes' publications were answered."""

    def __init__(self, eye: Any) -> None:
        self.written: dict[tuple[str, str], list[Any]] = {}
        self._eye = eye

    def tops(self, names: Iterable[str]) -> dict[str, Position]:
        found: dict[str, Any] = self._eye.tops(list(names)).value
        return {name: top.at for name, top in found.items()}

    def free(self, name: str) -> None:
        self._eye.free(name)


class CountryOnRedis(Country):
    """See the module.

    Args:
        url: of the server.
        short: see `Country`.
    """

    def __init__(self, rng: Random, url: str, *, short: bool) -> None:
        self.url = url
        self.prefix = f"walk-{next(_numbers)}"
        self._prompts: dict[str, Any] = {}
        super().__init__(rng, distant=True, short=short, nodes=3)

    def keep(self) -> None:
        self._eye = Prompt(self, listens=False)
        self.ledger: Any = _Ledger(self._eye)

    def backplane(self, name: str | None) -> Backplane:
        assert name
        prompt: Backplane = Prompt(self)
        self._prompts[name] = prompt
        return prompt

    def note(self, name: str, arguments: tuple[Any, ...], value: Any) -> None:
        """What an operation has done."""
        if name == "drop_session" and value:
            self.ended.add(arguments[0])
        elif name in ("publish", "send") and value is not None:
            stream, body, *_ = arguments
            bodies = self.ledger.written.setdefault((stream, value.epoch), [])
            if value.offset == len(bodies) + 1:
                bodies.append(body)
            assert value.offset <= len(bodies), f"{stream} has no {value}"

    def forget(self, town: Town) -> None:
        self._prompts.pop(town.backplane.node).inner.close()

    def one_more(self) -> bool:
        if super().one_more():
            return True
        for prompt in self._prompts.values():
            prompt.settle()
        return any(town.distant and town.distant.waits for town in self.towns)

    def close(self) -> None:
        for prompt in (self._eye, *self._prompts.values()):
            prompt.inner.close()
