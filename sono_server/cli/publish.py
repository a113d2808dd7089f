"""`sono publish`: says something in a channel, without a server."""

import argparse
import json
import sys
from typing import Any

import msgspec

from sono_client.cli import complain, say
from sono_core.errors import LocalProtocolError
from sono_core.messaging.lossless import BackplaneError
from sono_server.backplane import Publisher

from .mistakes import Mistake

DESCRIPTION = """\
Say something to the members of a channel on all processes that share a backplane, and print its
position when it is published. No server is needed.

  sono publish news headline '{"text": "hi"}' --backplane redis://localhost
  sono publish news headline - --key 2026-11-29 < headline.json

exit status: 0 if it is published; 1 if it is not, or nobody knows; 2 for a mistake in the
arguments"""


def add_arguments(command: argparse.ArgumentParser) -> None:
    """The arguments of the command."""
    command.add_argument("channel", metavar="CHANNEL", help="the channel's name")
    command.add_argument("event", metavar="EVENT", help="the event's name")
    command.add_argument("data", metavar="JSON", help="the event's data; - reads it from the input")
    command.add_argument(
        "--backplane",
        metavar="URL",
        help="such as redis://localhost (default: the environment variable SONO_BACKPLANE)",
    )
    command.add_argument(
        "--key",
        help="what has the same key is published once within five minutes, and gives the same"
        " position",
    )
    command.add_argument(
        "--timeout",
        type=float,
        default=10.0,
        metavar="SECONDS",
        help="how long it waits for the backplane (default: %(default)g)",
    )


def run(arguments: argparse.Namespace) -> int:
    """Publish; the exit status.

    Raises:
        Mistake: an argument is wrong.
    """
    data = _data(sys.stdin.read() if arguments.data == "-" else arguments.data)
    try:
        with Publisher(arguments.backplane, timeout=arguments.timeout) as publisher:
            position = publisher.publish(
                arguments.channel, arguments.event, data, key=arguments.key
            )
    except BackplaneError as error:
        complain(str(error), "sono publish")
        return 1
    except (ImportError, ValueError, LocalProtocolError) as error:
        raise Mistake(str(error)) from None
    say(msgspec.json.encode(position).decode())
    return 0


def _data(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        raise Mistake(f"the data is no JSON: {error}") from None
