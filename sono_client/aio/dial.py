"""Connects an asyncio transport: within a time, and leaving nothing behind if it is cancelled."""

import asyncio
import os
import socket

from sono_core.connect import Endpoint


async def dial(endpoint: Endpoint, protocol: asyncio.BaseProtocol, timeout: float) -> None:
    """Connect the protocol to an endpoint. If this raises, the caller ends the connection.

    Raises:
        OSError: there was no answer; see `reason`.
    """
    # Not asyncio.wait_for: before Python 3.12 it may swallow a cancellation.
    connecting = asyncio.ensure_future(_connect(endpoint, protocol))
    try:
        await asyncio.wait([connecting], timeout=timeout)
        if not connecting.done():
            raise TimeoutError("connecting took too long")
        connecting.result()
    finally:
        if connecting.cancel():
            await asyncio.wait([connecting])
        if not connecting.cancelled():
            connecting.exception()  # has been raised, or something else is


async def _connect(endpoint: Endpoint, protocol: asyncio.BaseProtocol) -> None:
    loop = asyncio.get_running_loop()
    if endpoint.unix is not None:
        await loop.create_unix_connection(lambda: protocol, endpoint.unix)
        return
    found = await loop.getaddrinfo(endpoint.host, endpoint.port, type=socket.SOCK_STREAM)
    error = OSError("the name has no address")
    for *_, address in found:  # one by one: asyncio would mix their errors
        try:
            await loop.create_connection(lambda: protocol, *address[:2])
            return
        except OSError as failure:
            error = failure
    raise error


def reason(error: OSError) -> str:
    """A description of the error for people."""
    if error.errno is None or isinstance(error, socket.gaierror):
        return error.strerror or str(error)
    return os.strerror(error.errno)  # asyncio says only that something failed
