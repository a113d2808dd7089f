"""The command `sono`.

Mistakes of the user are one line on standard error and exit status 2. An application that cannot be
loaded is its traceback, one line, and exit status 1.
"""

import argparse
import math
import signal
import sys
import textwrap
from collections.abc import Iterator, Sequence
from typing import NoReturn

from sono_client.cli import Mistake as ClientMistake
from sono_client.cli import add_commands, complain, say, standard_streams
from sono_core import __version__, native_available
from sono_core.quoting import shown_url
from sono_server.operations import BOOT, INHERITED, Inherited, settings

from . import publish, reload, serve, workers
from .mistakes import ApplicationFailed, Mistake

_SERVE = """\
Start a server for an application, or without APP a chat page to try Sono out.

  sono serve                    the chat page, on http://localhost:8080/
  sono serve app                the object `sono` of the module app; the same as app:sono
  sono serve web/app.py:chat    the object `chat` of a file
  sono serve "app:make_sono()"  what a function returns

  ws://localhost:8080/ws         what clients connect to
  http://localhost:8080/sono.js  the browser client
  http://localhost:8080/healthz  200 while the server runs
  http://localhost:8080/readyz   503 while the backplane does not answer, else 200

An application that registers coroutine functions runs on asyncio.

Ctrl-C or SIGTERM closes every connection and ends the server; a second one ends it at once.
SIGHUP loads the certificates of --tls-cert again; with --workers it replaces one worker after the
other, and their clients are told to come back (1012). Sockets of systemd (LISTEN_FDS) are taken
instead of --host, --port and --unix.

exit status: 0 after a stop, 1 if the application cannot be loaded, 2 for a mistake in the arguments
or an address that cannot be listened on"""


class _Parser(argparse.ArgumentParser):
    """Reports a mistake in one line, without the usage."""

    def error(self, message: str) -> NoReturn:
        complain(message, self.prog)
        self.exit(2)


def _port(text: str) -> int:
    if not text.isdecimal() or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is not a port (0 to 65535)")
    return int(text)


def _path(text: str) -> str:
    if not text.startswith("/") or "?" in text or "#" in text:
        raise argparse.ArgumentTypeError(f"{text!r} is not a path such as /ws")
    return text


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds")
    return seconds


def _add_help(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("-h", "--help", action="help", help="show this help and exit")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="sono",
        description="Real-time messaging over WebSocket.",
        epilog="Run `sono serve`, then open http://localhost:8080/ in two tabs."
        " `sono COMMAND --help` describes a command.",
        add_help=False,
    )
    _add_help(parser)
    parser.add_argument(
        "--version",
        action="version",
        version=f"sono {__version__} ({'native' if native_available else 'pure Python'})",
        help="show the version and exit",
    )
    commands = parser.add_subparsers(
        title="commands", dest="command", metavar="COMMAND", required=True
    )
    command = commands.add_parser(
        "serve",
        help="serve an application, or a chat page to try Sono out",
        description=_SERVE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        add_help=False,
    )
    command.add_argument(
        "app",
        nargs="?",
        metavar="APP",
        help="module:attribute or file.py:attribute; the attribute is a Sono (default: sono),"
        " or with () a function that returns one",
    )
    _add_help(command)
    command.add_argument(
        "--reload",
        action="store_true",
        help="for development only: start again when a *.py file in the application's folder"
        " changes; needs watchfiles",
    )
    command.add_argument(INHERITED, dest="inherited", help=argparse.SUPPRESS)
    command.add_argument(
        "--path",
        type=_path,
        help="where clients of APP connect (default: /ws)",
    )
    command.add_argument(
        "--host",
        help="name or address to listen on (default: localhost, which other machines do not reach)",
    )
    command.add_argument(
        "--port",
        type=_port,
        help=f"port to listen on, 0 for any free one (default: {serve.PORT})",
    )
    command.add_argument(
        "--origin",
        action="append",
        default=[],
        metavar="ORIGIN",
        dest="origins",
        help="also let pages of this origin connect, such as https://example.org; may be repeated",
    )
    command.add_argument(
        "--drain",
        type=_seconds,
        metavar="SECONDS",
        help="how long connections may take to close when the server ends"
        f" (default: {serve.DRAIN:g}; with --reload {reload.DRAIN:g})",
    )
    command.add_argument(
        "--close-code",
        type=int,
        choices=(1001, 1012),
        default=1001,
        help="the close code that they get then; 1012 means that the server will be back"
        " (default: %(default)d)",
    )
    command.add_argument(
        "--trusted-proxy",
        action="append",
        default=[],
        metavar="NETWORK",
        dest="proxies",
        help="believe the headers X-Forwarded-For, -Proto and -Host of proxies at this address or"
        " in this network, such as 10.0.0.0/8; may be repeated",
    )
    command.add_argument(
        "--allow-host",
        action="append",
        metavar="NAME",
        dest="hosts",
        help="a name of this server, such as example.org, or .example.org for a domain; pages of"
        " other names are foreign (default: any, but on loopback only localhost and addresses,"
        " unless a proxy passed the request on); may be repeated",
    )
    command.add_argument(
        "--max-connections",
        type=int,
        metavar="N",
        help="refuse connections with 503 beyond so many (default: the limit of file descriptors"
        " less 64)",
    )
    command.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        dest="settings",
        help="change a limit or a time-out, such as max_message=65536; may be repeated;"
        " `sono limits` lists them",
    )
    command.add_argument(
        "--backplane",
        metavar="URL",
        help="what several processes share to serve as one, such as redis://localhost; a URL with a"
        " password belongs into the environment variable SONO_BACKPLANE, which others cannot read"
        " (default: memory, which is this process alone)",
    )
    command.add_argument(
        "--workers",
        type=int,
        metavar="N",
        help="serve in N processes, which share the --backplane; SIGHUP replaces one after the"
        " other (default: in this process)",
    )
    command.add_argument(
        "--boot",
        type=_seconds,
        default=BOOT,
        metavar="SECONDS",
        help="how long a worker may take until it is ready (default: %(default)g)",
    )
    command.add_argument(
        "--unix", metavar="PATH", help="listen on this Unix socket instead of a port"
    )
    command.add_argument(
        "--tls-cert", metavar="FILE", help="serve https and wss with this certificate chain (PEM)"
    )
    command.add_argument(
        "--tls-key", metavar="FILE", help="its private key, if that is in a file of its own"
    )
    _add_logging(command)
    command.set_defaults(run=_serve)
    command = commands.add_parser(
        "limits",
        help="list every limit and time-out, with its default",
        description="List every limit and time-out of `sono serve`, with its default. Sizes are in"
        " bytes, times in seconds; `sono serve --set NAME=VALUE` changes one.",
        add_help=False,
    )
    _add_help(command)
    command.set_defaults(run=_list_limits)
    command = commands.add_parser(
        "publish",
        help="say something in a channel from outside, through a backplane",
        description=publish.DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        add_help=False,
    )
    publish.add_arguments(command)
    _add_help(command)
    command.set_defaults(run=publish.run)
    add_commands(commands, _add_help)
    return parser


def _add_logging(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--log-level",
        choices=("debug", "info", "warning", "error"),
        default="warning",
        help="log this and what is worse, to standard error (default: %(default)s)",
    )
    command.add_argument(
        "--log-format",
        choices=("text", "json"),
        default="text",
        help="lines of text, or one JSON object a line (default: %(default)s)",
    )


def _list_limits(arguments: argparse.Namespace) -> int:
    listed = list(settings())
    width = max(len(setting.name) for setting in listed)
    for name, default, what in listed:
        indent = " " * (width + 13)
        lines = textwrap.wrap(what, 100 - len(indent))
        say(f"{name:{width}} {default:>10}  " + f"\n{indent}".join(lines))
    return 0


def _serve(arguments: argparse.Namespace) -> int:
    if arguments.app is None:
        for option in ("path", "reload"):
            if getattr(arguments, option):
                raise Mistake(f"--{option} needs APP")
    if arguments.inherited:
        # A cached module counts as new for a second after it was changed, if its size is the same.
        sys.dont_write_bytecode |= arguments.reload
        if arguments.reload and arguments.drain is None:
            arguments.drain = reload.DRAIN
        return serve.run(arguments, Inherited(arguments.inherited))
    if arguments.workers is not None:
        return workers.run(arguments)
    if arguments.reload:
        return reload.run(arguments)
    return serve.run(arguments)


def _named(arguments: list[str]) -> Iterator[str]:
    """What an error calls arguments; the value of an unknown option may be secret."""
    value = False
    for argument in arguments:
        if argument.startswith("-"):
            name, equals, _ = argument.partition("=")
            yield name
            value = not equals
        else:
            yield "..." if value else shown_url(argument)
            value = False


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; the exit status."""
    with standard_streams():
        return _main(argv)


def _main(argv: Sequence[str] | None) -> int:
    parser = _parser()
    argv = sys.argv[1:] if argv is None else list(argv)
    arguments, unknown = parser.parse_known_args(argv)
    if unknown:
        parser.error(f"unrecognized arguments: {' '.join(_named(unknown))}")
    arguments.argv = argv
    try:
        status: int = arguments.run(arguments)
    except (Mistake, ClientMistake) as mistake:
        parser.error(str(mistake))
    except ApplicationFailed as failed:
        parser.exit(1, f"{failed.traceback}{parser.prog}: {failed}\n")
    except KeyboardInterrupt:  # while the application is imported, for one
        return 128 + signal.SIGINT
    return status
