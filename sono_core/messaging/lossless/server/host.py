"""Between a node and whoever has the connections: what it asks of that one, and its bounds."""

from collections.abc import Collection, Mapping
from typing import Any, Protocol

import msgspec

from sono_core.messaging import Deliver
from sono_core.messaging import Publish as Publication
from sono_core.messaging.lossless import Position, packets

from .sessions import Bounds


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """How much each session may use, and for how long; see `Limits` and `Timeouts`."""

    sessions: Bounds
    max_joined: int
    """Channels of a session beside its current one."""
    max_requests: int
    """Requests of the server that wait for one client, and as many of the client."""
    max_members: int
    """Members in a snapshot."""
    max_channels: int = 100_000
    """Channels of other nodes that clients are told of."""
    max_listing: int
    """Bytes of what is listed."""
    max_present: int
    """Bytes of a member's public data."""
    max_presence: int = 64 << 20
    """Bytes of the public data of all members."""
    grace: float
    """Seconds for which a member is present without a connection."""
    beat: float
    """Seconds; see `packets.Welcome`."""
    request: float = 30.0
    """Seconds for the answer to a client's request that says no other time."""
    renew: float = 60.0
    """Seconds before an identity ends at which a fresh token is asked for; see `Terms`."""
    limits: Mapping[str, int]
    """What clients are told that the server accepts."""


class Host(Protocol):
    """What a node asks of whoever has the connections."""

    def deliver(
        self, publication: Publication, stream: str, at: Position | None, behind: Collection[str]
    ) -> None:
        """Give a publication to all its recipients here but those that are behind.

        Of clients of this dialect to those that are attached. Who is skipped gets a `Skip`, if it
        is among the members and there is a position."""

    def author(self, client: str) -> bytes:
        """What histories call the identity of a client, of whatever dialect: see
        `identities.author_of`."""

    def direct(self, delivery: Deliver) -> None:
        """Give something to one client of another dialect."""

    def end_client(self, client: str, code: int, reason: str) -> None:
        """Close a client of another dialect."""

    def disconnect_clients(self, identity: bytes, code: int, reason: str) -> None:
        """End all clients of an identity, as `identities.written` writes it."""

    def missed_orders(self) -> None:
        """Other nodes may have disconnected identities, and this one does not know which."""

    def attached(self, client: str, connection: Any) -> None:
        """From now on a client gets what is delivered, on that connection."""

    def detached(self, client: str) -> None:
        """From now on it gets nothing."""

    def ended(self, client: str, code: int) -> None:
        """Its session has ended: tell the application, and forget the client."""

    def moved(self, client: str) -> None:
        """Its session goes on at another node, and has not ended: forget the client."""

    def stays(self, client: str) -> None:
        """Its session lives on this node alone, as its identity cannot be written."""

    def send(self, connection: Any, packet: packets.FromServer) -> None:
        """Write a packet."""

    def replay(self, connection: Any, packet: packets.FromServer) -> bool:
        """Write one that is sent again. False: no more now; then `Node.drained` is called."""

    def close(self, connection: Any, code: int, reason: str) -> None:
        """End a connection."""
