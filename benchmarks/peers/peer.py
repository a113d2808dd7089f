"""A server to measure, as data."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from .requirements import MissingError, Requirement

Command = Callable[[str, int, bool], list[str]]
"""The command line of a server, from its mode, its port and whether it compresses."""


@dataclass(frozen=True)
class Peer:
    """One library, used in one way.

    Args:
        modes: what it can serve: `echo` and `fanout` of plain messages, `sono` for packets,
            `lossless` for those of `sono.v2`, `requests` that it answers.
        requires: what it needs; the first item tells its version.
        talk: options with which the load generator speaks to it, by mode.
        environment: added to its environment.
        tls: whether it has the option `--tls`.
    """

    name: str
    command: Command
    modes: Sequence[str]
    requires: Sequence[Requirement] = ()
    talk: Mapping[str, Sequence[str]] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=dict)
    tls: bool = False

    def obstacle(self) -> str:
        """How to make it run here; empty if it does already."""
        try:
            self.version()
        except MissingError as error:
            return str(error)
        return ""

    def version(self) -> str:
        """Its version and those of what it runs on; empty for parts of this project.

        Raises:
            MissingError: something is not installed.
        """
        versions = [(required.name, required.version()) for required in self.requires]
        if not versions:
            return ""
        (_, own), *others = versions
        beside = ", ".join(f"{name} {version}" for name, version in others)
        return f"{own} ({beside})".lstrip() if beside else own

    def options(self, mode: str) -> list[str]:
        """The options with which the load generator speaks to it."""
        return list(self.talk.get(mode, ()))
