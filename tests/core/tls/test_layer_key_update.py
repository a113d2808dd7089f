"""Key updates with OpenSSL's own client on an open connection."""

from __future__ import annotations

import shutil
import socket
import subprocess

from sono_core import Role
from tests.certificates import server_side
from tests.conftest import require
from tests.secure import End
from tests.servers import PATIENCE


def talk(sock: socket.socket, process: subprocess.Popen[bytes]) -> bytes:
    """Let s_client change its keys and ask for ours, then send a request; returns the output."""
    end = End(Role.SERVER, server_side())
    sock.settimeout(20)
    assert process.stdin is not None
    assert process.stdout is not None

    def answer() -> None:
        end.receive(sock.recv(65536))
        sock.sendall(end.take())

    while not end.tls._established:
        answer()
    for letter in (b"k", b"K", b"K"):  # K asks for an update of the other side's keys too
        process.stdin.write(letter + b"\n")
        process.stdin.flush()
        answer()
    process.stdin.write(b"GET / HTTP/1.1\r\n\r\n")
    process.stdin.flush()
    while not end.ends:
        answer()
    said = b""
    while b"HTTP/1.1 " not in said:
        said += (line := process.stdout.readline())
        assert line
    return said


def test_keys_may_be_exchanged_under_way() -> None:
    openssl = shutil.which("openssl")
    require("openssl", openssl is not None, "install the command that comes with OpenSSL")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = f"127.0.0.1:{listener.getsockname()[1]}"
        process = subprocess.Popen(
            [str(openssl), "s_client", "-connect", address, "-tls1_3"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        try:
            listener.settimeout(20)
            sock, _ = listener.accept()
            with sock:
                said = talk(sock, process)
        finally:
            process.kill()
            said += process.communicate(timeout=PATIENCE)[0]
    assert said.count(b"KEYUPDATE") == 3
    assert b"HTTP/1.1 400 " in said  # to be read with the new keys
