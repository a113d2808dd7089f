"""A client of `sono.v2` in 150 lines: it joins, publishes, tells gaps and resumes.

    python examples/v2_client.py ws://localhost:8080/ws room:7 hello  # pip install websockets

Written from docs/protocol.md, whose clauses it names; the level `core` of docs/transcripts.md.
"""

import asyncio
import contextlib
import json
import random
import sys
from collections.abc import Callable
from typing import Any

from websockets import InvalidStatus, WebSocketException, connect

COMES_BACK = {1001, 1006, 1011, 1012, 1013, 1014, 4008, 4009, 4010}  # 6; 4011 takes a token
UNKNOWN = {"error": {"code": "unknown", "message": "the connection or the session was lost"}}
Packet = dict[str, Any]


class Client:
    """`tell(what, about)` is called with each event and gap, and each welcome as a status."""

    def __init__(self, url: str, tell: Callable[[str, Packet], None]) -> None:
        self.url, self.tell = url, tell
        self.ws: Any = None  # from the welcome to the end of a connection
        self.hello: Packet = {"type": "hello"}
        self.streams: dict[str, list[Any]] = {}  # the position in each, [epoch, offset] (2.4)
        self.asked: dict[str, list[Any]] = {}  # the position that was asked from (2.6)
        self.calls: list[tuple[Packet, asyncio.Queue[Packet]]] = []  # without a result, in order
        self.written = self.accepted = 0  # the highest number in this connection; of all

    async def call(self, kind: str, **keys: Any) -> Packet:
        """Send a numbered packet, now or in the next connection; its result (4.4)."""
        result: asyncio.Queue[Packet] = asyncio.Queue(1)
        self.calls.append(({"type": kind, "seq": 0, **keys}, result))
        await self.write()
        return await result.get()

    async def write(self) -> None:
        for packet, _ in list(self.calls):
            if self.ws and not 0 < packet["seq"] <= self.written:
                self.written = packet["seq"] = self.written + 1
                with contextlib.suppress(WebSocketException):  # it is written again (5.13)
                    await self.ws.send(json.dumps(packet))

    async def run(self) -> None:
        """Connect, and come back until the server says to stay away (6, 8)."""
        code, attempt, pause, time = 1006, -1, 0.0, asyncio.get_running_loop().time
        while code in COMES_BACK:
            await asyncio.sleep(pause)
            began = time()
            code, self.ws = await self.connection(), None
            attempt = 0 if time() - began >= 20 else min(attempt + 1, 9)
            pause = 0.5 + random.random() * min(19.5, 0.5 * 2**attempt)
        self.end(UNKNOWN, 0, sys.maxsize)

    async def connection(self) -> int:
        """One connection, from the hello to its close; the code of that."""
        joined = {name[1:] for name in self.streams if name[0] == "#"} - {self.hello.get("channel")}
        try:
            async with connect(self.url, subprotocols=["sono.v2"]) as ws:
                if ws.subprotocol is None:
                    return 1002  # the server knows the classic dialect only (5.18)
                await ws.send(json.dumps({**self.hello, "joined": [*joined]}))
                while True:
                    await self.receive(ws, await ws.recv())
        except InvalidStatus as error:
            return 1006 if error.response.status_code in (408, 429, *range(500, 600)) else 1008
        except (OSError, WebSocketException) as error:
            return getattr(getattr(error, "rcvd", None), "code", 1006)

    async def receive(self, ws: Any, message: str | bytes) -> None:
        """Do what a packet says; what fits to none of these changes nothing (1.2, 1.3)."""
        packet: Any = None
        with contextlib.suppress(ValueError, RecursionError):
            packet = json.loads(message) if isinstance(message, str) else None
        match packet:
            case {"type": "welcome", "key": str(), "seq": int(), "streams": list()}:
                self.welcome(ws, packet)
                await self.write()  # 5.13
            case {"type": "ack", "seq": int(number)}:
                self.accepted = number  # 4.3
            case {"type": "event", "stream": str(), "event": str(), "data": _}:
                if "at" not in packet or await self.takes(ws, packet):  # 2.10
                    self.tell("event", packet)
            case {"type": "result", "re": int()} | {"type": "skip" | "gap"}:
                if await self.takes(ws, packet) and packet["type"] == "result":
                    self.end(packet, packet["re"], packet["re"])

    def welcome(self, ws: Any, packet: Packet) -> None:
        former, self.streams, self.asked, self.ws = self.streams, {}, {}, ws
        if not packet["resumed"]:  # nobody knows what became of what was written (5.9, 5.13)
            former.pop("@", None)
            self.end(UNKNOWN, 1, sys.maxsize)
        self.hello |= {"key": packet["key"], "channel": packet["channel"], "streams": self.streams}
        self.written = self.accepted = packet["seq"]
        self.tell("status", {"state": "open", **packet})
        for each in packet["streams"]:  # 5.6
            self.streams[each["stream"]] = former.get(each["stream"], each["at"])
            self.gap(each["stream"], each["at"])

    async def takes(self, ws: Any, packet: Packet) -> bool:
        """Whether an entry is the next one of its stream; the position moves there."""
        name, at = str(packet.get("stream")), packet.get("at")
        if not isinstance(at, list) or [*map(type, at)] != [str, int]:
            return False  # 2.3
        mine = self.streams.get(name, at)  # nothing is new in a stream that was not begun (2.11)
        if at[0] == mine[0] and at[1] <= mine[1]:
            return False  # 2.5
        if at[0] != mine[0] or packet["type"] == "gap":
            self.gap(name, at)  # 2.7, 2.8
        elif at[1] > mine[1] + 1:
            if self.asked.get(name) != mine:  # 2.6
                self.asked[name] = mine
                await ws.send(json.dumps({"type": "read", "stream": name, "at": mine}))
            return False
        self.streams[name] = at
        return True

    def gap(self, name: str, at: list[Any]) -> None:
        """Move a position to one before which something cannot be had (2.8)."""
        (epoch, offset), self.streams[name] = self.streams[name], at
        if at != [epoch, offset]:
            first = offset + 1 if epoch == at[0] and offset < at[1] else None
            self.tell("gap", {"stream": name, "from": first, "to": at[1]})
            if name == "@":  # the results may have been among it (5.14)
                self.end(UNKNOWN, 1, self.accepted)

    def end(self, result: Packet, first: int, last: int) -> None:
        """Give calls their result. A join and a leave change the streams."""
        for packet, waiting in [call for call in self.calls if first <= call[0]["seq"] <= last]:
            self.calls.remove((packet, waiting))
            waiting.put_nowait(result)
            if packet["type"] == "join" and "error" not in result:
                self.streams.setdefault(result["data"]["stream"], result["data"]["at"])
            if packet["type"] == "leave" and "error" not in result:
                self.streams.pop("#" + packet["channel"], None)


async def main(url: str, channel: str, text: str) -> None:
    client = Client(url, print)
    publish = client.call("publish", channel=channel, event="chat", data=text)
    print(await asyncio.gather(client.call("join", channel=channel), publish, client.run()))


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
