"""A client of `sono.v2` made of a socket and the core: it says packets, and waits for them."""

from __future__ import annotations

import json
from typing import Any

import msgspec

from tests.servers import Address, Wire


class Speaker:
    """One connection.

    Args:
        hello: fields of the `hello`, which is said at once; None to say none.
        target: where the server has its `Sono`.
    """

    def __init__(
        self,
        address: Address,
        hello: dict[str, Any] | None = None,
        protocol: str = "sono.v2",
        target: str = "/ws",
    ) -> None:
        self.wire = Wire(address, target, subprotocols=(protocol,))
        self._packed = protocol.endswith("msgpack")
        self._kept: list[Any] = []
        self._seq = 0
        self.welcome: Any = None
        if hello is not None:
            self.hello(**hello)

    def hello(self, **fields: Any) -> Any:
        """Say hello, and be welcome."""
        self.say("hello", **fields)
        self.welcome = self.wait_for("welcome")
        self._seq = self.welcome["seq"]
        return self.welcome

    @property
    def id(self) -> str:
        id: str = self.welcome["id"]
        return id

    def say(self, type: str, /, **fields: Any) -> None:
        packet = {"type": type, **fields}
        if self._packed:
            self.wire.send(msgspec.msgpack.encode(packet))
        else:
            self.wire.send(json.dumps(packet))

    def number(self, type: str, /, **fields: Any) -> int:
        """Say a packet with the next number."""
        self._seq += 1
        self.say(type, seq=self._seq, **fields)
        return self._seq

    def do(self, type: str, /, **fields: Any) -> Any:
        """Say a packet, and wait for its result."""
        return self.wait_for("result", re=self.number(type, **fields))

    def refused(self, type: str, /, **fields: Any) -> str:
        """The code of the error that a packet results in."""
        code: str = self.do(type, **fields)["error"]["code"]
        return code

    def wait_for(self, type: str, **fields: Any) -> Any:
        """The next packet of a type that has these fields; others are kept."""
        wanted = {"type": type, **fields}
        for packet in self._kept:
            if all(packet.get(key) == value for key, value in wanted.items()):
                self._kept.remove(packet)
                return packet
        while True:
            message = self.wire.message()
            packet = msgspec.msgpack.decode(message) if self._packed else json.loads(message)
            if all(packet.get(key) == value for key, value in wanted.items()):
                return packet
            self._kept.append(packet)

    def beat(self) -> None:
        """Wait until the server has read what was said."""
        self.say("beat")
        self.wait_for("beat")

    def has(self, type: str) -> list[Any]:
        """Packets of a type that have come by now."""
        self.beat()
        return [packet for packet in self._kept if packet["type"] == type]

    def lose(self) -> None:
        """The connection ends without a close."""
        self.wire.reset()

    def resume(self, address: Address, **fields: Any) -> Speaker:
        """The client comes back on another connection."""
        return Speaker(address, {"key": self.welcome["key"], **fields})

    def __enter__(self) -> Speaker:
        return self

    def __exit__(self, *error: object) -> None:
        self.wire.close()
