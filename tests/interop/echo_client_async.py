"""The asyncio client under test of Autobahn: echoes until each case closes.

Every other case runs with callbacks, which take another way through the client.
"""

import asyncio
import os
import sys
from urllib.parse import quote

from sono_client import AsyncWebSocket, ConnectError, ConnectionClosed, connect_async
from sono_core import Limits

LIMITS = Limits(
    max_message=32 << 20, max_frame=32 << 20, max_fragments=1 << 20, control_rate=1 << 20
)


def answer(ws: AsyncWebSocket, message: str | bytes) -> None:
    ws.send_nowait(message)


async def run_case(url: str, by_callback: bool) -> None:
    on_message = answer if by_callback else None
    try:
        async with connect_async(url, limits=LIMITS, on_message=on_message) as ws:
            async for message in ws:
                await ws.send(message)
    except (ConnectError, ConnectionClosed):
        pass  # the suite's verdict is in its report


async def main() -> int:
    base = os.environ["AUTOBAHN_URL"]
    agent = quote(os.environ["AUTOBAHN_AGENT"])
    async with connect_async(f"{base}/getCaseCount") as ws:
        cases = int(await ws.recv())
    for case in range(1, cases + 1):
        await run_case(f"{base}/runCase?case={case}&agent={agent}", by_callback=case % 2 == 0)
    return 0


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
