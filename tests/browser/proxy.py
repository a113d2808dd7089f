"""A TCP proxy on loopback that does to connections what a test tells it to, when it tells it."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable

Address = tuple[str, int]
_PATIENCE = 30.0


class _Link:
    """A connection, and the one behind it."""

    def __init__(self, writers: tuple[asyncio.StreamWriter, asyncio.StreamWriter]) -> None:
        self._writers = writers
        self.flows = asyncio.Event()
        self.flows.set()
        self.swallows: set[str] = set()

    def abort(self) -> None:
        self.flows.set()
        for writer in self._writers:
            writer.transport.abort()


class Proxy:
    """Stands in front of a server, in its own thread, for a with statement.

    What happens to connections happens to those that are open; later ones are passed on, unless the
    proxy is cut. Every method may be called from any thread, and returns when it is done.

    Args:
        target: address of the server.
    """

    def __init__(self, target: Address) -> None:
        self._target = target
        self._is_cut = False
        self._links: set[_Link] = set()
        self._swallowed = threading.Event()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="proxy")
        self._server: asyncio.Server
        self.port = 0
        self.connections = 0
        """Connections so far, those that were refused not among them."""

    @property
    def url(self) -> str:
        """Of the server's page, through the proxy."""
        return f"http://127.0.0.1:{self.port}/"

    # -- what a test does -------------------------------------------------------------------------

    def cut(self) -> None:
        """End all connections without a word, and take no more until `mend`."""

        def cut() -> None:
            self._is_cut = True
            for link in list(self._links):
                link.abort()

        self._run(cut)

    def mend(self) -> None:
        """Pass everything on again: new connections, and those that are stalled."""

        def mend() -> None:
            self._is_cut = False
            for link in self._links:
                link.swallows.clear()
                link.flows.set()

        self._run(mend)

    def stall(self) -> None:
        """Pass nothing on any more, in either direction, and not the end either; lose nothing."""

        def stall() -> None:
            for link in self._links:
                link.flows.clear()

        self._run(stall)

    def swallow(self, direction: str) -> None:
        """Drop what comes from now on.

        Args:
            direction: `up`, to the server, or `down`, from it.
        """

        def swallow() -> None:
            self._swallowed.clear()
            for link in self._links:
                link.swallows.add(direction)

        self._run(swallow)

    def wait_swallowed(self) -> None:
        """Wait until something was dropped since `swallow`."""
        assert self._swallowed.wait(_PATIENCE), "nothing comes that could be swallowed"

    # -- how --------------------------------------------------------------------------------------

    def _run(self, function: Callable[[], None]) -> None:
        async def run() -> None:
            function()

        asyncio.run_coroutine_threadsafe(run(), self._loop).result(_PATIENCE)

    def __enter__(self) -> Proxy:
        self._thread.start()

        async def listen() -> None:
            self._server = await asyncio.start_server(self._link, "127.0.0.1", 0)

        asyncio.run_coroutine_threadsafe(listen(), self._loop).result(_PATIENCE)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    def __exit__(self, *error: object) -> None:
        async def end() -> None:
            self._server.close()
            tasks = asyncio.all_tasks() - {asyncio.current_task()}
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await asyncio.sleep(0)  # transports close their sockets

        asyncio.run_coroutine_threadsafe(end(), self._loop).result(_PATIENCE)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(_PATIENCE)
        self._loop.close()

    async def _link(self, near: asyncio.StreamReader, to_near: asyncio.StreamWriter) -> None:
        try:
            if self._is_cut:
                raise ConnectionRefusedError
            far, to_far = await asyncio.open_connection(*self._target)
        except OSError:
            to_near.transport.abort()
            return
        link = _Link((to_near, to_far))
        self.connections += 1
        self._links.add(link)
        ways = (self._pass_on(link, near, to_far, "up"), self._pass_on(link, far, to_near, "down"))
        try:
            with contextlib.suppress(OSError, asyncio.CancelledError):  # it is lost, or all ends
                await asyncio.gather(*ways)
        finally:
            self._links.discard(link)
            link.abort()

    async def _pass_on(
        self, link: _Link, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, way: str
    ) -> None:
        """Pass on one direction, up to its end."""
        while data := await reader.read(1 << 16):
            await link.flows.wait()
            if way in link.swallows:
                self._swallowed.set()
            else:
                writer.write(data)
                await writer.drain()
        await link.flows.wait()
        if way not in link.swallows:
            writer.write_eof()
