"""Cases whose servers share a broker: what counts is the CPU time of all of them together."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from .peers import Nodes, Server
from .served import Served
from .subjects import obstacle, start
from .targets import BROKER


@dataclass(frozen=True, kw_only=True)
class Shared(Served):
    """Servers that serve as one, with a broker of their own.

    Args:
        nodes: servers of a subject; clients take turns to connect to them.
        alone: the subjects that are one server without a broker.
    """

    mode: str = "nodes"
    nodes: int = 1
    alone: tuple[str, ...] = ()

    def _obstacle(self, subject: str) -> str:
        return obstacle(subject) or ("" if subject in self.alone else obstacle(BROKER))

    def _started(
        self, subject: str, certificate: Path | None
    ) -> AbstractContextManager[Server | Nodes]:
        if subject in self.alone:
            return super()._started(subject, certificate)
        return together(subject, self.mode, self.nodes)


@contextmanager
def together(subject: str, mode: str, count: int) -> Iterator[Nodes]:
    """Servers of a subject and a broker, all on the servers' core."""
    with ExitStack() as stack:
        broker = stack.enter_context(start(BROKER, mode))
        url = f"redis://127.0.0.1:{broker.port}"
        servers = [stack.enter_context(start(subject, mode, backplane=url)) for _ in range(count)]
        yield Nodes(servers, broker)
