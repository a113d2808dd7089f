"""`sono serve`: serves an application's `Sono`, or the chat page, until a signal."""

import argparse
import contextlib
import os
import signal
import socket
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import msgspec

from sono_client.cli import tell
from sono_core import Limits, Timeouts, __version__
from sono_core.limits import DEFAULT_LIMITS, DEFAULT_TIMEOUTS
from sono_core.tls import Certificates, server_context
from sono_server.aio import AsyncServer, run_server
from sono_server.app import Sono
from sono_server.backplane import ENVIRONMENT, MEMORY, opened
from sono_server.operations import Inherited, changed, configure
from sono_server.selector import Server
from sono_server.serving import (
    HTTPRequest,
    Options,
    activated,
    listen,
    logger,
    memory_limit,
    notify,
    taken,
)

from . import application, demo
from .mistakes import Mistake, reason

DRAIN = 10.0
"""Seconds that connections may take to close, unless `--drain` says something else."""
PORT = 8080
"""Where a server listens, unless `--port` says something else."""
_PATH = "/ws"


def run(arguments: argparse.Namespace, inherited: Inherited | None = None) -> int:
    """Serve until a signal; the exit status.

    Args:
        inherited: what this process has of its parent, such as its sockets.

    Raises:
        Mistake: an argument is wrong, or names no application.
        ApplicationFailed: the application cannot be loaded.
    """
    configure(arguments.log_level, arguments.log_format)
    given = [] if inherited else _given(arguments)  # before the application can see of them
    certificates = _certificates(arguments)
    answer: Callable[[HTTPRequest], None]
    if arguments.app is None:
        limits, timeouts = _changed(arguments, DEFAULT_LIMITS, DEFAULT_TIMEOUTS)
        with _backplane(arguments.backplane):
            sono = Sono(open_channels=True, limits=limits, timeouts=timeouts)
        answer = partial(demo.handle, sono)
    else:
        with _backplane(arguments.backplane):
            sono = application.load(application.parse(arguments.app))
        if arguments.backplane not in (None, MEMORY) and not sono._dispatcher.lossless.shared:
            raise Mistake(f"{arguments.app} chooses a backplane itself, and not --backplane")
        limits, timeouts = _changed(arguments, sono._limits, sono._timeouts)
        answer = partial(sono._answer, path=arguments.path or _PATH)
    workers = arguments.workers or 1
    if workers > 1:
        if not sono._dispatcher.lossless.shared:
            raise Mistake(f"{arguments.app} chooses to be alone, which --workers does not allow")
        share = memory_limit(limits) // workers  # of one machine's memory
        limits = msgspec.structs.replace(limits, max_memory=limits.max_memory or share)
    options = _options(arguments, certificates, limits, timeouts)
    kind = AsyncServer if sono._is_asynchronous() else Server
    server = kind(_listeners(arguments, inherited, given), options, arguments.host)
    sono._begin(server)
    hangup = getattr(signal, "SIGHUP", None) if certificates else None
    with taken(hangup, partial(server.call_soon, _reload, certificates)):
        if inherited:
            inherited.serve(server, lambda: sono.ready, options.drain)
        if not inherited or not inherited.is_worker:
            loop = "asyncio" if isinstance(server, AsyncServer) else "selectors"
            tell(start_line(arguments, server.address, f" on {loop}"))
            notify("READY=1")
        if isinstance(server, AsyncServer):
            run_server(server, answer)
        else:
            with server:
                for request in server:
                    answer(request)
    return 0


@contextlib.contextmanager
def _backplane(url: str | None) -> Iterator[None]:
    """Make it that of each `Sono` that is made meanwhile, unless it is given another.

    Raises:
        Mistake: it is none.
    """
    if url is None:
        yield
        return
    try:
        opened(url, lambda function: None)
    except (ImportError, ValueError) as error:
        raise Mistake(f"--backplane: {error}") from None
    former = os.environ.get(ENVIRONMENT)
    os.environ[ENVIRONMENT] = url
    try:
        yield
    finally:
        if former is None:
            del os.environ[ENVIRONMENT]
        else:
            os.environ[ENVIRONMENT] = former


def listening(arguments: argparse.Namespace) -> list[socket.socket]:
    """Sockets that listen where the arguments say.

    Raises:
        Mistake: one cannot listen there.
    """
    return _given(arguments) or _listen(arguments)


def _given(arguments: argparse.Namespace) -> list[socket.socket]:
    with address_mistakes(arguments):
        return activated(arguments.host, arguments.port, arguments.unix)


def _listen(arguments: argparse.Namespace) -> list[socket.socket]:
    with address_mistakes(arguments):
        return listen(arguments.host, port_of(arguments), unix=arguments.unix)


def port_of(arguments: argparse.Namespace) -> int:
    """The port to listen on."""
    return PORT if arguments.port is None else int(arguments.port)


@contextlib.contextmanager
def address_mistakes(arguments: argparse.Namespace) -> Iterator[None]:
    """What goes wrong with listening is a mistake in the arguments."""
    where = arguments.unix or f"{arguments.host or 'localhost'}:{port_of(arguments)}"
    try:
        yield
    except OSError as error:
        raise Mistake(f"cannot listen on {where}: {reason(error)}") from None
    except UnicodeError:
        raise Mistake(f"cannot listen on {arguments.host!r}: not a host name") from None
    except ValueError as error:
        raise Mistake(str(error)) from None


def _listeners(
    arguments: argparse.Namespace, inherited: Inherited | None, given: list[socket.socket]
) -> list[socket.socket]:
    if inherited is None:
        return given or _listen(arguments)
    with address_mistakes(arguments):  # somebody may have come to listen there meanwhile
        return inherited.listen()


def _changed(
    arguments: argparse.Namespace, limits: Limits, timeouts: Timeouts
) -> tuple[Limits, Timeouts]:
    try:
        return changed(arguments.settings, limits, timeouts)
    except ValueError as error:
        raise Mistake(str(error)) from None


def _options(
    arguments: argparse.Namespace,
    certificates: Certificates | None,
    limits: Limits,
    timeouts: Timeouts,
) -> Options:
    try:
        return Options(
            limits=limits,
            timeouts=timeouts,
            ssl=certificates.context if certificates else None,
            origins=arguments.origins,
            hosts=arguments.hosts,
            max_connections=arguments.max_connections,
            drain=DRAIN if arguments.drain is None else arguments.drain,
            close_code=arguments.close_code,
            trusted_proxies=arguments.proxies,
        )
    except ValueError as error:
        raise Mistake(str(error)) from None


def _certificates(arguments: argparse.Namespace) -> Certificates | None:
    """The certificates that `--tls-cert` and `--tls-key` name."""
    if not arguments.tls_cert:
        if arguments.tls_key:
            raise Mistake("--tls-key needs --tls-cert")
        return None
    try:
        return Certificates(lambda: server_context(arguments.tls_cert, arguments.tls_key))
    except OSError as error:
        raise Mistake(f"cannot read {error.filename}: {reason(error)}") from None
    except ValueError as error:
        raise Mistake(str(error)) from None


def _reload(certificates: Certificates) -> None:
    """Load the certificates again; if that fails, the old ones stay."""
    try:
        certificates.reload()
    except (OSError, ValueError) as error:
        logger.error("the certificates were not reloaded: %s", error)
    else:
        logger.info("the certificates were reloaded")


def start_line(arguments: argparse.Namespace, address: Any, how: str) -> str:
    """What is printed when clients can connect.

    Args:
        address: where the first socket listens.
        how: for those who look closely.
    """
    what = "is" if arguments.app is None else f"serves {arguments.app}"
    shown = how if arguments.workers or arguments.log_level == "debug" else ""
    if arguments.app is None and not arguments.workers:
        shown = ""
    return f"Sono {__version__} {what} at {_url(arguments, address)}{shown} - Ctrl-C ends it"


def _url(arguments: argparse.Namespace, address: Any) -> str:
    """The URL of the chat page, or the one that the application's clients connect to."""
    if not isinstance(address, tuple):
        return f"unix:{address}"
    host, port = address[:2]
    if arguments.host is None and host in ("127.0.0.1", "::1"):
        host = "localhost"
    scheme = "http" if arguments.app is None else "ws"
    path = "/" if arguments.app is None else arguments.path or _PATH
    host = f"[{host}]" if ":" in host else host
    return f"{scheme}{'s' if arguments.tls_cert else ''}://{host}:{port}{path}"
