"""What the host of a node asks of whoever knows the application."""

from collections.abc import Callable, Collection
from typing import Any, Protocol

from sono_core.events import Close
from sono_core.messaging import Hub, Publish
from sono_core.messaging.lossless import Position
from sono_server.serving import HTTPRequest, Loop

from .clients import Broadcaster, Client
from .hooks import EventHandler
from .patterns import ByPattern
from .receipts import Promise
from .trampoline import Steps


class Owner(Broadcaster, Protocol):
    """What is asked of the dispatcher, which knows the application."""

    hub: Hub
    clients: dict[str, Client]
    loop: Loop | None
    handlers: dict[str, list[tuple[EventHandler, Any]]]
    answers: dict[str, tuple[EventHandler, Any]]
    on_publish: ByPattern
    identify: Callable[[HTTPRequest], Steps]

    def may_enter(self, client: Client, channel: str, again: bool = False) -> Steps:
        """See `Hooks`."""

    def may_publish(self, client: Client, channel: str, event: str, payload: Any) -> Steps:
        """See `Hooks`."""

    def hear(self, client: Client, event: str, payload: Any) -> Steps:
        """See `Hooks`."""

    def connected(self, client: Client) -> Steps:
        """See `Hooks`."""

    def suspended(self, client: Client) -> Steps:
        """See `Hooks`."""

    def resumed(self, client: Client) -> Steps:
        """See `Hooks`."""

    def departed(self, client: Client, channel: str) -> Steps:
        """See `Hooks`."""

    def reviewed(self, client: Client, promise: Promise[list[str]]) -> Steps:
        """See `Dispatcher`."""

    def gone(self, client: Client, close: Close) -> Steps:
        """See `Hooks`."""

    def withhold(self, event: str, number: int) -> None:
        """See `Dispatcher`."""

    def deliver(
        self, publication: Publish, stream: str, at: Position | None, behind: Collection[str]
    ) -> None:
        """Send a publication to its recipients here, but for those that are behind."""

    def soon(self, function: Callable[[], object]) -> bool:
        """Call the function in the loop's thread, now or soon; False if the loop has ended."""

    def cause(self, client: Client, publication: Publish | None, act: Callable[[], object]) -> None:
        """Do what a packet causes, in this turn or a later one."""
