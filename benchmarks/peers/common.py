"""What the peers' scripts share: the command line, the socket, the event loop.

This leaves in each script only what a user of that library would write.
"""

import argparse
import asyncio
import signal
import socket
import ssl
import sys
from collections.abc import Coroutine, Sequence
from typing import Any

MAX_MESSAGE = 64 << 20
"""Size in bytes of the largest message that every server accepts: more than any benchmark sends."""
BACKLOG = 1024
"""Connections that the kernel holds until they are accepted."""


def parse(
    modes: Sequence[str] = ("echo", "fanout"), **choices: Sequence[str]
) -> argparse.Namespace:
    """Read the command line, and prepare the process to serve.

    Args:
        choices: further options, each with its values; the first is the default.
    """
    parser = argparse.ArgumentParser()
    add = parser.add_argument
    add("mode", choices=modes)
    add("--port", type=int, required=True, help="port on 127.0.0.1; 0 for any free one")
    add("--deflate", action="store_true", help="compress, as the library does by default")
    add("--tls", metavar="PEM", help="serve TLS with this certificate and its key")
    add("--backplane", metavar="URL", help="the broker that servers share")
    for name, values in choices.items():
        add(f"--{name}", choices=values, default=values[0])
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)  # ends it at once
    more_descriptors()
    _warm_allocator()
    return parser.parse_args()


def more_descriptors() -> None:
    """Raise the limit of open files as far as allowed: each connection needs one."""
    try:
        import resource
    except ImportError:  # Windows
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard and sys.platform != "darwin":  # macOS reports a limit that it does not grant.
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _warm_allocator() -> None:
    """Make glibc keep memory that was freed.

    asyncio receives into new objects of 256 KiB. The kernel maps each one anew until the process
    has freed something that large once, as any server has that has run for a while.
    """
    bytes(4 << 20)


def listen(port: int) -> socket.socket:
    """A socket for the library to serve."""
    sock = socket.create_server(("127.0.0.1", port), backlog=BACKLOG)
    sock.setblocking(False)
    return sock


def context(tls: str | None) -> ssl.SSLContext | None:
    """What serves TLS with a file of `--tls`, as most would make it; None for None."""
    if tls is None:
        return None
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(tls)
    return context


def announce(port: int | socket.socket) -> None:
    """Print that clients may connect now."""
    if not isinstance(port, int):
        port = port.getsockname()[1]
    print(f"listening on 127.0.0.1:{port}", flush=True)


async def forever(sock: socket.socket) -> None:
    """Announce a server that has started, and keep it running."""
    announce(sock)
    await asyncio.Event().wait()


def run(main: Coroutine[Any, Any, None], loop: str) -> None:
    """Run it on `asyncio` or on `uvloop`."""
    if loop == "uvloop":
        import uvloop

        uvloop.run(main)
    else:
        asyncio.run(main)
