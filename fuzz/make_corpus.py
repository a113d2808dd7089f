"""Write `fuzz/corpus` anew: `python -m fuzz.make_corpus`.

Each case as a server receives it, with masks, and as a client does, without. The same table gives
the same bytes, wherever zlib compresses the same.
"""

from __future__ import annotations

import random
import shutil
import sys
from pathlib import Path

from .cases import CASES, OPCODES, Case

CORPUS = Path(__file__).parent / "corpus"
ROLES = ("server", "client")
SERVER_ONLY = {*OPCODES, "length-above-16-bits"}  # the corpus stays small


def encode(name: str, case: Case, role: str) -> bytes:
    """The case as bytes; its first masking key is random, then they take turns with zeros."""
    source = random.Random(name)
    data = bytearray()
    for number, frame in enumerate(case.frames):
        key = bytes(4) if number % 2 else source.randbytes(4)
        data += frame.encode(key if role == "server" else b"")
    return bytes(data[: len(data) - case.cut])


def corpus() -> dict[str, bytes]:
    """All files, by their paths within the corpus."""
    return {
        f"{role}/{name}.bin": encode(name, case, role)
        for role in ROLES
        for name, case in CASES.items()
        if role == "server" or name not in SERVER_ONLY
    }


def main() -> int:
    """Run the command; the exit status."""
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
