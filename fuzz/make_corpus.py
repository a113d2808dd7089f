"""Write `fuzz/corpus` anew: `python -m fuzz.make_corpus`.

Each target has a folder. Each case of frames is written twice: as a server receives it, with
masks, and as a client does, without. Other inputs are written as their tables have them. The same
tables give the same bytes, wherever zlib compresses the same.
"""

from __future__ import annotations

import random
import shutil
import sys
from pathlib import Path

from .cases import CASES, OPCODES, Case
from .heads import REQUESTS, RESPONSES, TUNNELS, VALUES
from .payloads import ASGI, DEFLATE, PACKETS, V2

CORPUS = Path(__file__).parent / "corpus"
ROLES = ("server", "client")
SERVER_ONLY = {*OPCODES, "length-above-16-bits"}  # keeps the corpus small
SEEDS = {
    "request": REQUESTS,
    "response": RESPONSES,
    "deflate": DEFLATE,
    "packets": PACKETS,
    "v2": V2,
    "headers": VALUES,
    "tunnel": TUNNELS,
    "asgi": ASGI,
}


def encode(name: str, case: Case, role: str) -> bytes:
    """The case as bytes; its first masking key is random, and every other one is zero."""
    source = random.Random(name)
    data = bytearray()
    for number, frame in enumerate(case.frames):
        key = bytes(4) if number % 2 else source.randbytes(4)
        data += frame.encode(key if role == "server" else b"")
    return bytes(data[: len(data) - case.cut])


def corpus() -> dict[str, bytes]:
    """All files, by their paths within the corpus."""
    frames = {
        f"{role}/{name}.bin": encode(name, case, role)
        for role in ROLES
        for name, case in CASES.items()
        if role == "server" or name not in SERVER_ONLY
    }
    return frames | {
        f"{target}/{name}.bin": data
        for target, seeds in SEEDS.items()
        for name, data in seeds.items()
    }


def main() -> int:
    """Run the command; returns the exit status."""
    files = corpus()
    shutil.rmtree(CORPUS, ignore_errors=True)
    for name, data in files.items():
        path = CORPUS / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    print(f"{len(files)} files, {sum(map(len, files.values()))} bytes")
    return 0


if __name__ == "__main__":
    sys.exit(main())
