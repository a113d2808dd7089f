"""Letting go what an author has said, in all streams that the servers have."""

from collections.abc import Callable
from functools import partial
from typing import Any

from sono_core.messaging.lossless import BackplaneError, Receipt

from . import scripts, wire
from .attendance import Put
from .keys import Keys
from .shards import Shards

_ROUNDS = 5  # a cluster's slots may go to another server meanwhile, past whoever looks there


class Erasing:
    """One time: server by server, and some streams at once.

    Args:
        put: has a script run.
        keys: of the deployment.
        shards: the servers.
        author: whose entries go.
    """

    def __init__(self, put: Put, keys: Keys, shards: Shards, author: bytes) -> None:
        self.receipt: Receipt[int] = Receipt()
        """Done with the number of entries that are gone."""
        self._put = put
        self._keys = keys
        self._shards = shards
        self._author = author
        self._erased = 0
        self._rounds = 0
        self._owners: object = None
        self._homes: list[str] = []
        self._missing = 0  # streams that are being looked through
        self._begin()

    def _begin(self) -> None:
        self._rounds += 1
        self._owners = self._shards.owners()
        # What is asked of a cluster that is not known yet waits until it is, and that is a change.
        self._homes = self._shards.homes() or [self._keys.nodes]
        self._next()

    def _next(self) -> None:
        if self._homes:
            self._scan(self._homes.pop(), "0")
        elif self._owners == self._shards.owners():
            self.receipt.complete(self._erased)
        elif self._rounds < _ROUNDS:
            self._begin()
        else:
            self.receipt.fail(BackplaneError("the cluster's slots go from server to server"))

    def _scan(self, home: str, cursor: str) -> None:
        found: Receipt[Any] = Receipt()
        found.then(partial(self._found, home))
        pattern = self._keys.entries_of("*")
        self._put(found, wire.as_is, scripts.STREAMS, (home,), pattern, cursor)

    def _found(self, home: str, found: Receipt[Any]) -> None:
        if found.error is not None:
            self.receipt.fail(found.error)
            return
        cursor, names = found.value
        go_on = self._next if cursor == b"0" else partial(self._scan, home, cursor.decode())
        self._missing = 1
        for name in names:
            stream = self._keys.with_entries(name.decode(errors="replace"))
            self._missing += 1
            erasing: Receipt[int] = Receipt()
            erasing.then(partial(self._one_less, go_on))
            channel = self._keys.channel(stream)
            keys = self._keys.of_stream(stream)
            self._put(erasing, int, scripts.ERASE, keys, self._author, channel=channel)
        self._one_less(go_on, Receipt.of(0))

    def _one_less(self, go_on: Callable[[], object], erased: Receipt[int]) -> None:
        self._missing -= 1
        if erased.error is not None:
            self.receipt.fail(erased.error)
        else:
            self._erased += erased.value
        if not self._missing and not self.receipt.done:
            go_on()
