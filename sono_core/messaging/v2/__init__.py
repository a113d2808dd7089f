"""The dialect `sono.v2`, in JSON and in MessagePack. docs/protocol.md, second half."""

from .codec import JSON, MSGPACK, Codec, PacketError
from .dialect import LOSSLESS, Speech

__all__ = ["JSON", "LOSSLESS", "MSGPACK", "Codec", "PacketError", "Speech"]
