"""Several processes that serve one application at one address: `run`.

`sono serve --workers` does the same from a shell. docs/scaling.md says how they start, how they are
replaced, and what holds while they are.
"""

import math
import os
from collections.abc import Callable, Collection, Mapping
from typing import Any

from sono_core.arguments import require_type
from sono_core.tls import server_context
from sono_server.backplane import ENVIRONMENT, opened
from sono_server.serving import SPREADS, Options, WorkerListeners, activated, listen, spread

from .applications import parse_application
from .settings import changed
from .supervision import BOOT
from .supervisor import supervise

MOST = 256
"""Workers beyond which a number is taken for a mistake."""
PORT = 8080
"""Where they listen, unless something else is said."""
_LEVELS = ("debug", "info", "warning", "error")
_FORMATS = ("text", "json")


def run(
    app: str,
    *,
    workers: int,
    backplane: str | None = None,
    host: str | None = None,
    port: int | None = None,
    unix: str | None = None,
    path: str = "/ws",
    tls_cert: str | None = None,
    tls_key: str | None = None,
    drain: float = 10.0,
    boot: float = BOOT,
    close_code: int = 1001,
    origins: Collection[str] = (),
    hosts: Collection[str] | None = None,
    trusted_proxies: Collection[str] = (),
    max_connections: int | None = None,
    settings: Mapping[str, float] | None = None,
    log_level: str = "warning",
    log_format: str = "text",
    on_start: Callable[[Any], object] | None = None,
) -> int:
    """Serve an application in several processes until SIGINT or SIGTERM.

    This process listens, accepts nothing and does not import the application. It starts again what
    dies, and on SIGHUP it replaces one worker after the other. Call it in the main thread.

    Args:
        app: `module:attribute` or `path/to/file.py:attribute`, as for `sono serve`.
        workers: how many, from 1 to 256.
        backplane: the URL of what they share, such as `redis://localhost`; None for that of the
            environment variable `SONO_BACKPLANE`. Only one worker may be without.
        host: a name or an address; None for the loopback addresses.
        port: 0 for a free one; None for 8080.
        unix: the path of a Unix socket to listen on instead.
        path: where clients connect.
        tls_cert, tls_key: files with a certificate chain and its private key (PEM). They are read
            again by each new worker.
        drain: seconds that connections get to close; 2 s later a worker is killed.
        boot: seconds that a worker gets until it is ready; then it is killed.
        close_code: what clients are told when all ends; when their worker is replaced it is 1012.
        origins, hosts, trusted_proxies: see `serve`.
        max_connections: of each worker.
        settings: limits and time-outs by name, as `sono limits` lists them.
        log_level, log_format: of the workers, on standard error; see `sono serve --help`.
        on_start: called with the address of the first socket once all workers are ready, or have
            failed once.

    Returns:
        The exit status: 0 after a stop. If the first worker fails before any was ready: 1 if the
        application cannot be loaded, 2 for a mistake; it has said which on standard error.

    Raises:
        TypeError, ValueError: an argument is wrong; the text begins with its name.
        ImportError: the backplane needs what is not installed.
        OSError: the address cannot be listened on, a file cannot be read, or this is Windows.
    """
    require_type("app", app, str)
    parse_application(app)
    check(workers, backplane)
    for name, seconds in (("drain", drain), ("boot", boot)):
        if not 0 <= seconds < math.inf:
            raise ValueError(f"{name} must be finite and not negative, not {seconds}")
    require_type("path", path, str)
    if not path.startswith("/") or set(path) & set("?#"):
        raise ValueError(f"path must be one such as /ws, not {path!r}")
    for name, value, known in (
        ("log_level", log_level, _LEVELS),
        ("log_format", log_format, _FORMATS),
    ):
        if value not in known:
            raise ValueError(f"{name} must be one of {', '.join(known)}, not {value!r}")
    if tls_key is not None and tls_cert is None:
        raise ValueError("tls_key needs tls_cert")
    Options(
        ssl=server_context(tls_cert, tls_key) if tls_cert else None,
        drain=drain,
        close_code=close_code,
        origins=origins,
        hosts=hosts,
        trusted_proxies=trusted_proxies,
        max_connections=max_connections,
    )
    assignments = [f"{name}={value}" for name, value in (settings or {}).items()]
    changed(assignments)
    arguments = ["serve", f"--workers={workers}", f"--path={path}", f"--drain={drain:f}"]
    for option, one in (
        ("close-code", close_code),
        ("host", host),
        ("tls-cert", tls_cert),
        ("tls-key", tls_key),
        ("max-connections", max_connections),
        ("log-level", log_level),
        ("log-format", log_format),
    ):
        if one is not None:
            arguments.append(f"--{option}={one}")
    for option, several in (
        ("origin", origins),
        ("allow-host", hosts or ()),
        ("trusted-proxy", trusted_proxies),
        ("set", assignments),
    ):
        arguments += [f"--{option}={one}" for one in several]
    listeners = listen_for(workers, host, port, unix)
    address = listeners.address
    return supervise(
        [*arguments, "--", app],
        listeners,
        workers=workers,
        drain=drain,
        boot=boot,
        opened=lambda: on_start and on_start(address),
        # A password in it is nobody else's business; the arguments of a process are public.
        environment={} if backplane is None else {ENVIRONMENT: backplane},
    )


def check(workers: int, backplane: str | None) -> None:
    """Refuse a number of workers that makes no sense, or needs what they do not have.

    Raises:
        TypeError, ValueError: it is none, or they share nothing; or the URL is wrong.
        ImportError: the backplane needs what is not installed.
        OSError: this system cannot have workers.
    """
    require_type("workers", workers, int)
    if not 1 <= workers <= MOST:
        raise ValueError(f"workers must be from 1 to {MOST}, not {workers}")
    if os.name == "nt":
        raise OSError("workers are not to be had on Windows: start several servers")
    shared = opened(backplane, lambda function: None)
    if workers > 1 and shared is None:
        raise ValueError(
            f"workers: {workers} need a backplane that they share, such as redis://localhost;"
            f" give its URL, or set {ENVIRONMENT}"
        )


def listen_for(
    workers: int, host: str | None, port: int | None, unix: str | None
) -> WorkerListeners:
    """What that many workers listen on.

    Raises:
        OSError: an address is taken, not allowed or unknown.
        ValueError: the port is out of range, or there are sockets of systemd, too.
    """
    if given := activated(host, port, unix):
        return WorkerListeners(given)
    number = PORT if port is None else port
    if not 0 <= number <= 65535:
        raise ValueError(f"port must be from 0 to 65535, not {number}")
    if unix is not None or not SPREADS:
        return WorkerListeners(listen(host, number, unix=unix))
    return spread(host, number, workers)
