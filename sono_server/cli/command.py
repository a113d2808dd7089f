"""The command `sono`.

Mistakes of the user are one line on standard error and exit status 2.
"""

import argparse
import math
import signal
import textwrap
from collections.abc import Sequence
from typing import NoReturn

from sono_client.cli import Mistake, add_commands
from sono_core import __version__, native_available
from sono_core.tls import Certificates, server_context
from sono_server.app import Sono
from sono_server.operations import changed, configure, settings
from sono_server.selector import Server, serve
from sono_server.serving import logger

from . import demo

_SERVE = """\
Start a server.

  http://localhost:8080/         a chat page
  http://localhost:8080/sono.js  the browser client
  ws://localhost:8080/ws         what clients connect to

Ctrl-C or SIGTERM closes every connection and ends the server; a second one ends it at once.
SIGHUP loads the certificates of --tls-cert again."""


class _Mistake(Exception):  # noqa: N818 - the user's, not the program's
    """What is wrong with the arguments, in one line."""


class _Parser(argparse.ArgumentParser):
    """Says what is wrong in one line, without the usage."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message}\n")


def _port(text: str) -> int:
    if not text.isdecimal() or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is not a port (0 to 65535)")
    return int(text)


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
        epilog="Run `sono serve`, then open http://localhost:8080/ in two tabs.",
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
        help="start a server, with a chat page to try it out",
        description=_SERVE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        add_help=False,
    )
    _add_help(command)
    command.add_argument(
        "--host",
        help="name or address to listen on (default: localhost, which other machines do not reach)",
    )
    command.add_argument(
        "--port",
        type=_port,
        default=8080,
        help="port to listen on, 0 for any free one (default: %(default)s)",
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
        default=10.0,
        metavar="SECONDS",
        help="how long connections may take to close when the server ends (default: %(default)g)",
    )
    command.add_argument(
        "--close-code",
        type=int,
        choices=(1001, 1012),
        default=1001,
        help="what they are told then; 1012: the server will be back (default: %(default)d)",
    )
    command.add_argument(
        "--trusted-proxy",
        action="append",
        default=[],
        metavar="NETWORK",
        dest="proxies",
        help="believe X-Forwarded-For, -Proto and -Host of proxies there; may be repeated",
    )
    command.add_argument(
        "--max-connections",
        type=int,
        metavar="N",
        help="answer 503 beyond so many (default: the limit of file descriptors less 64)",
    )
    command.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        dest="settings",
        help="change a limit or a time-out, such as max_message=65536; `sono limits` lists them",
    )
    command.add_argument("--unix", metavar="PATH", help="listen on this Unix socket instead")
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
        description="Every limit and time-out of `sono serve`, with its default.",
        add_help=False,
    )
    _add_help(command)
    command.set_defaults(run=_list_limits)
    add_commands(commands, _add_help)
    return parser


def _add_logging(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--log-level",
        choices=("debug", "info", "warning", "error"),
        default="warning",
        help="what is logged at all (default: %(default)s)",
    )
    command.add_argument(
        "--log-format",
        choices=("text", "json"),
        default="text",
        help="json: one object a line (default: %(default)s)",
    )


def _list_limits(arguments: argparse.Namespace) -> int:
    listed = list(settings())
    width = max(len(setting.name) for setting in listed)
    for name, default, what in listed:
        indent = " " * (width + 13)
        lines = textwrap.wrap(what, 100 - len(indent))
        print(f"{name:{width}} {default:>10}  " + f"\n{indent}".join(lines))
    return 0


def _serve(arguments: argparse.Namespace) -> int:
    configure(arguments.log_level, arguments.log_format)
    certificates = _certificates(arguments)
    try:
        limits, timeouts = changed(arguments.settings)
    except ValueError as error:
        raise _Mistake(str(error)) from None
    sono = Sono(open_channels=True, limits=limits)
    where = arguments.unix or f"{arguments.host or 'localhost'}:{arguments.port}"
    try:
        server = serve(
            arguments.host,
            arguments.port,
            unix=arguments.unix,
            ssl=certificates.context if certificates else None,
            limits=limits,
            timeouts=timeouts,
            origins=arguments.origins,
            max_connections=arguments.max_connections,
            drain=arguments.drain,
            close_code=arguments.close_code,
            trusted_proxies=arguments.proxies,
        )
    except OSError as error:
        raise _Mistake(f"cannot listen on {where}: {_reason(error)}") from None
    except UnicodeError:
        raise _Mistake(f"cannot listen on {arguments.host!r}: not a host name") from None
    except ValueError as error:
        raise _Mistake(str(error)) from None
    with server:
        if certificates:
            _reload_on_hangup(certificates, server)
        print(f"Sono {__version__} is at {_url(arguments, server)} - Ctrl-C ends it", flush=True)
        for request in server:
            demo.handle(sono, request)
    return 0


def _certificates(arguments: argparse.Namespace) -> Certificates | None:
    """What `--tls-cert` and `--tls-key` name."""
    if not arguments.tls_cert:
        if arguments.tls_key:
            raise _Mistake("--tls-key needs --tls-cert")
        return None
    try:
        return Certificates(lambda: server_context(arguments.tls_cert, arguments.tls_key))
    except OSError as error:
        raise _Mistake(f"cannot read {error.filename}: {_reason(error)}") from None
    except ValueError as error:
        raise _Mistake(str(error)) from None


def _reload_on_hangup(certificates: Certificates, server: Server) -> None:
    """Let SIGHUP load the certificates again; if that fails, the old ones stay."""

    def reload() -> None:
        try:
            certificates.reload()
        except (OSError, ValueError) as error:
            logger.error("the certificates were not reloaded: %s", error)
        else:
            logger.info("the certificates were reloaded")

    if hasattr(signal, "SIGHUP"):
        signal.signal(signal.SIGHUP, lambda *_: server.call_soon(reload))


def _reason(error: OSError) -> str:
    return (error.strerror or str(error)).lower()


def _url(arguments: argparse.Namespace, server: Server) -> str:
    if arguments.unix:
        return f"unix:{server.address}"
    host, port = server.address[:2]
    if arguments.host is None:
        host = "localhost"
    scheme = "https" if arguments.tls_cert else "http"
    return f"{scheme}://[{host}]:{port}/" if ":" in host else f"{scheme}://{host}:{port}/"


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; the exit status."""
    parser = _parser()
    arguments = parser.parse_args(argv)
    try:
        status: int = arguments.run(arguments)
    except (_Mistake, Mistake) as mistake:
        parser.error(str(mistake))
    return status
