"""A WebSocket echo server on plain threads, one for each connection.

Run `python examples/threads_echo.py --port 9001`. The session has all the rules; this program only
waits.
"""

import argparse
import math
import select
import signal
import socket
import threading
import time
import traceback

from sono_core import Accept, Connection, Request, Role, Session, Timeouts
from sono_core.lifecycle import BaseHandler
from sono_core.websocket import message_event
from sono_io import SocketDriver, Wanted


class Echo(BaseHandler):
    """Accepts every upgrade, and sends each message back."""

    session: Session

    def on_request(self, request: Request) -> None:
        self.session.accept(Accept(), time.monotonic())

    def on_message(self, message: str | bytes, /) -> None:
        self.session.send(message_event(message))

    def on_error(self, error: Exception) -> None:
        traceback.print_exception(error)


def begin(sock: socket.socket, timeouts: Timeouts) -> SocketDriver:
    """Start a session for a client that has just connected."""
    sock.setblocking(False)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    driver, handler = SocketDriver(sock, time.monotonic), Echo()
    now = driver.time()
    session = Session(Connection(Role.SERVER), driver, handler, now=now, timeouts=timeouts)
    driver.layer = handler.session = session
    return driver


def wait_for(sock: socket.socket, wanted: Wanted) -> None:
    poll = select.poll()  # Windows has only select.select
    poll.register(sock, select.POLLIN * wanted.read | select.POLLOUT * wanted.write)
    poll.poll(math.ceil(wanted.seconds * 1000))


def serve_one(sock: socket.socket, timeouts: Timeouts) -> None:
    with sock:
        driver = begin(sock, timeouts)
        while not driver.layer.over:
            wait_for(sock, driver.wanted())
            driver.turn()


def serve(port: int, timeouts: Timeouts) -> None:
    with socket.create_server(("127.0.0.1", port)) as listener:
        print(f"listening on ws://127.0.0.1:{listener.getsockname()[1]}/", flush=True)
        while True:
            sock, _ = listener.accept()
            threading.Thread(target=serve_one, args=(sock, timeouts), daemon=True).start()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="A WebSocket echo server on threads.")
    parser.add_argument("--port", type=int, default=9001, help="default: %(default)s; 0: any")
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C ends it without a traceback
    serve(parser.parse_args().port, Timeouts())
