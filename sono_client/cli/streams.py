"""The standard streams as they may be: closed, of any encoding, or read by nobody any more.

A command runs `with standard_streams()`. No character that a stream lacks ends it, and nothing that
its output does raises anything but `OutputLost`.
"""

import contextlib
import os
import sys
from collections.abc import Iterator

OUTPUT_GONE = 141
"""The exit status if whatever reads the output has gone: that of a program which SIGPIPE ends."""


class OutputLost(Exception):  # noqa: N818 - what became of the output
    """Nothing more can be written to standard output.

    Args:
        text: one line for the user; empty if whatever read the output has gone.
    """


@contextlib.contextmanager
def standard_streams() -> Iterator[None]:
    """Prepare the streams of the process, and write what is left at the end.

    Raises:
        SystemExit: with 141 if whatever reads the output has gone, and with 1 if it cannot be
            written for another reason.
    """
    _fill()
    for stream in (sys.stdout, sys.stderr):
        if reconfigure := getattr(stream, "reconfigure", None):
            reconfigure(errors="backslashreplace")
    try:
        try:
            yield
        finally:
            say(end="")
    except OutputLost as lost:
        if text := str(lost):
            complain(text)
        raise SystemExit(1 if text else OUTPUT_GONE) from None


def say(text: str = "", end: str = "\n") -> None:
    """Write a line to standard output, at once.

    Raises:
        OutputLost: it cannot be written.
    """
    try:
        print(text, end=end, flush=True)
    except OSError as error:
        _silence()
        gone = isinstance(error, BrokenPipeError)
        reason = (error.strerror or str(error)).lower()
        raise OutputLost("" if gone else f"cannot write the output: {reason}") from None


def tell(text: str) -> None:
    """Write a line to standard output, if it can be written; for servers, which go on."""
    with contextlib.suppress(OutputLost):
        say(text)


def complain(text: str, command: str = "sono") -> None:
    """Write a line to standard error, if it can be written."""
    with contextlib.suppress(OSError):
        print(f"{command}: {printable(text)}", file=sys.stderr, flush=True)


def printable(text: str) -> str:
    """Somebody's text without characters that control the terminal."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def _fill() -> None:
    """Open what is closed: otherwise the next socket would get the number of a standard stream."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(number)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)  # the lowest free number
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w" if number else "r", encoding="utf-8"))  # noqa: SIM115


def _silence() -> None:
    """Let nothing that is still in a buffer fail again when the process ends."""
    with contextlib.suppress(OSError):
        null = os.open(os.devnull, os.O_WRONLY)
        try:
            os.dup2(null, sys.stdout.fileno())
        finally:
            os.close(null)
