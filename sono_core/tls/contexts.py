"""Contexts for TLS: which certificates this side shows, and which it trusts.

Only code that uses TLS imports this module, because it loads `ssl`. It reads the files that it
is given.
"""

import ssl
from collections.abc import Callable
from os import PathLike
from typing import Any

_File = str | PathLike[str]


def server_context(
    certfile: _File, keyfile: _File | None = None, password: str | None = None
) -> ssl.SSLContext:
    """A server's context: TLS 1.2 or later, HTTP/1.1, and its certificate.

    Args:
        certfile: the certificate chain in PEM, the server's own first.
        keyfile: the private key in PEM, if it is not in `certfile`.
        password: of the private key; there is never a prompt for it on the terminal.

    Raises:
        OSError: a file cannot be read.
        ValueError: the contents of a file are unusable.
    """
    _require_readable(certfile)
    if keyfile is not None:
        _require_readable(keyfile)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    try:
        context.load_cert_chain(certfile, keyfile, password or "")
    except ssl.SSLError as error:
        files = f"{certfile} and {keyfile}" if keyfile else f"{certfile}"
        if error.reason == "KEY_VALUES_MISMATCH":
            raise ValueError(f"{files}: certificate and private key do not match") from None
        raise ValueError(
            f"{files}: no certificate chain with its private key in PEM, or a wrong password"
        ) from None
    return _completed(context)


def client_context(cafile: _File | None = None) -> ssl.SSLContext:
    """A client's context: TLS 1.2 or later, HTTP/1.1, and the certificates that it trusts.

    The server's certificate and name are verified.

    Args:
        cafile: certificates in PEM that are trusted instead of the system's.

    Raises:
        OSError: the file cannot be read.
        ValueError: it holds no certificate.
    """
    if cafile is not None:
        _require_readable(cafile)
    try:
        context = ssl.create_default_context(cafile=cafile)
    except ssl.SSLError:
        raise ValueError(f"{cafile}: no certificates in PEM") from None
    return _completed(context)


def check_context(name: str, context: object, *, server_side: bool) -> None:
    """Check that a context can be used, and on that side; the text calls it `name`.

    Raises:
        TypeError: it is no `ssl.SSLContext`.
        ValueError: it is one for the other side, or cannot be used for another reason.
    """
    if not isinstance(context, ssl.SSLContext):
        raise TypeError(f"{name} must be an ssl.SSLContext, not {type(context).__name__}")
    side, other = ("server", "client") if server_side else ("client", "server")
    wrong = ssl.PROTOCOL_TLS_CLIENT if server_side else ssl.PROTOCOL_TLS_SERVER
    if context.protocol == wrong:
        raise ValueError(f"{name} must be a {side}'s context, and is a {other}'s")
    try:
        context.wrap_bio(
            ssl.MemoryBIO(),
            ssl.MemoryBIO(),
            server_side=server_side,
            server_hostname=None if server_side else "localhost",
        )
    except (ValueError, ssl.SSLError) as error:
        raise ValueError(f"{name} cannot be used for a {side}: {error}") from None


def _require_readable(path: _File) -> None:
    with open(path, "rb"):
        pass  # unlike ssl's error, that of open names the file


def _completed(context: ssl.SSLContext) -> ssl.SSLContext:
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_RENEGOTIATION
    context.set_alpn_protocols(["http/1.1"])
    return context


class _Newest(ssl.SSLContext):
    """Makes each connection with the newest context.

    An `sni_callback` could choose it as well, but CPython would print a traceback for every name
    in SNI that is not ASCII.
    """

    newest: ssl.SSLContext

    def wrap_bio(self, *arguments: Any, **options: Any) -> ssl.SSLObject:
        return self.newest.wrap_bio(*arguments, **options)

    def wrap_socket(self, *arguments: Any, **options: Any) -> ssl.SSLSocket:
        return self.newest.wrap_socket(*arguments, **options)


class Certificates:
    """A server's context whose certificates can be replaced while it serves.

    Example: `Certificates(lambda: server_context("chain.pem", "key.pem"))`.

    Args:
        load: makes the first context, and a new one at each `reload`.
    """

    def __init__(self, load: Callable[[], ssl.SSLContext]) -> None:
        self._load = load
        self._context = _Newest(ssl.PROTOCOL_TLS_SERVER)
        self.reload()

    @property
    def context(self) -> ssl.SSLContext:
        """The context to serve with; new connections use the certificates loaded last."""
        return self._context

    def reload(self) -> None:
        """Load again, for new connections. If that fails, it raises and changes nothing.

        Raises:
            ValueError, TypeError: `load` did not return a server's context; and what it raises.
        """
        loaded = self._load()
        check_context("what `load` returns", loaded, server_side=True)
        self._context.newest = loaded
