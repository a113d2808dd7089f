"""Clients to measure: `python -m benchmarks.clients CLIENT WAY --port N`, on uvloop.

One connection echoes one message at a time; at the end the result is printed as JSON. Each client
is written as a user of that library would write it.
"""

import argparse
import asyncio
import json
import os
import time
from collections.abc import Awaitable, Callable
from typing import Any

from .measure import WARM_UP

_LOOKS = 64  # messages between two readings of the clock


class Run:
    """What is sent, and how much of it came back in the measured time.

    Args:
        size: bytes of the message.
        seconds: measured after the warm-up.
    """

    def __init__(self, size: int, seconds: float) -> None:
        self.message = os.urandom(size)
        self._size = size
        self._begins = time.perf_counter() + WARM_UP
        self._seconds = seconds
        self._left = _LOOKS
        self._counted = 0
        self._errors = 0
        self._start: tuple[float, float] | None = None
        self.result: dict[str, Any] = {}

    def goes_on(self, answer: bytes | memoryview) -> bool:
        """Count an answer; returns whether to send another message."""
        if len(answer) != self._size:
            self._errors += 1
        self._counted += 1
        self._left -= 1
        return bool(self._left) or self._look()

    def _look(self) -> bool:
        self._left = _LOOKS
        now, spent = time.perf_counter(), time.process_time()
        if self._start is None:
            if now >= self._begins:
                self._start, self._counted, self._errors = (now, spent), 0, 0
            return True
        seconds = now - self._start[0]
        if seconds < self._seconds:
            return True
        self.result = {
            "messages": self._counted,
            "seconds": seconds,
            "cpu_seconds": spent - self._start[1],
            "errors": self._errors,
        }
        return False


async def sono_callbacks(url: str, run: Run) -> None:
    """Sono, with callbacks."""
    from sono_client import AsyncWebSocket, connect_async

    def on_message(ws: AsyncWebSocket, message: Any) -> None:
        if run.goes_on(message):
            ws.send_nowait(message)
        else:
            ws.close_nowait()

    async with connect_async(url, on_message=on_message, deflate=None) as ws:
        ws.send_nowait(run.message)
        await ws.wait_closed()


async def picows_callbacks(url: str, run: Run) -> None:
    """picows, with callbacks."""
    from picows import WSListener, WSMsgType, ws_connect

    class Listener(WSListener):  # type: ignore[misc, unused-ignore]
        def on_ws_connected(self, transport: Any) -> None:
            transport.send(WSMsgType.BINARY, run.message)

        def on_ws_frame(self, transport: Any, frame: Any) -> None:
            message = frame.get_payload_as_bytes()
            if run.goes_on(message):
                transport.send(WSMsgType.BINARY, message)
            else:
                transport.disconnect()

    transport, _ = await ws_connect(Listener, url)
    await transport.wait_disconnected()


async def sono_iteration(url: str, run: Run) -> None:
    """Sono, with iteration."""
    from sono_client import connect_async

    async with connect_async(url, deflate=None) as ws:
        await ws.send(run.message)
        async for message in ws:
            if not run.goes_on(message):  # type: ignore[arg-type]
                break
            await ws.send(message)


async def websockets_iteration(url: str, run: Run) -> None:
    """websockets, with iteration."""
    from websockets.asyncio.client import connect

    async with connect(url, compression=None) as ws:
        await ws.send(run.message)
        async for message in ws:
            if not run.goes_on(message):
                break
            await ws.send(message)


CLIENTS: dict[tuple[str, str], Callable[[str, Run], Awaitable[None]]] = {
    ("sono+uvloop", "callbacks"): sono_callbacks,
    ("picows+uvloop", "callbacks"): picows_callbacks,
    ("sono+uvloop", "iteration"): sono_iteration,
    ("websockets+uvloop", "iteration"): websockets_iteration,
}


def main() -> None:
    """Run the command."""
    import uvloop

    parser = argparse.ArgumentParser(prog="python -m benchmarks.clients", description=__doc__)
    add = parser.add_argument
    add("client", choices=sorted({client for client, _ in CLIENTS}))
    add("way", choices=("callbacks", "iteration"))
    add("--port", type=int, required=True, help="port of an echo server on 127.0.0.1")
    add("--size", type=int, default=256, help="bytes of a message (default: %(default)s)")
    add("--seconds", type=float, default=1.0, help="measured time (default: %(default)s)")
    options = parser.parse_args()
    if (options.client, options.way) not in CLIENTS:
        parser.error(f"{options.client} is not measured by {options.way}")
    run = Run(options.size, options.seconds)
    client = CLIENTS[options.client, options.way]

    async def echo() -> None:
        await asyncio.wait_for(client(f"ws://127.0.0.1:{options.port}/", run), 600)

    uvloop.run(echo())
    print(json.dumps(run.result))


if __name__ == "__main__":
    main()
