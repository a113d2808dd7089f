"""Contexts for TLS: which certificates are shown, and which are believed.

Only who uses TLS imports this module, for it loads `ssl`. It reads the files that it is told.
"""

import ssl
from collections.abc import Callable
from os import PathLike
from typing import Any

_File = str | PathLike[str]


def server_context(
    certfile: _File, keyfile: _File | None = None, password: str | None = None
) -> ssl.SSLContext:
    """What a server needs for TLS: 1.2 or later, HTTP/1.1, and its certificate.

    Args:
        certfile: the certificate chain in PEM, the server's own first.
        keyfile: the private key in PEM, if it is not in `certfile`.
        password: of the private key; it is never asked for on the terminal.

    Raises:
        OSError: a file cannot be read.
        ValueError: what is in them is of no use.
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
    """What a client needs for TLS: 1.2 or later, HTTP/1.1, and whom it trusts.

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


def _require_readable(path: _File) -> None:
    with open(path, "rb"):
        pass  # unlike ssl's own error, that of open names the file


def _completed(context: ssl.SSLContext) -> ssl.SSLContext:
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_RENEGOTIATION
    context.set_alpn_protocols(["http/1.1"])
    return context


class _Newest(ssl.SSLContext):
    """Makes each connection with the newest context.

    An `sni_callback` could choose it, too; but for every name in SNI that is not ASCII, CPython
    would print a traceback.
    """

    newest: ssl.SSLContext

    def wrap_bio(self, *arguments: Any, **options: Any) -> ssl.SSLObject:
        return self.newest.wrap_bio(*arguments, **options)

    def wrap_socket(self, *arguments: Any, **options: Any) -> ssl.SSLSocket:
        return self.newest.wrap_socket(*arguments, **options)


class Certificates:
    """A server's context whose certificates can be exchanged while it serves.

    Example: `Certificates(lambda: server_context("chain.pem", "key.pem"))`.

    Args:
        load: makes the context, and a new one at each `reload`.
    """

    def __init__(self, load: Callable[[], ssl.SSLContext]) -> None:
        self._load = load
        self._context = _Newest(ssl.PROTOCOL_TLS_SERVER)
        self.reload()

    @property
    def context(self) -> ssl.SSLContext:
        """To serve with. Its connections are made with what was loaded last."""
        return self._context

    def reload(self) -> None:
        """Load again, for connections from now on. If it fails, it raises and changes nothing."""
        self._context.newest = self._load()
