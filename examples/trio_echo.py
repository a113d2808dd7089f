"""A WebSocket echo server on trio, with a task for each connection.

Run `python examples/trio_echo.py --port 9001`; it needs `pip install trio`. The session has all
the rules; this program only waits.
"""

import argparse
import signal
import socket
import traceback
from collections.abc import Awaitable, Callable
from functools import partial

import trio
from trio.lowlevel import wait_readable, wait_writable

from sono_core import Accept, Connection, Request, Role, Session, Timeouts
from sono_core.lifecycle import BaseHandler
from sono_core.websocket import message_event
from sono_io import SocketDriver, Wanted


class Echo(BaseHandler):
    """Accepts every upgrade, and sends each message back."""

    session: Session

    def on_request(self, request: Request) -> None:
        self.session.accept(Accept(), trio.current_time())

    def on_message(self, message: str | bytes, /) -> None:
        self.session.send(message_event(message))

    def on_error(self, error: Exception) -> None:
        traceback.print_exception(error)


def begin(sock: socket.socket, timeouts: Timeouts) -> SocketDriver:
    """Start a session for a client that has just connected."""
    sock.setblocking(False)
    driver, handler = SocketDriver(sock, trio.current_time), Echo()
    now = driver.time()
    session = Session(Connection(Role.SERVER), driver, handler, now=now, timeouts=timeouts)
    driver.layer = handler.session = session
    return driver


async def wait_for(sock: socket.socket, wanted: Wanted) -> None:
    async def wait(ready: Callable[[socket.socket], Awaitable[None]]) -> None:
        await ready(sock)
        nursery.cancel_scope.cancel()

    with trio.move_on_after(wanted.seconds):
        async with trio.open_nursery() as nursery:
            for ready in [wait_readable] * wanted.read + [wait_writable] * wanted.write:
                nursery.start_soon(wait, ready)
            await trio.sleep_forever()


async def serve_one(stream: trio.SocketStream, timeouts: Timeouts) -> None:
    with socket.socket(fileno=stream.socket.detach()) as sock:
        driver = begin(sock, timeouts)
        while not driver.layer.over:
            await wait_for(sock, driver.wanted())
            driver.turn()


async def serve(port: int, timeouts: Timeouts) -> None:
    (listener,) = await trio.open_tcp_listeners(port, host="127.0.0.1")
    print(f"listening on ws://127.0.0.1:{listener.socket.getsockname()[1]}/", flush=True)
    await trio.serve_listeners(partial(serve_one, timeouts=timeouts), [listener])


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="A WebSocket echo server on trio.")
    parser.add_argument("--port", type=int, default=9001, help="default: %(default)s; 0: any")
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C ends it without a traceback
    trio.run(serve, parser.parse_args().port, Timeouts())
