"""`sono serve APP --workers N`: a parent that listens, and N children that serve."""

import argparse
from functools import partial

from sono_client.cli import tell
from sono_server.operations import configure, supervise, workers

from . import serve
from .mistakes import Mistake


def run(arguments: argparse.Namespace) -> int:
    """Serve in several processes, until a signal; the exit status.

    What is wrong with other arguments than these, and with the application, the first worker says.

    Raises:
        Mistake: there cannot be so many workers, or they cannot listen there.
    """
    if arguments.reload:
        raise Mistake("--workers is not for --reload, which has one process")
    try:
        workers.check(arguments.workers, arguments.backplane)
    except (ImportError, OSError, ValueError) as error:
        raise Mistake(f"--workers: {error}") from None
    configure(arguments.log_level, arguments.log_format)
    with serve.address_mistakes(arguments):
        listeners = workers.listen_for(
            arguments.workers, arguments.host, arguments.port, arguments.unix
        )
    number = arguments.workers
    how = f" with {number} worker{'s' if number > 1 else ''}"
    line = serve.start_line(arguments, listeners.address, how)
    return supervise(
        arguments.argv,
        listeners,
        workers=number,
        drain=serve.DRAIN if arguments.drain is None else arguments.drain,
        boot=arguments.boot,
        opened=partial(tell, line),
    )
