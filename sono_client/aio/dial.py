"""Connects an asyncio transport: within a time, and leaving nothing behind if it is cancelled."""

import asyncio
import socket
import sys
import time
from collections.abc import Awaitable
from typing import TypeVar

from sono_client.dialing import Dialing
from sono_core.connect import Endpoint

from .notifier import Notifier

Result = TypeVar("Result")


async def dial(endpoint: Endpoint, protocol: asyncio.BaseProtocol, timeout: float) -> None:
    """Connect the protocol to an endpoint. If this raises, the caller ends the connection.

    Raises:
        OSError: there was no answer; see `described`.
    """
    loop = asyncio.get_running_loop()
    if endpoint.unix is not None:
        await _within(timeout, loop.create_unix_connection(lambda: protocol, endpoint.unix))
        return
    deadline = time.monotonic() + timeout
    looking_up = loop.getaddrinfo(endpoint.host, endpoint.port, type=socket.SOCK_STREAM)
    found = await _within(timeout, looking_up)
    sock = await _connected(Dialing(found, deadline - time.monotonic()))
    gone = True
    try:
        transport, _ = await loop.create_connection(lambda: protocol, sock=sock)
        gone = transport.is_closing()
    finally:
        if gone and not isinstance(loop, asyncio.BaseEventLoop):
            sock.detach()  # uvloop's transport closes the descriptor itself


async def _within(timeout: float, work: Awaitable[Result]) -> Result:
    # Not asyncio.wait_for: before Python 3.12 it may swallow a cancellation.
    task = asyncio.ensure_future(work)
    try:
        await asyncio.wait([task], timeout=timeout)
        if not task.done():
            raise TimeoutError("connecting took too long")
        return task.result()
    finally:
        if task.cancel():
            await asyncio.wait([task])
        if not task.cancelled():
            task.exception()  # has been raised, or something else is


async def _connected(dialing: Dialing) -> socket.socket:
    """The first socket that is connected.

    Not by `sock_connect`: uvloop's looks the address up again, and loses its scope.
    """
    loop = asyncio.get_running_loop()
    if sys.platform == "win32":  # its usual loop watches no sockets
        return await loop.run_in_executor(None, dialing.run)
    changes = Notifier()
    watched: set[socket.socket] = set()
    ended: list[socket.socket] = []

    def end(attempt: socket.socket) -> None:
        loop.remove_writer(attempt)
        watched.remove(attempt)
        ended.append(attempt)
        changes.notify()

    try:
        while (sock := dialing.turn()) is None:
            for attempt in dialing.sockets - watched:
                loop.add_writer(attempt, end, attempt)
                watched.add(attempt)
            timer = loop.call_later(dialing.wait, changes.notify)
            try:
                await changes.changed()
            finally:
                timer.cancel()
            while ended:
                dialing.writable(ended.pop())
        return sock
    finally:
        for attempt in watched:
            loop.remove_writer(attempt)
        dialing.close()
