"""Lines of standard input, each as soon as it is there; nothing is read before it is wanted."""

import asyncio
import codecs
import contextlib
import select
import threading
from collections.abc import AsyncIterator
from typing import Any, TextIO

from .streams import complain

_READ = 64 * 1024  # bytes read at once
_MAX_LINE = 16 * 1024 * 1024  # bytes of one line: more than most servers take as a message


class InputLines:
    """The lines of a stream, to be iterated over once.

    A line that is too long or not in the stream's encoding is an error line, and left out.
    """

    def __init__(self, stream: TextIO) -> None:
        self.faulty: bool = False
        """Whether a line was left out, or reading failed."""
        encoding = codecs.lookup(stream.encoding or "utf-8").name
        self._encoding = "utf-8" if encoding == "ascii" else encoding
        # Without a buffer, whose lock a thread that still reads would hold when the process ends.
        buffer: Any = stream.buffer
        self._raw: Any = getattr(buffer, "raw", buffer)

    async def __aiter__(self) -> AsyncIterator[str]:
        number = 0
        async for line in self._split():
            number += 1
            if line is None:
                self._fail(f"line {number} of the input is longer than {_MAX_LINE >> 20} MiB")
                continue
            try:
                text = line.removesuffix(b"\r").decode(self._encoding)
            except UnicodeDecodeError:
                self._fail(f"line {number} of the input is not {self._encoding.upper()}")
                continue
            yield text

    def _fail(self, text: str) -> None:
        self.faulty = True
        complain(text)

    async def _split(self) -> AsyncIterator[bytes | None]:
        """The lines without their ends; None for one that is too long."""
        line, too_long = bytearray(), False
        async for chunk in self._chunks():
            *ends, rest = chunk.split(b"\n")
            for end in ends:
                line += end
                yield None if too_long else bytes(line)
                line.clear()
                too_long = False
            line += rest
            if len(line) > _MAX_LINE:
                line.clear()
                too_long = True
        if line or too_long:
            yield None if too_long else bytes(line)

    async def _chunks(self) -> AsyncIterator[bytes]:
        """What is read, in a thread that may be left waiting; each chunk once it is asked for."""
        loop = asyncio.get_running_loop()
        read: asyncio.Queue[bytes] = asyncio.Queue()
        wanted = threading.Semaphore(0)

        def run() -> None:
            with contextlib.suppress(RuntimeError):  # the loop is closed
                while True:
                    wanted.acquire()
                    data = self._read()
                    loop.call_soon_threadsafe(read.put_nowait, data)

        threading.Thread(target=run, daemon=True).start()
        while True:
            wanted.release()
            chunk = await read.get()
            if not chunk:
                return
            yield chunk

    def _read(self) -> bytes:
        """Wait for something to read; b"" at the end."""
        try:
            while (data := self._raw.read(_READ)) is None:  # somebody made it non-blocking
                select.select([self._raw], [], [])
        except OSError as error:
            self._fail(f"cannot read the input: {(error.strerror or str(error)).lower()}")
            return b""
        found: bytes = data
        return found
