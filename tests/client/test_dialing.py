"""How both clients reach one of a host's addresses: alike, and leaving nothing behind."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time
import types
from collections.abc import Callable, Iterator

import pytest

from sono_client import ConnectError, connect, connect_async
from sono_client.dialing import Dialing
from sono_core.connect import AddressInfo
from tests.async_peers import LOOPS
from tests.client.each_client import Client, run, used
from tests.descriptors import assert_none_stays_open, open_descriptors
from tests.servers import PATIENCE

URL = "ws://several.example/"


Find = Callable[..., None]


@pytest.fixture
def find(monkeypatch: pytest.MonkeyPatch) -> Find:
    """Lets the look-up of any host find these addresses."""

    def found(*addresses: tuple[str, int]) -> None:
        infos: list[AddressInfo] = [
            (socket.AF_INET, socket.SOCK_STREAM, 6, "", address) for address in addresses
        ]
        monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: infos)

    return found


@contextlib.contextmanager
def silence() -> Iterator[tuple[str, int]]:
    """An address that answers nothing: the listener's queue is full."""
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.socket())
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for _ in range(4):
            sock = stack.enter_context(socket.socket())
            sock.setblocking(False)
            sock.connect_ex(listener.getsockname())
        yield listener.getsockname()


@pytest.fixture
def server(echo_url: str) -> tuple[str, int]:
    return "127.0.0.1", int(echo_url.rpartition(":")[2].partition("/")[0])


Refused = Callable[[], tuple[str, int]]


@pytest.fixture
def refused() -> Iterator[Refused]:
    """Makes addresses at which nobody listens, and which no other program gets meanwhile.

    Named last, so that they are free again before a client's descriptors are counted.
    """
    with contextlib.ExitStack() as stack:

        def address() -> tuple[str, int]:
            held = stack.enter_context(socket.socket())
            held.bind(("127.0.0.1", 0))
            made: tuple[str, int] = held.getsockname()
            return made

        yield address


def test_an_address_that_never_answers_costs_little(
    server: tuple[str, int], each_client: Client, find: Find
) -> None:
    with silence() as first, silence() as second:
        find(first, second, server)
        begun = time.monotonic()
        assert each_client(URL, proxy=None, timeout=60.0) == "x"
        assert time.monotonic() - begun < 15, "half a second, on a machine that is not busy"


def test_an_address_that_refuses_costs_nothing(
    server: tuple[str, int], each_client: Client, find: Find, refused: Refused
) -> None:
    find(*(refused() for _ in range(100)), server)
    begun = time.monotonic()
    assert each_client(URL, proxy=None, timeout=60.0) == "x"
    assert time.monotonic() - begun < 100 * 0.25


def test_the_first_that_answers_is_the_one(
    server: tuple[str, int], each_client: Client, find: Find, monkeypatch: pytest.MonkeyPatch
) -> None:
    stopped = types.SimpleNamespace(monotonic=lambda: 0.0)  # so that no other attempt is due
    monkeypatch.setattr("sono_client.dialing.time", stopped)
    with socket.create_server(("127.0.0.1", 0)) as other:
        find(server, other.getsockname())
        assert each_client(URL, proxy=None) == "x"
        other.setblocking(False)
        with pytest.raises(BlockingIOError):
            other.accept()


def test_when_all_fail_each_address_is_named(
    each_client: Client, find: Find, refused: Refused
) -> None:
    find(refused(), refused())
    with pytest.raises(ConnectError) as caught:
        each_client(URL, proxy=None)
    one = "127.0.0.1: Connection refused"
    assert str(caught.value) == f"several.example: {one}; {one}"
    assert isinstance(caught.value.__cause__, ConnectionRefusedError)


def test_when_the_time_is_up_so_is_what_hangs(
    each_client: Client, find: Find, refused: Refused
) -> None:
    with silence() as hanging:
        find(refused(), hanging)
        with pytest.raises(ConnectError) as caught:
            each_client(URL, proxy=None, timeout=2.0)
    reason = "127.0.0.1: Connection refused; 127.0.0.1: took too long"
    assert str(caught.value) == f"several.example: {reason}"


def test_a_host_without_an_address(each_client: Client, find: Find) -> None:
    find()
    with pytest.raises(ConnectError, match=r"^several\.example: the host has no address$"):
        each_client(URL, proxy=None)


def test_a_proxys_host_may_have_several_addresses_too(
    each_client: Client, find: Find, refused: Refused
) -> None:
    find(refused(), refused())
    with pytest.raises(ConnectError) as caught:
        each_client(URL, proxy="http://p:1")
    one = "127.0.0.1: Connection refused"
    assert str(caught.value) == f"several.example: proxy p:1: {one}; {one}"


@pytest.mark.parametrize("kind", LOOPS)
def test_cancelled_while_it_connects_it_leaves_nothing(kind: str, find: Find) -> None:
    async def main() -> None:
        before = open_descriptors()
        connecting = asyncio.ensure_future(opened())
        while open_descriptors() < before + 2:  # noqa: ASYNC110 - nothing tells
            await asyncio.sleep(0.001)
        connecting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await connecting
        assert_none_stays_open(before)

    async def opened() -> None:
        await connect_async(URL, proxy=None, timeout=60.0)

    with silence() as first, silence() as second:
        find(first, second)
        used(kind)
        run(kind, main())


def test_an_interrupt_while_it_waits_leaves_nothing(
    find: Find, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    with silence() as hanging:
        find(hanging)
        before = open_descriptors()
        monkeypatch.setattr("sono_client.dialing._writable", interrupt)
        with pytest.raises(KeyboardInterrupt):
            connect(URL, proxy=None)
        assert_none_stays_open(before)


class Recorded(socket.socket):
    """Keeps the addresses that it was to connect to, and refuses."""

    asked: list[object]

    def connect(self, address: object) -> None:  # type: ignore[override]
        self.asked.append(address)
        raise ConnectionRefusedError(111, "no")


def test_whole_addresses_are_used(
    each_client: Client, find: Find, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[object] = []
    monkeypatch.setattr(Recorded, "asked", asked, raising=False)
    monkeypatch.setattr("sono_client.dialing.socket.socket", Recorded)
    whole = ("fe80::1", 80, 5, 7)
    info = (socket.AF_INET, socket.SOCK_STREAM, 6, "", whole)  # a family that is there anywhere
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: [info])
    with pytest.raises(ConnectError):
        each_client(URL, proxy=None)
    assert asked == [whole]


def test_a_family_that_the_system_lacks_is_passed_over(server: tuple[str, int]) -> None:
    lacking: AddressInfo = (12345, socket.SOCK_STREAM, 6, "", ("x", 1))
    there: AddressInfo = (socket.AF_INET, socket.SOCK_STREAM, 6, "", server)
    with Dialing([lacking, there], PATIENCE).run() as sock:
        assert sock.getpeername() == server
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


def test_of_two_that_answer_at_once_one_is_kept() -> None:
    with socket.create_server(("127.0.0.1", 0)) as one, socket.create_server(("", 0)) as other:
        infos: list[AddressInfo] = [
            (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", listener.getsockname()[1]))
            for listener in (one, other)
        ]
        before = open_descriptors()
        dialing = Dialing(infos, PATIENCE)
        assert dialing.turn() is None
        for info in infos[1:]:
            dialing._begin(info)
        both = list(dialing.sockets)
        for sock in both:
            dialing.writable(sock)
        winner = dialing.turn()
        assert winner in both
        dialing.close()
        assert_none_stays_open(before + 1)
        assert winner.fileno() >= 0  # it is the one
        winner.close()


@pytest.mark.parametrize("polls", [True, False])
def test_it_waits_with_poll_or_with_select(
    polls: bool, find: Find, monkeypatch: pytest.MonkeyPatch, refused: Refused
) -> None:
    if not polls:
        monkeypatch.delattr("select.poll")
    with silence() as hanging:
        find(hanging, refused())
        with pytest.raises(ConnectError, match="took too long"):
            connect(URL, proxy=None, timeout=0.3)
