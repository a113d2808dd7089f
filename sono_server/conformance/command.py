"""The command `python -m sono_server.conformance`."""

import argparse
import fnmatch
import secrets
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NoReturn

from sono_client.cli import complain, say, standard_streams
from sono_core.errors import ConnectError, LocalProtocolError
from sono_core.quoting import shown_url

from .player import Failed, Skipped, play
from .remote import RemoteServer
from .transcripts import LEVELS, Transcript, TranscriptError, load

FOLDER = Path(__file__).resolve().parents[2] / "tests" / "transcripts"
_PROG = "python -m sono_server.conformance"
_DESCRIPTION = """\
Play the transcripts of the dialect sono.v2 to a server, in whatever language it is written, and say
which it passes. The server must run the conformance application: docs/transcripts.md."""
_EPILOG = """\
exit status: 0 if no transcript failed; 1 if one did, or the server cannot be reached; 2 for a
mistake in the arguments or in a transcript; 130 after Ctrl-C"""


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0 < seconds < 1e6:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds")
    return seconds


class _Parser(argparse.ArgumentParser):
    """Reports a mistake in one line, without the usage."""

    def error(self, message: str) -> NoReturn:
        complain(message, self.prog)
        self.exit(2)


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog=_PROG,
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        add_help=False,
    )
    add = parser.add_argument
    add("url", metavar="URL", help="where the server is, such as ws://localhost:8080/ws")
    add("-h", "--help", action="help", help="show this help and exit")
    add(
        "--transcripts",
        type=Path,
        default=FOLDER,
        metavar="FOLDER",
        help="where the transcripts are (default: tests/transcripts of the checkout)",
    )
    add("--level", choices=LEVELS, default="full", help="core and usual leave out what is"
        " optional (default: %(default)s)")  # fmt: skip
    add("--only", action="append", metavar="PATTERN", help="play those whose names match, such as"
        " '5.*'; may be repeated")  # fmt: skip
    add("--patience", type=_seconds, default=5.0, metavar="SECONDS", help="how long the server may"
        " take for an answer (default: %(default)g)")  # fmt: skip
    add("--quiet", type=_seconds, default=0.3, metavar="SECONDS", help="silence after which nothing"
        " more is expected (default: %(default)g)")  # fmt: skip
    add("--max-wait", type=_seconds, default=20.0, metavar="SECONDS", help="skip transcripts in"
        " which more time has to pass (default: %(default)g)")  # fmt: skip
    add("--header", action="append", default=[], type=_header, metavar="'NAME: VALUE'",
        dest="headers", help="a header field of the request; may be repeated")  # fmt: skip
    add("--cafile", metavar="FILE", help="certificates to trust for wss, instead of the system's")
    return parser


def _header(text: str) -> tuple[str, str]:
    name, colon, value = text.partition(":")
    if not colon or not name.strip():
        raise argparse.ArgumentTypeError("a header has the form 'NAME: VALUE'")  # it may be secret
    return name.strip(), value.strip()


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; the exit status."""
    with standard_streams():
        parser = _parser()
        arguments = parser.parse_args(argv)
        try:
            return _play(chosen(arguments), arguments)
        except (TranscriptError, _Mistake, LocalProtocolError, ValueError) as error:
            parser.error(str(error))
        except ConnectError as error:
            complain(str(error), _PROG)
            return 1
        except KeyboardInterrupt:
            return 130


class _Mistake(Exception):  # noqa: N818 - the user's, not the program's
    pass


def chosen(arguments: argparse.Namespace) -> list[Transcript]:
    """The transcripts for servers that the arguments select."""
    folder = arguments.transcripts
    if not folder.is_dir():
        raise _Mistake(f"there is no folder {folder}; --transcripts names one")
    found = [
        transcript
        for transcript in load(folder)
        if "server" in transcript.subjects
        and LEVELS.index(transcript.level) <= LEVELS.index(arguments.level)
        and (not arguments.only or _matches(transcript.name, arguments.only))
    ]
    if not found:
        raise _Mistake(f"no transcript of {folder} is chosen")
    return found


def _matches(name: str, patterns: Iterable[str]) -> bool:
    return any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)


def _play(transcripts: Sequence[Transcript], arguments: argparse.Namespace) -> int:
    counts = {"passed": 0, "failed": 0, "skipped": 0}
    for transcript in transcripts:
        outcome, why = _played(transcript, arguments)
        counts[outcome] += 1
        name = transcript.name.removesuffix(".jsonl")
        say(f"{outcome:7}  {name}: {transcript.title}")
        if why:
            say(f"         {why}")
    say(f"{shown_url(arguments.url)}: {', '.join(f'{n} {what}' for what, n in counts.items())}")
    return 1 if counts["failed"] else 0


def _played(transcript: Transcript, arguments: argparse.Namespace) -> tuple[str, str]:
    server = RemoteServer(
        arguments.url,
        patience=arguments.patience,
        quiet=arguments.quiet,
        max_wait=arguments.max_wait,
        **_options(arguments),
    )
    try:
        play(transcript, server, run=secrets.token_hex(4))
    except Failed as failed:
        return "failed", str(failed)
    except Skipped as skipped:
        return "skipped", str(skipped)
    finally:
        server.end()
    return "passed", ""


def _options(arguments: argparse.Namespace) -> dict[str, Any]:
    options: dict[str, Any] = {"headers": arguments.headers}
    if arguments.cafile:
        from sono_core.tls import client_context

        options["ssl"] = client_context(arguments.cafile)
    return options
