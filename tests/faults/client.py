"""A classic client in a process, to be stopped: `python -m tests.faults.client URL CHANNEL`."""

from __future__ import annotations

import sys

from sono_client import SonoClient


def main(url: str, channel: str) -> None:
    """Enter a channel, print that, and listen."""
    with SonoClient(url, reconnect=False, dialect="classic") as sono:
        sono.change_channel(channel)
        sono.grab("mychannel")
        print("there", flush=True)
        sono.run()


if __name__ == "__main__":
    main(*sys.argv[1:])
