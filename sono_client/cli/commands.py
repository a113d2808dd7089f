"""The arguments of the commands of `sono` that talk to a server.

The exit status is 0 if all went well, 1 if the server could not be reached, refused or was lost,
and 2 for a mistake in the arguments.
"""

import argparse
import math
from collections.abc import Callable
from typing import Any

_CONNECT = """\
Talk to a Sono server. What you type is sent to everybody in the channel.

  /join CHANNEL       move to another channel
  /dm ID TEXT         send TEXT to one client
  /others TEXT        send TEXT to everybody else in the channel
  /emit EVENT TEXT    send an event of another name; TEXT may be JSON
  /grab KIND          ask for myid, clients, channels, mychannel or mychannelclients
  /ping               measure how long the server takes to answer
  /help               show this list

Ctrl-D ends the command. With --raw, talk to any WebSocket server: each line is a text message."""

Commands = Any  # what argparse's add_subparsers gives


def add_commands(commands: Commands, add_help: Callable[[argparse.ArgumentParser], None]) -> None:
    """Add the commands `connect`, `listen` and `emit`."""

    def command(name: str, text: str, description: str | None = None) -> argparse.ArgumentParser:
        parser: argparse.ArgumentParser = commands.add_parser(
            name,
            help=text,
            description=description or f"{text[0].upper()}{text[1:]}.",
            formatter_class=argparse.RawDescriptionHelpFormatter,
            add_help=False,
        )
        add_help(parser)
        parser.add_argument("url", metavar="URL", help="such as ws://localhost:8080/ws, or wss://")
        _add_connection(parser)
        parser.set_defaults(run=_run)
        return parser

    connect = command("connect", "talk to a server from the terminal", _CONNECT)
    connect.add_argument("--raw", action="store_true", help="a plain WebSocket, without packets")
    connect.set_defaults(talk="connect")

    listen = command("listen", "print what a server sends, one JSON object a line")
    listen.add_argument(
        "--event", action="append", metavar="NAME", help="only this event; may be repeated"
    )
    listen.add_argument("--channel", metavar="NAME", help="move to this channel first")
    listen.add_argument("--count", type=_positive, metavar="N", help="end after N events")
    listen.set_defaults(talk="listen")

    emit = command("emit", "send one event, and end when the server has received it")
    emit.add_argument("message", metavar="MESSAGE", help="a text, or any JSON value with --json")
    emit.add_argument("--event", default="message", metavar="NAME", help="default: %(default)s")
    emit.add_argument("--channel", metavar="NAME", help="move to this channel first")
    emit.add_argument("--to", metavar="ID", help="send it to this client only")
    emit.add_argument("--others", action="store_true", help="do not send it back to this client")
    emit.add_argument("--json", action="store_true", help="read MESSAGE as JSON")
    emit.set_defaults(talk="emit")


def _add_connection(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--header", action="append", default=[], type=_header, metavar="'NAME: VALUE'",
        dest="headers", help="a header field of the request; may be repeated")  # fmt: skip
    add("--cafile", metavar="FILE", help="certificates to trust for wss, instead of the system's")
    add("--unix", metavar="PATH", help="connect to this Unix socket instead of the URL's host")
    add("--timeout", type=_seconds, default=10.0, metavar="SECONDS",
        help="to wait for the connection, and for an answer (default: %(default)g)")  # fmt: skip


def _header(text: str) -> tuple[str, str]:
    name, colon, value = text.partition(":")
    if not colon or not name.strip():
        raise argparse.ArgumentTypeError(f"{text!r} is not 'NAME: VALUE'")
    return name.strip(), value.strip()


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


def _run(arguments: argparse.Namespace) -> int:
    from . import terminal

    return terminal.run(arguments)
