"""The names of keys and channels in the broker.

All of a stream have the stream's name in braces, so that a cluster keeps them in one slot.
"""

import re
from collections.abc import Callable
from functools import lru_cache

PREFIX = "sono"
"""Of all names, unless another is chosen: deployments that share a server need one each."""

_STREAMS = 1024  # whose names are kept: those in which much is said have them at once
_PREFIX = re.compile(r"[A-Za-z0-9_.:-]{1,64}", re.ASCII)


class Keys:
    """Names under a prefix.

    Args:
        database: its number, which is in all names: channels are not in a database.

    Raises:
        ValueError: the prefix has other characters than letters, digits and `_.:-`, or above 64.
    """

    __slots__ = ("of_stream", "prefix")

    def __init__(self, prefix: str = PREFIX, database: int = 0) -> None:
        if not _PREFIX.fullmatch(prefix):
            raise ValueError(
                f"prefix must be 1 to 64 letters, digits, '_', '.', ':' and '-', not {prefix!r}"
            )
        # No prefix has an @, so it is no other one's.
        self.prefix: str = f"{prefix}:@{database}" if database else prefix
        self.of_stream: Callable[[str], tuple[str, ...]] = lru_cache(_STREAMS)(self._of_stream)
        """Of a stream: its hash, entries, newer and older keys of publications, roster, fences."""

    def _of_stream(self, stream: str) -> tuple[str, ...]:
        name = self.channel(stream)
        return name, self.entries_of(stream), f"{name}:k", f"{name}:o", f"{name}:r", f"{name}:f"

    def channel(self, stream: str) -> str:
        """Where what happens in a stream is told; its hash has the same name."""
        return f"{self.prefix}:{{{stream}}}"

    def stream(self, channel: str) -> str:
        """The stream whose channel it is."""
        return channel[len(self.prefix) + 2 : -1]

    def entries_of(self, stream: str) -> str:
        """Of a stream's entries; with `*` in the place of its name, a pattern of all such keys."""
        return f"{self.channel(stream)}:s"

    def with_entries(self, key: str) -> str:
        """The stream whose entries have that key."""
        return self.stream(key[:-2])

    def session(self, session: str) -> str:
        """Of a session, by its public id."""
        return f"{self.prefix}:session:{{{session}}}"

    def lease(self, node: str) -> str:
        """Of a node, while it is there."""
        return f"{self.prefix}:alive:{{{node}}}"

    @property
    def nodes(self) -> str:
        """Of the nodes' leases."""
        return f"{self.prefix}:nodes"

    def node(self, name: str) -> str:
        """Of the streams in which a node has members."""
        return f"{self.prefix}:node:{{{name}}}"

    def probe(self, node: str) -> str:
        """Where a node hears its own probes."""
        return f"{self.prefix}:probe:{{{node}}}"
