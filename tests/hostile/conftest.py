"""Servers in their own processes, whose memory is watched, and a bystander."""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from sono_core import native_available
from tests.certificates import client_side, good
from tests.processes import Program
from tests.servers import PATIENCE, Address, SecureAddress, Wire

# `make test` tries one of them, and `make check` the others too: the rules are the session's.
_QUICK = ("selector", "native" if native_available else "pure")
KINDS = tuple(
    pytest.param(f"{server} {path}", marks=() if (server, path) == _QUICK else pytest.mark.slow)
    for server in ("selector", "asyncio")
    for path in ("native", "pure")
)
_SECURE = pytest.param("selector native tls", marks=pytest.mark.slow)
_OVER_TLS = ("test_frame_rows",)
"""Files whose rows are tried over TLS too, in C: those of bytes, which come in other pieces then.
Rows of crowds and of time would measure handshakes that a test makes one after the other."""
MIB = 1 << 20
FULL = bool(os.environ.get("SONO_HOSTILE_FULL"))
"""Whether to use the sizes of the list; otherwise they are reduced."""
LATENCY = 2.0  # seconds in which a bystander gets its answer, even on a busy machine
_PAGE = os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else 4096


class Victim:
    """A server under attack."""

    def __init__(self, kind: str, *options: str) -> None:
        transport, path, *secure = kind.split()
        with contextlib.ExitStack() as stack:
            stack.enter_context(pure(path == "pure"))
            if secure:
                file = Path(stack.enter_context(tempfile.TemporaryDirectory())) / "server.pem"
                good().private_key_and_cert_chain_pem.write_to_path(str(file))
                options = (*options, f"certificate={file}")
            self.program = Program("-m", "tests.hostile.server", transport, *options, timed=True)
            self.address: Address = self.program.address()
        self.kind = kind
        if secure:
            self.address = SecureAddress(self.address)
            self.address.context = client_side()
        self.proc = Path(f"/proc/{self.program.process.pid}")

    def wire(self, target: str = "/echo", **options: object) -> Wire:
        """A WebSocket to it."""
        return Wire(self.address, target, **options)  # type: ignore[arg-type]

    def resident(self) -> int:
        """Bytes of memory that it has now."""
        return int((self.proc / "statm").read_text().split()[1]) * _PAGE

    def cpu(self) -> float:
        """Seconds of CPU time that it has used."""
        *_, user, system = (self.proc / "stat").read_text().rpartition(")")[2].split()[:13]
        return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")

    def threads(self) -> int:
        return len(list((self.proc / "task").iterdir()))

    @contextlib.contextmanager
    def growing_less_than(self, size: int) -> Iterator[None]:
        """The memory in the with statement stays below the memory before plus this many bytes."""
        if not self.proc.is_dir():  # only Linux tells
            yield
            return
        (self.proc / "clear_refs").write_text("5")  # resets the peak
        before = self.resident()
        yield
        peak = next(
            int(line.split()[1]) * 1024
            for line in (self.proc / "status").read_text().splitlines()
            if line.startswith("VmHWM")
        )
        assert peak - before < size


@contextlib.contextmanager
def pure(wanted: bool) -> Iterator[None]:
    """Makes started processes run in pure Python, or on the native path."""
    before = os.environ.pop("SONO_PURE", None)
    if wanted:
        os.environ["SONO_PURE"] = "1"
    try:
        yield
    finally:
        os.environ.pop("SONO_PURE", None)
        if before is not None:
            os.environ["SONO_PURE"] = before


@contextlib.contextmanager
def serving(kind: str, *options: str) -> Iterator[Victim]:
    """A server for the length of a with statement, which it must survive."""
    if "native" in kind and not native_available:
        pytest.skip("the extension is not built, or SONO_PURE is set")
    victim = Victim(kind, *options)
    yield victim
    victim.program.process.terminate()
    _, errors = victim.program.process.communicate(timeout=PATIENCE)
    assert victim.program.process.returncode == 0
    assert b"Fatal" not in errors


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "running_victim" in metafunc.fixturenames:
        over_tls = metafunc.module.__name__.endswith(_OVER_TLS)
        kinds = (*KINDS, _SECURE) if over_tls else KINDS
        metafunc.parametrize("running_victim", kinds, indirect=True, scope="session")


@pytest.fixture(scope="session")
def running_victim(request: pytest.FixtureRequest) -> Iterator[Victim]:
    with serving(request.param) as victim:
        yield victim


@pytest.fixture
def victim(running_victim: Victim) -> Iterator[Victim]:
    """A server that must survive the test, and still answer a bystander."""
    with running_victim.wire() as bystander:
        yield running_victim
        assert_answered(bystander)
    assert running_victim.program.process.poll() is None


def assert_answered(bystander: Wire) -> None:
    """Its echo comes, and soon."""
    asked = time.monotonic()
    bystander.send("still there?")
    assert bystander.message() == "still there?"
    assert time.monotonic() - asked < LATENCY


linux = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc, as only Linux has it")
