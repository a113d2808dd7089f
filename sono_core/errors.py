"""The exceptions that Sono raises.

The core never raises for a peer's mistake: that becomes an event and a close code. An exception
that leaves the core is the caller's own mistake. `ConnectError` and `ConnectionClosed` are for
clients, which have no other way to tell.
"""

from typing import Any, TypeVar

from .headers import Headers

Error = TypeVar("Error", bound=BaseException)


def remade(kind: type[Error], args: tuple[object, ...]) -> Error:
    """An exception of a class whose constructor takes other arguments than `args`."""
    return kind.__new__(kind, *args)


class SonoError(Exception):
    """The base class of Sono's exceptions.

    They can be copied and pickled, whatever their constructors take.
    """

    def __reduce__(self) -> tuple[Any, ...]:
        # Exception's own calls the constructor with `args`: with the text that it made of others.
        return remade, (type(self), self.args), self.__dict__


class LocalProtocolError(SonoError):
    """The caller asked for something that the protocol forbids; nothing was changed."""


class ProtocolFailure(SonoError):  # noqa: N818 - named after "_Fail the WebSocket Connection_"
    """The peer broke a rule of the framing layer (RFC 6455, section 7.1.7).

    The decoders raise it, and `Connection` turns it into a `Close` event; its callers never see it.
    """

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason


class HandshakeFailure(SonoError):  # noqa: N818
    """The peer's opening handshake is unacceptable (RFC 6455, section 4).

    On a server `status` is the HTTP status of the refusal; `headers` go with it.
    `Connection` turns it into a `Reject`; its callers never see it.
    """

    def __init__(self, status: int, reason: str, headers: tuple[tuple[str, str], ...] = ()) -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason
        self.headers = headers


class ConnectError(SonoError):
    """A client could not open its connection; the text names the peer and the reason.

    `status` is the HTTP status of a refusal, or None if no response came. `retry_after` is how
    many seconds the refusal asks the client to wait before another attempt, or None.
    `headers` are the refusal's, none if no response came. `untrusted` is True if the server's
    certificate is not trusted.
    """

    def __init__(
        self,
        text: str,
        status: int | None = None,
        *,
        retry_after: float | None = None,
        headers: Headers = Headers(),  # noqa: B008 - immutable
        untrusted: bool = False,
    ) -> None:
        super().__init__(text)
        self.status = status
        self.retry_after = retry_after
        self.headers = headers
        self.untrusted = untrusted


class ConnectionClosed(SonoError):  # noqa: N818 - as the libraries that users know call it
    """The connection is no longer open. `code` and `reason` say how it ended."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(f"closed with {code}" + (f": {reason}" if reason else ""))
        self.code = code
        self.reason = reason


class OutboxFull(SonoError):  # noqa: N818 - as queue.Full
    """So much waits for the server already that nothing more is taken; nothing was changed."""


class RequestFailed(SonoError):  # noqa: N818 - what became of it
    """A request or another packet of `sono.v2` was not done, or is answered with an error.

    Args:
        code: for programs; docs/protocol.md has a table.
        text: for people.
        temporary: whether it may go well later.
    """

    def __init__(self, code: str, text: str, temporary: bool = False) -> None:
        super().__init__(f"{code}: {text}")
        self.code = code
        self.text = text
        self.temporary = temporary
