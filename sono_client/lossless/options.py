"""The options of Sono clients that `connect` does not have."""

from collections.abc import Callable, Sequence
from typing import Any, Literal

from sono_core.arguments import require_type
from sono_core.messaging.lossless.client import DEFAULT_CLIENT_LIMITS, ClientLimits
from sono_core.messaging.v2 import JSON, MSGPACK, Codec

Dialect = Literal["v2", "classic"]
CodecName = Literal["json", "msgpack"]
CODECS: dict[str, Codec] = {"json": JSON, "msgpack": MSGPACK}
"""By the names of the option."""


class LosslessOptions:
    """How a client speaks.

    Args:
        dialect: "v2", never anything else; "classic"; or None for v2 with a server that knows it.
            None stands for classic if `subprotocols` are offered.
        codec: how packets of v2 are written: "json", or "msgpack" where the server knows it.
        token: who this is: a str, a function that gives one, or None.
        client_limits: how much is kept in v2.
        subprotocols: as for `connect`.

    Raises:
        ValueError, TypeError: one is wrong, or they exclude each other.
    """

    def __init__(
        self,
        *,
        dialect: Dialect | None = None,
        codec: CodecName = "json",
        token: str | Callable[[], Any] | None = None,
        client_limits: ClientLimits = DEFAULT_CLIENT_LIMITS,
        subprotocols: Sequence[str] = (),
    ) -> None:
        if dialect not in (None, "v2", "classic"):
            raise ValueError(f"dialect must be v2, classic or None, not {dialect!r}")
        if codec not in CODECS:
            raise ValueError(f"codec must be {' or '.join(CODECS)}, not {codec!r}")
        if not callable(token):
            require_type("token", token, str, None)
        require_type("client_limits", client_limits, ClientLimits)
        if subprotocols and dialect == "v2":
            raise ValueError("sono.v2 is a subprotocol: no others can be offered beside it")
        self.classic: bool = dialect == "classic" or subprotocols not in ((), [])
        """Whether nothing else is spoken."""
        self.falls_back: bool = dialect is None
        """Whether classic is spoken with a server that knows nothing else."""
        self.codec: Codec = CODECS[codec]
        self.token: str | Callable[[], Any] | None = token
        self.client_limits: ClientLimits = client_limits

    @property
    def offers(self) -> list[str]:
        """The subprotocols of v2."""
        return [self.codec.name]
