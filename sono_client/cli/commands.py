"""The arguments of the commands of `sono` that talk to a server.

The exit status is 0 if all went well; 1 if the server could not be reached, refused or was lost, or
if a line of the input could not be sent; 2 for a mistake in the arguments; 130 after Ctrl-C; 141 if
whatever read the output has gone.
"""

import argparse
import math
from collections.abc import Callable
from typing import Any

from sono_core.messaging.lossless import Position

_CONNECT = """\
Talk to a Sono server. What you type is sent to everybody in the channel.

  /join CHANNEL       move to another channel
  /dm ID TEXT         send TEXT to one client
  /others TEXT        send TEXT to everybody else in the channel
  /emit EVENT TEXT    send an event of another name; TEXT may be JSON
  /grab KIND          ask for myid, channels, mychannel or mychannelclients
  /request NAME DATA  ask the server; DATA is JSON, or a text
  /ping               measure how long the server takes to answer
  /help               show this list

Ctrl-D ends the command. With --raw, talk to any WebSocket server: each line that you type is
sent as a text message, and each message that comes is shown after "< ", binary ones as hexadecimal
digits.

Lines may also come from a pipe or a file: echo hello | sono connect --raw ws://localhost:8080/ws"""
_LISTEN = """\
Print what a Sono server sends, one JSON object a line, until the connection ends.

  {"event": "message", "payload": {"message": "hello", "from": "..."}, "stream": "#Home", "at":
  ["EPOCH", 7]}

Each is one line. "at" is the event's position in its stream; with --from it goes on after one of a
channel. What the server does not have any more is told as a gap, on standard error. In the classic
dialect there are no positions."""
_REQUEST = """\
Ask a Sono server, and print its reply as one line of JSON.

  sono request ws://localhost:8080/ws history.search '{"q": "x"}'"""
_EMIT = """\
Send one event to everybody in the channel, and end when the server has dealt with it.

  sono emit ws://localhost:8080/ws hello
  sono emit ws://localhost:8080/ws '{"points": 3}' --json --event score"""
_STATUS = """\
exit status: 0 if all went well; 1 if the server cannot be reached, refuses or is lost, or if a line
of the input cannot be sent; 2 for a mistake in the arguments; 130 after Ctrl-C; 141 if whatever
reads the output has gone"""

Commands = Any  # what argparse's add_subparsers gives


def add_commands(commands: Commands, add_help: Callable[[argparse.ArgumentParser], None]) -> None:
    """Add the commands `connect`, `listen`, `emit` and `request`."""

    def command(
        name: str, text: str, description: str, *, dialects: bool = True
    ) -> argparse.ArgumentParser:
        parser: argparse.ArgumentParser = commands.add_parser(
            name,
            help=text,
            description=description,
            epilog=_STATUS,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            add_help=False,
        )
        add_help(parser)
        parser.add_argument(
            "url", metavar="URL", help="such as ws://localhost:8080/ws; wss:// is with TLS"
        )
        _add_connection(parser)
        if dialects:
            parser.add_argument(
                "--dialect",
                choices=("v2", "classic"),
                help="speak nothing else (default: v2, and classic with a server that knows no v2)",
            )
        parser.set_defaults(run=_run)
        return parser

    connect = command("connect", "talk to a server from the terminal", _CONNECT)
    connect.add_argument(
        "--raw",
        action="store_true",
        help="talk to any WebSocket server, without Sono's channels and events",
    )
    connect.add_argument(
        "--wait",
        type=_wait,
        metavar="SECONDS",
        help="after the end of the input, show what comes for so long (default: until the server"
        " has answered and, with --raw, has been silent for a second; 5 at most)",
    )
    connect.set_defaults(talk="connect")

    listen = command("listen", "print what a server sends, one JSON object a line", _LISTEN)
    listen.add_argument(
        "--event", action="append", metavar="NAME", help="print only this event; may be repeated"
    )
    listen.add_argument("--channel", metavar="NAME", help="move to this channel first")
    listen.add_argument(
        "--from",
        dest="since",
        type=_position,
        metavar="EPOCH:OFFSET",
        help="print first what was said in the channel after that position",
    )
    listen.add_argument("--count", type=_positive, metavar="N", help="end after N events")
    listen.set_defaults(talk="listen")

    emit = command("emit", "send one event, and end when the server has dealt with it", _EMIT)
    emit.add_argument("message", metavar="MESSAGE", help="a text, or any JSON value with --json")
    emit.add_argument(
        "--event", default="message", metavar="NAME", help="the event's name (default: %(default)s)"
    )
    emit.add_argument("--channel", metavar="NAME", help="move to this channel first")
    emit.add_argument("--to", metavar="ID", help="send it to this client only")
    emit.add_argument("--others", action="store_true", help="do not send it back to this client")
    emit.add_argument("--json", action="store_true", help="read MESSAGE as JSON")
    emit.set_defaults(talk="emit")

    request = command("request", "ask a server, and print its reply", _REQUEST, dialects=False)
    request.add_argument("name", metavar="NAME", help="of the request")
    request.add_argument("data", metavar="JSON", nargs="?", default="null", help="what it is about")
    request.set_defaults(talk="request", dialect=None)


def _add_connection(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--header", action="append", default=[], type=_header, metavar="'NAME: VALUE'",
        dest="headers", help="a header field of the request; may be repeated")  # fmt: skip
    add("--cafile", metavar="FILE", help="certificates to trust for wss, instead of the system's")
    add("--unix", metavar="PATH", help="connect to this Unix socket instead of the URL's host")
    add(
        "--timeout",
        type=_seconds,
        default=10.0,
        metavar="SECONDS",
        help="how long to wait for the connection, and for an answer (default: %(default)g)",
    )


def _header(text: str) -> tuple[str, str]:
    name, colon, value = text.partition(":")
    if not colon or not name.strip():
        raise argparse.ArgumentTypeError("a header has the form 'NAME: VALUE'")  # it may be secret
    return name.strip(), value.strip()


def _position(text: str) -> Position:
    epoch, _, offset = text.rpartition(":")
    if not 0 < len(epoch) <= 64 or not (offset.isascii() and offset.isdecimal()):
        raise argparse.ArgumentTypeError(f"{text!r} is not EPOCH:OFFSET")
    return Position(epoch, int(offset))


def _positive(text: str) -> int:
    if not text.isdecimal() or not int(text):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number above 0")
    return int(text)


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds above 0")
    return seconds


def _wait(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds")
    return seconds


def _run(arguments: argparse.Namespace) -> int:
    from . import terminal

    return terminal.run(arguments)
