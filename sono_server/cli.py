"""The command `sono`.

Mistakes of the user are one line on standard error and exit status 2.
"""

import argparse
import logging
import sys
from collections.abc import Sequence
from typing import NoReturn

from sono_core import __version__

from . import demo
from .app import Sono
from .selector import Server, serve


class _Parser(argparse.ArgumentParser):
    """Says what is wrong in one line, without the usage."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message}\n")


def _port(text: str) -> int:
    if not text.isdecimal() or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is not a port (0 to 65535)")
    return int(text)


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="sono", description="Real-time messaging over WebSocket.")
    parser.add_argument("--version", action="version", version=f"sono {__version__}")
    commands = parser.add_subparsers(
        title="commands", dest="command", metavar="COMMAND", required=True
    )
    command = commands.add_parser(
        "serve",
        help="start the server, with a chat page to try it out",
        description="Start the server. / is a chat page, /sono.js the browser client, /ws the "
        "WebSocket that clients connect to. Ends on Ctrl-C or SIGTERM after closing every "
        "connection; a second one ends it at once.",
    )
    command.add_argument(
        "--host",
        help="name or address to listen on (default: this machine only, 127.0.0.1 and ::1)",
    )
    command.add_argument(
        "--port", type=_port, default=8080, help="0 for any free one (default: %(default)s)"
    )
    command.add_argument(
        "--origin",
        action="append",
        default=[],
        metavar="ORIGIN",
        dest="origins",
        help="let pages of that origin connect, as https://example.org, beside the server's own;"
        " may be repeated",
    )
    command.add_argument(
        "--drain",
        type=float,
        default=10.0,
        metavar="SECONDS",
        help="time that connections get to close when the server stops (default: %(default)g)",
    )
    command.set_defaults(run=_serve)
    return parser


def _serve(arguments: argparse.Namespace) -> int:
    sono = Sono(open_channels=True)
    with serve(
        arguments.host, arguments.port, origins=arguments.origins, drain=arguments.drain
    ) as server:
        print(f"Sono {__version__} is at {_url(server)} - Ctrl-C ends it", flush=True)
        for request in server:
            demo.handle(sono, request)
    return 0


def _url(server: Server) -> str:
    host, port = server.address[:2]
    return f"http://[{host}]:{port}/" if ":" in host else f"http://{host}:{port}/"


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; the exit status."""
    parser = _parser()
    arguments = parser.parse_args(argv)
    logging.basicConfig(format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    try:
        status: int = arguments.run(arguments)
    except OSError as error:
        where = f"{arguments.host or 'localhost'}:{arguments.port}"
        parser.error(f"cannot listen on {where}: {(error.strerror or str(error)).lower()}")
    except ValueError as error:
        parser.error(str(error))
    return status


if __name__ == "__main__":
    sys.exit(main())
