"""How `connect_async` opens a connection, fails and is cancelled, on both event loops."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from sono_client import ConnectError, connect_async
from sono_core import Limits, LocalProtocolError
from sono_core.connect.connector import Connector
from sono_server import serve_async
from tests.async_peers import (
    MIB,
    QUICK,
    TEXT,
    Loop,
    Peer,
    echo,
    eventually,
    frame,
    scripted,
    serving,
    switching,
    turns,
)
from tests.certificates import client_side, server_side
from tests.servers import free_port


def refusal(run: Loop, url: str, **options: Any) -> ConnectError:
    """The exception that it raises."""

    async def main() -> None:
        await connect_async(url, **options)

    with pytest.raises(ConnectError) as caught:
        run(main())
    return caught.value


def refused_by(run: Loop, script: Any, **options: Any) -> ConnectError:
    """The exception that the client raises when a server runs that script."""

    async def main() -> None:
        async with scripted(script) as url:
            await connect_async(url, **options)

    with pytest.raises(ConnectError) as caught:
        run(main())
    assert str(caught.value).startswith("127.0.0.1:")
    return caught.value


# -- failures -----------------------------------------------------------------------------------


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_a_refused_connection_names_the_server_and_the_reason(run: Loop, host: str) -> None:
    port = free_port()
    error = refusal(run, f"ws://{host}:{port}/", proxy=None)
    assert str(error) == f"{host}:{port}: Connection refused"
    assert error.status is None


def test_a_name_that_is_not_found(run: Loop, monkeypatch: pytest.MonkeyPatch) -> None:
    async def getaddrinfo(*arguments: object, **options: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    async def main() -> None:
        loop = asyncio.get_running_loop()
        if isinstance(loop, asyncio.BaseEventLoop):
            monkeypatch.setattr(loop, "getaddrinfo", getaddrinfo)
        await connect_async("ws://nowhere.invalid/", proxy=None)

    with pytest.raises(ConnectError, match=r"nowhere\.invalid: Name or service not known"):
        run(main())


def test_a_connection_that_takes_too_long(run: Loop) -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        port = listener.getsockname()[1]
        full = []
        while True:  # until the kernel's buffers are full
            sock = socket.socket()
            full.append(sock)
            sock.settimeout(0.05)
            try:
                sock.connect(("127.0.0.1", port))
            except TimeoutError:
                break
        try:
            error = refusal(run, f"ws://127.0.0.1:{port}/", timeout=0.05)
        finally:
            for sock in full:
                sock.close()
    assert str(error) == f"127.0.0.1:{port}: connecting took too long"


def test_a_server_that_says_nothing_meets_the_deadline(run: Loop) -> None:
    async def script(peer: Peer) -> None:
        await peer.gone()

    error = refused_by(run, script, timeouts=QUICK)
    assert str(error).endswith(": the handshake took too long")


@pytest.mark.parametrize("part", [b"", b"HTTP/1.1 101 Switching"])
def test_a_server_that_drops_in_the_handshake(run: Loop, part: bytes) -> None:
    async def script(peer: Peer) -> None:
        await peer.head()
        peer.writer.write(part)

    error = refused_by(run, script)
    assert error.status is None
    assert "ended" in str(error) or "lost" in str(error), error


def test_a_server_that_resets_in_the_handshake(run: Loop) -> None:
    async def script(peer: Peer) -> None:
        await peer.head()
        peer.writer.transport.abort()

    assert refused_by(run, script).status is None


def test_a_server_that_speaks_before_it_is_asked(run: Loop) -> None:
    async def script(peer: Peer) -> None:
        peer.writer.write(b"220 smtp.example.com ESMTP\r\n\r\n")
        await peer.gone()

    assert refused_by(run, script).status is None


def test_a_refusal_has_its_status_and_what_the_server_says(run: Loop) -> None:
    async def script(peer: Peer) -> None:
        await peer.answer("503 Busy", "Retry-After: 7", body=b"come back later\nor not")

    error = refused_by(run, script)
    assert str(error).endswith(": refused with status 503: come back later")
    assert (error.status, error.retry_after) == (503, 7.0)


def test_what_fails_when_the_session_is_made_is_raised(
    run: Loop, monkeypatch: pytest.MonkeyPatch
) -> None:
    def begin(*arguments: object) -> None:
        raise ValueError("no such host")

    async def main() -> None:
        monkeypatch.setattr(Connector, "begin", begin)
        async with scripted(lambda peer: peer.gone()) as url:
            with pytest.raises(ValueError, match="no such host"):
                await connect_async(url)

    run(main())


def test_a_connection_is_opened_once(run: Loop) -> None:
    async def main() -> None:
        async with serving(echo) as url:
            connecting = connect_async(url)
            async with connecting:
                pass
            with pytest.raises(LocalProtocolError):
                await connecting

    run(main())


# -- handshakes ---------------------------------------------------------------------------------


def test_a_response_that_comes_byte_by_byte(run: Loop) -> None:
    async def script(peer: Peer) -> None:
        for byte in switching(await peer.head()) + frame(TEXT, b"hello"):
            peer.writer.write(bytes((byte,)))
            await turns(2)
        await peer.frame()

    async def main() -> None:
        async with scripted(script) as url, connect_async(url) as ws:
            assert await ws.recv() == "hello"

    run(main())


def test_a_redirect_is_followed_and_a_loop_of_them_is_not(run: Loop) -> None:
    async def main() -> None:
        async def script(peer: Peer) -> None:
            await peer.answer("302 Found", f"Location: {place}")

        async with serving(echo) as place, scripted(script) as url:
            async with connect_async(url) as ws:
                await ws.send("x")
                assert await ws.recv() == "x"
            with pytest.raises(ConnectError, match="redirected once too often"):
                await connect_async(url, max_redirects=0)

    run(main())

    async def around(peer: Peer) -> None:
        await peer.answer("307 Again", "Location: /again")

    error = refused_by(run, around, max_redirects=5)
    assert str(error).endswith(": redirected once too often: /again")


def test_a_unix_socket(run: Loop, tmp_path: Path) -> None:
    path = str(tmp_path / "socket")

    async def main() -> None:
        async with serve_async(unix=path) as server:
            serving = asyncio.ensure_future(anext(server))
            connecting = asyncio.ensure_future(_open(path))
            echo(await serving)
            ws = await connecting
            await ws.send("x")
            assert await ws.recv() == "x"
            await ws.close()

    async def _open(path: str) -> Any:
        return await connect_async("ws://localhost/", unix=path)

    run(main())
    error = refusal(run, "ws://localhost/", unix=f"{path}-nowhere")
    assert str(error) == "localhost: No such file or directory"


# -- through a proxy ----------------------------------------------------------------------------


@asynccontextmanager
async def connect_proxy(requests: list[str]) -> AsyncIterator[str]:
    """A proxy that understands CONNECT, and its URL."""

    async def script(peer: Peer) -> None:
        head = await peer.head()
        requests.append(head)
        host, _, port = head.split()[1].rpartition(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        peer.writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
        pipes = [
            asyncio.ensure_future(pipe(peer.reader, writer)),
            asyncio.ensure_future(pipe(reader, peer.writer)),
        ]
        try:
            await asyncio.wait(pipes)
        finally:
            for task in pipes:
                task.cancel()
            writer.transport.abort()

    async with scripted(script) as url:
        yield url.replace("ws://", "http://user:secret@")


async def pipe(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(1 << 18):
        writer.write(data)
        await writer.drain()
    writer.write_eof()


@pytest.mark.parametrize("secure", [False, True], ids=["plain", "tls"])
def test_a_proxy_carries_everything(run: Loop, secure: bool) -> None:
    requests: list[str] = []
    limits = Limits(max_queue=4 * MIB)
    server = server_side() if secure else None
    client = client_side() if secure else None

    async def main() -> None:
        async with serving(echo, ssl=server) as plain, connect_proxy(requests) as proxy:
            url = plain.replace("ws:", "wss:") if secure else plain
            options: dict[str, Any] = {"proxy": proxy, "limits": limits, "ssl": client}
            async with connect_async(url, deflate=None, **options) as ws:
                messages: list[Any] = ["text", b"", bytes(MIB), *(str(n) for n in range(2000))]
                for message in messages:
                    await ws.send(message)
                assert [await ws.recv() for _ in messages] == messages
                assert await ws.ping() > 0
                assert ws.send_nowait(bytes(5 * MIB // 4))  # more than one write takes
                with pytest.raises(Exception, match="1009"):
                    await ws.recv()
            assert requests[0].startswith(f"CONNECT {plain[5:-1]} HTTP/1.1\r\n")
            assert "Basic dXNlcjpzZWNyZXQ=" in requests[0]

    run(main())


def test_much_sent_at_once_through_a_proxy_is_decided_by_the_session(run: Loop) -> None:
    async def script(peer: Peer) -> None:
        await peer.head()
        peer.writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        await peer.accept()
        peer.writer.transport.pause_reading()  # type: ignore[attr-defined]
        await asyncio.Event().wait()

    async def main() -> None:
        async with scripted(script) as url:
            proxy = url.replace("ws:", "http:")
            ws = await connect_async(
                "ws://example.com/", proxy=proxy, limits=Limits(max_queue=MIB), deflate=None
            )
            await turns(5)  # from then on C sends
            while ws.send_nowait(bytes(1000)):
                pass
            assert (await ws.wait_closed()).code == 4008

    run(main())


def test_a_callback_through_a_proxy(run: Loop) -> None:
    async def main() -> None:
        got: list[Any] = []

        def answer(ws: Any, message: Any) -> None:
            got.append(message)
            if message < "9":
                ws.send_nowait(str(int(message) + 1))

        async with (
            serving(echo) as url,
            connect_proxy([]) as proxy,
            connect_async(url, proxy=proxy, on_message=answer, deflate=None) as ws,
        ):
            ws.send_nowait("0")
            await eventually(lambda: len(got) == 10)

    run(main())


@pytest.mark.parametrize(
    ("answer", "status", "text"),
    [
        (b"HTTP/1.1 407 Who are you\r\n\r\n", 407, "refused with status 407: Who are you"),
        (b"nonsense\r\n\r\n", None, "malformed"),
        (b"", None, "ended the connection before the tunnel was open"),
    ],
)
def test_a_proxy_that_refuses(run: Loop, answer: bytes, status: int | None, text: str) -> None:
    async def script(peer: Peer) -> None:
        await peer.head()
        peer.writer.write(answer)

    async def main() -> None:
        async with scripted(script) as url:
            place = url.removeprefix("ws://").strip("/")
            with pytest.raises(ConnectError) as caught:
                await connect_async("ws://example.com/", proxy=f"http://{place}")
            assert str(caught.value).startswith(f"example.com: proxy {place}: ")
            assert text in str(caught.value)
            assert caught.value.status == status

    run(main())


def test_a_proxy_that_is_not_there(run: Loop) -> None:
    port = free_port()
    error = refusal(run, "ws://example.com/", proxy=f"http://127.0.0.1:{port}")
    assert str(error) == f"example.com: proxy 127.0.0.1:{port}: Connection refused"


# -- cancelled ----------------------------------------------------------------------------------


class Suspensions:
    """Awaits a coroutine, and cancels the task when it suspends for the `number`th time."""

    def __init__(self, coroutine: Any, number: int) -> None:
        self._coroutine = coroutine
        self._left = number

    def __await__(self) -> Any:
        inner = self._coroutine.__await__()
        throw: BaseException | None = None
        while True:
            try:
                waits_for = inner.throw(throw) if throw else inner.send(None)
            except StopIteration as stop:
                return stop.value
            self._left -= 1
            if not self._left:
                task = asyncio.current_task()
                assert task
                task.cancel()
            try:
                throw = None
                yield waits_for
            except BaseException as error:
                throw = error


async def life(url: str, proxy: str | None) -> None:
    """A connection from its beginning to its end."""
    async with connect_async(url, proxy=proxy, timeouts=QUICK) as ws:
        await ws.send(bytes(300_000))
        await ws.send("x")
        await ws.recv()
        await ws.ping()
        async for _ in ws:
            break


@pytest.mark.parametrize("proxied", [False, True])
def test_cancelled_at_any_suspension_nothing_is_left(run: Loop, proxied: bool) -> None:
    async def main() -> None:
        async with serving(echo) as url, connect_proxy([]) as address:
            proxy = address if proxied else None
            for number in range(1, 100):

                async def cancelled(number: int = number) -> None:
                    await Suspensions(life(url, proxy), number)

                task = asyncio.ensure_future(cancelled())
                await asyncio.wait([task])
                if not task.cancelled():
                    assert number > 4
                    task.result()
                    break
            else:
                raise AssertionError("it never came to its end")

    run(main())


@pytest.mark.parametrize("proxied", [False, True])
def test_cancelled_after_any_number_of_turns_nothing_is_left(run: Loop, proxied: bool) -> None:
    async def main() -> None:
        async with serving(echo) as url, connect_proxy([]) as address:
            for number in range(60):
                task = asyncio.ensure_future(life(url, address if proxied else None))
                await turns(number)
                task.cancel()
                await asyncio.wait([task])
                if not task.cancelled():
                    task.result()

    run(main())


def test_a_time_out_of_asyncio_around_it_leaves_nothing(run: Loop) -> None:
    async def main() -> None:
        async with scripted(lambda peer: peer.gone()) as url:
            with pytest.raises(asyncio.TimeoutError):
                await asyncio.wait_for(_await(connect_async(url)), 0.02)

    async def _await(connecting: Any) -> None:
        await connecting

    run(main())


PROGRAM = """
import asyncio
from sono_client import connect_async
from sono_server import serve_async

async def main():
    asyncio.get_running_loop().slow_callback_duration = 10  # a busy machine is told about otherwise
    heard = asyncio.Event()
    async with serve_async("127.0.0.1", 0) as server:
        accepting = asyncio.ensure_future(anext(server))
        url = f"ws://127.0.0.1:{server.address[1]}/"
        living = asyncio.ensure_future(live(url, heard))
        (await accepting).accept(on_message=lambda ws, message: ws.send(message))
        await asyncio.wait_for(heard.wait(), 20)
        living.cancel()
        await asyncio.wait([living])

async def live(url, heard):
    async with connect_async(url) as ws:
        await ws.send("x")
        await ws.ping()
        async for _ in ws:
            print("echoed")
            heard.set()

asyncio.run(main())
"""


def test_a_whole_life_makes_no_noise_in_development_mode() -> None:
    result = subprocess.run(
        [sys.executable, "-X", "dev", "-W", "error", "-c", PROGRAM],
        capture_output=True,
        text=True,
        timeout=30,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
    )
    assert (result.stdout, result.stderr, result.returncode) == ("echoed\n", "", 0)
