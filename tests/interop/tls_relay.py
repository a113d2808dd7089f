"""Runs a peer under test over TLS for Autobahn, which speaks none: a relay stands between them.

python -m tests.interop.tls_relay server COMMAND...
python -m tests.interop.tls_relay client COMMAND...

A server gets `--certificate FILE`, and the relay decrypts for it what it prints as its own URL. A
client finds the relay in AUTOBAHN_URL, and trusts it by SSL_CERT_FILE. The relay is asyncio's and
the standard library's alone.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import signal
import socket
import ssl
import sys
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path
from urllib.parse import urlsplit

import trustme

_PIECE = 1 << 16
EQUAL = (b"", b"")
Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


async def _copy(
    source: asyncio.StreamReader, target: asyncio.StreamWriter, names: tuple[bytes, bytes] = EQUAL
) -> None:
    """Pass on bytes, with another name in the first ones, and then their end."""
    with contextlib.suppress(OSError):
        while data := await source.read(_PIECE):
            target.write(data.replace(*names))
            names = EQUAL
            await target.drain()
    with contextlib.suppress(OSError):
        if target.can_write_eof():
            target.write_eof()
        else:  # TLS
            target.close()


def _relay(
    beyond: Callable[[], Awaitable[Streams]],
    names: tuple[bytes, bytes] = EQUAL,
) -> Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]:
    async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.closing(writer), contextlib.suppress(OSError):
            there, back = await beyond()
            with contextlib.closing(back):
                await asyncio.gather(_copy(reader, back, names), _copy(there, writer))

    return relay


async def _before_server(command: list[str], folder: Path) -> int:
    authority = trustme.CA()
    certificate = folder / "certificate.pem"
    authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(certificate)
    trusting = ssl.create_default_context()
    authority.configure_trust(trusting)
    server = await asyncio.create_subprocess_exec(
        *command, f"--certificate={certificate}", stdout=asyncio.subprocess.PIPE
    )
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, server.terminate)
    assert server.stdout is not None
    line = (await server.stdout.readline()).decode()
    if found := re.fullmatch(r"listening on wss://127\.0\.0\.1:(\d+)/\n", line):
        port = int(found[1])

        def beyond() -> Awaitable[Streams]:
            return asyncio.open_connection("127.0.0.1", port, ssl=trusting)

        async with await asyncio.start_server(_relay(beyond), "127.0.0.1", 0) as plain:
            print(f"listening on ws://127.0.0.1:{plain.sockets[0].getsockname()[1]}/", flush=True)
            return await server.wait()
    print(f"the server said {line!r}", file=sys.stderr)
    server.terminate()
    await server.wait()
    return 1


async def _beyond_client(command: list[str], folder: Path) -> int:
    authority = trustme.CA()
    trusted = folder / "authority.pem"
    authority.cert_pem.write_to_path(trusted)
    known = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("localhost").configure_cert(known)
    suite = urlsplit(os.environ["AUTOBAHN_URL"])

    def beyond() -> Awaitable[Streams]:
        return asyncio.open_connection(suite.hostname, suite.port)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        own = f"localhost:{listener.getsockname()[1]}"
        # The suite refuses requests for another host.
        relay = _relay(beyond, (f"Host: {own}\r\n".encode(), f"Host: {suite.netloc}\r\n".encode()))
        async with await asyncio.start_server(relay, sock=listener, ssl=known):
            return await _with_environment(command, f"wss://{own}{suite.path}", trusted)


async def _with_environment(command: list[str], url: str, trusted: Path) -> int:
    environment = {**os.environ, "AUTOBAHN_URL": url, "SSL_CERT_FILE": str(trusted)}
    client = await asyncio.create_subprocess_exec(*command, env=environment)
    return await client.wait()


def main() -> int:
    role, *command = sys.argv[1:]
    run = {"server": _before_server, "client": _beyond_client}[role]
    with tempfile.TemporaryDirectory() as folder:
        return asyncio.run(run(command, Path(folder)))


if __name__ == "__main__":
    sys.exit(main())
