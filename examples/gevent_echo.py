"""A WebSocket echo server on gevent, with a greenlet for each connection.

Run `python examples/gevent_echo.py --port 9001`; it needs `pip install gevent`. The session has all
the rules; this program only waits.
"""

import argparse
import math
import signal
import time
import traceback

from gevent import select, socket
from gevent.server import StreamServer

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
    poll = select.poll()
    poll.register(sock, select.POLLIN * wanted.read | select.POLLOUT * wanted.write)
    poll.poll(math.ceil(wanted.seconds * 1000))


def serve_one(sock: socket.socket, timeouts: Timeouts) -> None:
    driver = begin(sock, timeouts)
    while not driver.layer.over:
        wait_for(sock, driver.wanted())
        driver.turn()


def serve(port: int, timeouts: Timeouts) -> None:
    server = StreamServer(("127.0.0.1", port), lambda sock, _: serve_one(sock, timeouts))
    server.start()
    print(f"listening on ws://127.0.0.1:{server.server_port}/", flush=True)
    server.serve_forever()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="A WebSocket echo server on gevent.")
    parser.add_argument("--port", type=int, default=9001, help="default: %(default)s; 0: any")
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C ends it without a traceback
    serve(parser.parse_args().port, Timeouts())
