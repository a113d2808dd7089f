"""How the packets of transcripts are written to a connection, and read from one.

Transcripts are JSON: binary data is `{"$bytes": BASE64}` in them, which under `sono.v2.msgpack`
stands for the bytes themselves.
"""

import base64
import json
from typing import Any

import msgspec

MSGPACK = "sono.v2.msgpack"


def with_bytes(content: Any) -> Any:
    """JSON with the binary data that it stands for."""
    if isinstance(content, dict):
        if content.keys() == {"$bytes"}:
            return base64.b64decode(content["$bytes"], validate=True)
        return {key: with_bytes(inner) for key, inner in content.items()}
    return [with_bytes(inner) for inner in content] if isinstance(content, list) else content


def without_bytes(value: Any) -> Any:
    """The JSON that stands for a value with binary data."""
    if isinstance(value, bytes):
        return {"$bytes": base64.b64encode(value).decode()}
    if isinstance(value, dict):
        return {key: without_bytes(inner) for key, inner in value.items()}
    return [without_bytes(inner) for inner in value] if isinstance(value, list) else value


def written(content: Any, protocol: str | None) -> str | bytes:
    """A packet as a message of a connection that agreed on this subprotocol."""
    if protocol == MSGPACK:
        return msgspec.msgpack.encode(with_bytes(content))
    return json.dumps(content, ensure_ascii=False)


def read(message: str | bytes, protocol: str | None) -> Any:
    """A packet from such a message; what is none is a text, or binary data."""
    try:
        if isinstance(message, bytes):
            if protocol == MSGPACK:
                return without_bytes(msgspec.msgpack.decode(message))
        elif protocol != MSGPACK:
            return json.loads(message)
    except ValueError:  # msgspec's DecodeError is one
        pass
    return without_bytes(message)
