"""One text message from the socket to the handler and back, frame by frame, in pure Python."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MOST_FRAMES = 35

PROGRAM = """
import json, socket, sys
from sono_core import native_available
from sono_core.websocket import encode_frame
from sono_server import serve

assert not native_available
calls, ends = [], []

def watch(frame, event, argument):
    name = frame.f_code.co_name
    if event == "call":
        calls.append((frame.f_code.co_filename, name))
    elif event == "return" and name == "ready":
        ends.append(len(calls))

def echo(ws, message):
    ws.send(message)

with serve("127.0.0.1", 0, watchdog=None) as server, socket.socket() as client:
    client.connect(server.address)
    client.sendall(
        b"GET / HTTP/1.1\\r\\nHost: a\\r\\nConnection: Upgrade\\r\\nUpgrade: websocket\\r\\n"
        b"Sec-WebSocket-Version: 13\\r\\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\\r\\n\\r\\n"
    )
    next(server).accept(echo)
    server._turn()
    while b"\\r\\n\\r\\n" not in client.recv(4096):
        pass
    for counted in (False, False, True):  # what is called only once is not counted
        client.sendall(encode_frame(1, b"hello", mask=b"abcd"))
        if counted:
            sys.setprofile(watch)
        server._turn()  # waits for the socket
        sys.setprofile(None)
        assert client.recv(100) == b"\\x81\\x05hello"
begin = [name for _, name in calls].index("ready")
print(json.dumps(calls[begin:ends[-1]]))
"""


@pytest.fixture(scope="module")
def walk() -> list[tuple[str, str]]:
    """File, relative to the root, and function of each frame, without the handler's own."""
    result = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, "SONO_PURE": "1", "PYTHONPATH": str(ROOT)},
    )
    assert result.stderr == ""
    calls = [(file.removeprefix(f"{ROOT}/"), name) for file, name in json.loads(result.stdout)]
    assert ("<string>", "echo") in calls
    return [(file, name) for file, name in calls if name != "echo"]


def test_a_message_takes_few_frames_of_python(walk: list[tuple[str, str]]) -> None:
    assert len(walk) <= MOST_FRAMES, "\n".join(f"{file}: {name}" for file, name in walk)


def test_its_way_is_the_one_that_the_documents_draw(walk: list[tuple[str, str]]) -> None:
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"One message, file by file.*?```\n(.*?)```", text, re.DOTALL)
    drawn = [line.split()[0] for line in block.splitlines() if line.strip()]
    files: list[str] = []
    for file, _ in walk:
        if file.startswith("sono_") and file not in files:
            files.append(file)
    assert files == drawn
