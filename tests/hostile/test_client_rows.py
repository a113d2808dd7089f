"""What servers, and callers, may do to clients: rows 19 to 23 and 29 to 31 of the list."""

from __future__ import annotations

import array
import asyncio
import contextlib
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import trustme

from sono_client import ConnectError, ConnectionClosed, connect, connect_async
from sono_core import (
    Accept,
    BinaryMessage,
    Close,
    Connection,
    Ping,
    Pong,
    Request,
    Role,
    TextMessage,
    Timeouts,
)
from sono_core.websocket.frames import encode_frame
from sono_core.websocket.opcodes import TEXT
from tests import certificates
from tests.async_peers import switching
from tests.rules.peers import opened, split
from tests.servers import PATIENCE

Script = Callable[[socket.socket, str], None]


@contextlib.contextmanager
def accepting(talk: Callable[[socket.socket], None]) -> Iterator[int]:
    """A server that handles each connection so; yields its port."""
    listener = socket.create_server(("127.0.0.1", 0))

    def run() -> None:
        with contextlib.suppress(OSError):
            while True:
                sock, _ = listener.accept()
                with sock, contextlib.suppress(OSError):
                    sock.settimeout(PATIENCE)
                    talk(sock)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield listener.getsockname()[1]
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join(PATIENCE)


def serving(script: Script) -> contextlib.AbstractContextManager[int]:
    """A server that reads the head of each request, then follows the script."""

    def talk(sock: socket.socket) -> None:
        head = b""
        while b"\r\n\r\n" not in head:
            head += sock.recv(4096)
        script(sock, head.decode())

    return accepting(talk)


def blocking(url: str, **options: Any) -> object:
    with connect(url, **options) as ws:
        return ws.recv(PATIENCE)


def on_asyncio(url: str, **options: Any) -> object:
    async def main() -> object:
        async with connect_async(url, **options) as ws:
            return await ws.recv()

    return asyncio.run(main())


clients = pytest.mark.parametrize("client", [blocking, on_asyncio])


@clients
@pytest.mark.parametrize("value", ["0", "7", "16", "999", "08", '""', ""])
def test_row_19_window_bits_that_there_are_not(client: Callable[..., object], value: str) -> None:
    def answer(sock: socket.socket, head: str) -> None:
        bits = f"permessage-deflate; server_max_window_bits={value}"
        extension = f"\r\nSec-WebSocket-Extensions: {bits}\r\n\r\n".encode()
        sock.sendall(switching(head)[:-4] + extension)
        sock.recv(1)

    with serving(answer) as port, pytest.raises(ConnectError):
        client(f"ws://127.0.0.1:{port}/")


@clients
@pytest.mark.parametrize(
    "frame",
    [b"\xc1\x01x", encode_frame(TEXT, b"x", mask=b"abcd"), b"\xa1\x00", b"\x83\x00"],
    ids=["rsv1", "masked", "rsv2", "opcode"],
)
def test_rows_20_and_21_frames_that_no_server_sends(
    client: Callable[..., object], frame: bytes
) -> None:
    answers: list[bytes] = []

    def answer(sock: socket.socket, head: str) -> None:
        sock.sendall(switching(head) + frame)
        while data := sock.recv(4096):
            answers.append(data)

    with serving(answer) as port, pytest.raises(ConnectionClosed) as raised:
        client(f"ws://127.0.0.1:{port}/", deflate=None)
    assert raised.value.code == 1002
    ((first, payload),) = split(b"".join(answers))
    assert first & 0x0F == 8
    assert payload[:2] == (1002).to_bytes(2, "big")


def test_row_22_masking_keys_are_distinct_and_from_a_secure_source() -> None:
    asked: list[int] = []

    def source(size: int) -> bytes:
        asked.append(size)
        return os.urandom(size)

    client = Connection(Role.CLIENT, random=source)
    client.send(Request("/", host="a"))
    head = client.data_to_send().decode()
    assert [type(event) for event in client.receive_data(switching(head))] == [Accept]
    keys = set()
    asked.clear()
    for _ in range(10_000):
        client.send(BinaryMessage(b""))
        keys.add(client.data_to_send()[2:6])
    assert len(keys) > 9_990  # two of 10,000 keys of 32 bits are alike in one of a hundred runs
    assert sum(asked) >= 40_000 - 4096


@pytest.mark.parametrize("wrong", [1, 1.5, None, array.array("d", [1.0]), [1]])
def test_row_23_a_payload_is_bytes_and_nothing_else(wrong: Any) -> None:
    client = opened(Role.CLIENT)
    for event in (Ping(wrong), Pong(wrong), BinaryMessage(wrong), TextMessage(wrong)):
        with pytest.raises(TypeError):
            client.send(event)
    with pytest.raises(TypeError):
        client.send(Close(1000, wrong))
    assert client.data_to_send() == b""


def test_row_23_a_view_is_sent_as_the_bytes_that_it_shows() -> None:
    server = opened(Role.SERVER)
    server.send(Ping(memoryview(b"abcdef")[1:3]))  # type: ignore[arg-type]
    assert split(server.data_to_send()) == [(0x89, b"bc")]


@clients
def test_row_29_a_head_without_end(client: Callable[..., object]) -> None:
    def answer(sock: socket.socket, head: str) -> None:
        sock.sendall(b"HTTP/1.1 101 Switching Protocols\r\nX: ")
        while True:  # each byte in time, but never all of them
            sock.sendall(b"x")
            time.sleep(0.02)

    begun = time.monotonic()
    with serving(answer) as port, pytest.raises(ConnectError):
        client(f"ws://127.0.0.1:{port}/", timeouts=Timeouts(handshake=0.3))
    assert time.monotonic() - begun < 3


@clients
def test_row_30_credentials_stay_with_their_origin(client: Callable[..., object]) -> None:
    seen: list[str] = []

    def refuse(sock: socket.socket, head: str) -> None:
        seen.append(head.lower())
        sock.sendall(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n")

    with serving(refuse) as other:

        def redirect(sock: socket.socket, head: str) -> None:
            where = f"http://127.0.0.1:{other}/"
            sock.sendall(
                f"HTTP/1.1 302 Found\r\nLocation: {where}\r\nContent-Length: 0\r\n\r\n".encode()
            )

        headers = {"authorization": "Bearer secret", "cookie": "a=secret", "x-other": "kept"}
        with serving(redirect) as port, pytest.raises(ConnectError, match="403"):
            client(f"ws://127.0.0.1:{port}/", headers=headers)
    (head,) = seen
    assert "secret" not in head
    assert "authorization" not in head


@clients
@pytest.mark.parametrize(
    ("certificate", "trusting", "reason"),
    [
        (certificates.wrong_name, True, "name|not valid for|mismatch"),
        (certificates.self_signed, True, "self.signed"),
        (certificates.expired, True, "expired"),
        (certificates.good, False, "issuer|self.signed"),
    ],
)
def test_row_31_certificates_that_prove_nothing_are_refused(
    client: Callable[..., object],
    certificate: Callable[[], trustme.LeafCert],
    trusting: bool,
    reason: str,
) -> None:
    requests: list[bytes] = []

    def answer(sock: socket.socket) -> None:
        context = certificates.server_side(certificate())
        with contextlib.suppress(OSError), context.wrap_socket(sock, server_side=True) as tls:
            requests.append(tls.recv(4096))

    with accepting(answer) as port, pytest.raises(ConnectError, match=reason):
        options = {"ssl": certificates.client_side()} if trusting else {}
        client(f"wss://localhost:{port}/", **options)
    assert not any(requests)  # no answer to an unauthenticated client
