"""The broker: a redis-server of one's own, which keeps nothing on disk."""

import socket
import subprocess
import time

from . import common

_PATIENCE = 10.0  # seconds
_PAUSE = 0.01  # seconds between two attempts to connect


def start(port: int) -> None:
    """Run it to its end."""
    if not port:
        with socket.create_server(("127.0.0.1", 0)) as sock:
            port = sock.getsockname()[1]
    options = ("--bind", "127.0.0.1", "--save", "", "--loglevel", "warning")
    server = subprocess.Popen(
        ["redis-server", "--port", str(port), *options], stdout=subprocess.DEVNULL
    )
    until = time.monotonic() + _PATIENCE
    while not _answers(port):
        if server.poll() is not None or time.monotonic() > until:
            raise SystemExit(f"redis-server does not start: status {server.poll()}")
        time.sleep(_PAUSE)
    common.announce(port)
    server.wait()


def _answers(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), _PATIENCE) as sock:
            sock.sendall(b"PING\r\n")
            return sock.recv(64).startswith(b"+PONG")
    except OSError:
        return False


if __name__ == "__main__":
    start(common.parse(["nodes"]).port)
