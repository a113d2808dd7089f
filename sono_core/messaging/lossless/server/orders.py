"""What nodes have each other do with their clients, through a stream that all of them follow."""

from typing import Annotated

import msgspec

from sono_core.messaging.lossless import Data
from sono_core.messaging.lossless.packets import Failure

CONTROL = "!"
"""The stream; no client can name it."""


Code = Annotated[int, msgspec.Meta(ge=1000, le=4999)]
Reason = Annotated[str, msgspec.Meta(max_length=123)]


class _Order(msgspec.Struct, frozen=True, array_like=True):
    pass


class Disconnect(_Order, frozen=True, tag="disconnect"):
    """End all clients of an identity."""

    asker: str
    identity: bytes
    """See `identities.written`."""
    code: Code
    reason: Reason


class End(_Order, frozen=True, tag="end"):
    """End one client; the node that has it answers."""

    asker: str
    """The name of the node that asks."""
    number: int
    """Of what it asks."""
    client: str
    code: Code
    reason: Reason


class Ask(_Order, frozen=True, tag="ask"):
    """Ask one client something; the node that has it answers."""

    asker: str
    number: int
    client: str
    name: str
    timeout: float
    data: Data | None


class Answer(_Order, frozen=True, tag="answer"):
    """What came of `End` or `Ask`."""

    asker: str
    number: int
    error: Failure | None
    data: Data | None = None


Order = Disconnect | End | Ask | Answer
