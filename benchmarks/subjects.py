"""The subjects to measure, by name: Sono, its peers, and the ceiling."""

from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path

from . import load
from .machine import cores
from .peers import PEERS, Peer, Server, running
from .targets import CEILING, PLAIN

_ALWAYS = ("--path",)
_TALKING = (*_ALWAYS, "--subprotocol", "--greet", "--engineio")
_UNDERSTOOD = {
    "connect": _TALKING,
    "idle": _TALKING,
    "resume": (*_ALWAYS, "--subprotocol"),
    "storm": (*_ALWAYS, "--subprotocol"),
}
"""The options of a peer that each command of the load generator accepts; the others accept all."""


def _ceiling(mode: str, port: int, deflate: bool) -> list[str]:
    return [str(load.build().ceiling), "--port", str(port), mode]


_BY_NAME = {peer.name: peer for peer in (*PEERS, Peer(CEILING, _ceiling, ("echo", "fanout")))}
_BY_NAME |= {
    plain: replace(_BY_NAME[name], name=plain, modes=(), tls=False) for name, plain in PLAIN.items()
}


def everybody(mode: str) -> tuple[str, ...]:
    """All subjects with that mode, Sono first, installed or not."""
    return tuple(name for name, peer in _BY_NAME.items() if mode in peer.modes)


def speaks_tls(subject: str) -> bool:
    """Whether a subject does so in cases with TLS."""
    return _BY_NAME[subject].tls


def obstacle(subject: str) -> str:
    """Why a subject cannot be measured; empty if it can."""
    return _BY_NAME[subject].obstacle()


def start(
    subject: str,
    mode: str,
    deflate: bool = False,
    certificate: Path | None = None,
    backplane: str | None = None,
) -> AbstractContextManager[Server]:
    """A subject's server on the servers' core, for the length of a with statement."""
    peer = _BY_NAME[subject]
    return running(peer, mode, cores()[0], deflate, certificate, backplane)


def options_of(subject: str, mode: str, command: str) -> list[str]:
    """The options with which a command of the load generator speaks to a subject."""
    options = _BY_NAME[subject].options(mode)
    understood = _UNDERSTOOD.get(command)
    return [o for o in options if understood is None or o.partition("=")[0] in understood]


def missing() -> dict[str, str]:
    """How to get what is not installed, by name."""
    return {name: why for name in _BY_NAME if (why := obstacle(name))}


def versions() -> dict[str, str]:
    """Versions of the installed subjects."""
    found = {name: peer.version() for name, peer in _BY_NAME.items() if not peer.obstacle()}
    return {name: version for name, version in found.items() if version}
