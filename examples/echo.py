"""A plain WebSocket echo server, without the Sono layer.

Run `python examples/echo.py --port 9001`; `--asyncio` runs it on an asyncio event loop. It sends
every text and binary message back unchanged, under the default limits unless options raise them.
Conformance suites and load generators connect to it.
"""

import argparse
import asyncio
import ssl

from sono_core import Limits
from sono_server import AsyncServer, Server, WebSocket, serve, serve_async


def echo(ws: WebSocket, message: str | bytes) -> None:
    ws.send(message)


def announce(server: AsyncServer | Server, scheme: str) -> None:
    host, port = server.address[:2]
    host = f"[{host}]" if ":" in host else host
    print(f"listening on {scheme}://{host}:{port}/", flush=True)


def run(server: Server, scheme: str) -> None:
    with server:
        announce(server, scheme)
        for request in server:
            request.accept(on_message=echo)


async def run_async(server: AsyncServer, scheme: str) -> None:
    async with server:
        announce(server, scheme)
        async for request in server:
            request.accept(on_message=echo)


def main() -> None:
    shipped = Limits()
    parser = argparse.ArgumentParser(description="A plain WebSocket echo server.")
    parser.add_argument("--host", help="address to listen on (default: loopback)")
    parser.add_argument("--port", type=int, default=9001, help="default: %(default)s; 0: any")
    parser.add_argument("--asyncio", action="store_true", help="serve on an asyncio event loop")
    parser.add_argument(
        "--max-message",
        type=int,
        default=shipped.max_message,
        metavar="BYTES",
        help="largest message and frame (default: %(default)s)",
    )
    parser.add_argument(
        "--max-fragments",
        type=int,
        default=shipped.max_fragments,
        metavar="N",
        help="frames of one message, and small ones a second (default: %(default)s)",
    )
    parser.add_argument(
        "--max-queue",
        type=int,
        metavar="BYTES",
        help="bytes waiting for a slow reader (default: max(4 MiB, 2 x max message))",
    )
    parser.add_argument(
        "--certificate",
        metavar="PEM",
        help="serve TLS with this certificate and the key in the same file",
    )
    arguments = parser.parse_args()
    try:
        limits = Limits(
            max_message=arguments.max_message,
            max_frame=arguments.max_message,
            max_fragments=arguments.max_fragments,
            control_rate=max(shipped.control_rate, arguments.max_fragments),
            max_queue=arguments.max_queue,
        )
        listen = serve_async if arguments.asyncio else serve
        tls = None
        if arguments.certificate:
            tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
            tls.load_cert_chain(arguments.certificate)
        server = listen(arguments.host, arguments.port, limits=limits, ssl=tls)
    except (OSError, ValueError) as error:
        parser.error(str(error))
    scheme = "wss" if tls else "ws"
    if isinstance(server, AsyncServer):
        asyncio.run(run_async(server, scheme))
    else:
        run(server, scheme)


if __name__ == "__main__":
    main()
