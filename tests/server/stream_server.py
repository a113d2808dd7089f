"""Servers that asyncio runs itself, for `handle_stream` and `stream_handler`, in a thread."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import threading
from collections.abc import Iterator
from typing import Any

from tests.servers import PATIENCE


@contextlib.contextmanager
def streaming(
    handler: Any, *, tls: ssl.SSLContext | None = None, unix: str | None = None, kind: str = ""
) -> Iterator[tuple[str, int]]:
    """The address of a server that calls `handler(reader, writer)`.

    Args:
        kind: `uvloop` for that loop.
    """
    listening: Any = None
    stop: Any = None
    ready = threading.Event()

    async def main() -> None:
        nonlocal listening, stop
        stop = asyncio.Event()
        stop.loop = asyncio.get_running_loop()
        if unix is None:
            listening = await asyncio.start_server(handler, "127.0.0.1", 0, ssl=tls)
        else:
            listening = await asyncio.start_unix_server(handler, unix, ssl=tls)
        ready.set()
        await stop.wait()
        listening.close()
        for task in asyncio.all_tasks() - {asyncio.current_task()}:
            task.cancel()

    def run() -> None:
        if kind == "uvloop":
            import uvloop

            uvloop.run(main())
        else:
            asyncio.run(main())

    thread = threading.Thread(target=run)
    thread.start()
    assert ready.wait(PATIENCE)
    try:
        yield ("", 0) if unix else listening.sockets[0].getsockname()[:2]
    finally:
        stop.loop.call_soon_threadsafe(stop.set)
        thread.join(PATIENCE)
        assert not thread.is_alive()
