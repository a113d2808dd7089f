"""What redis-py alone takes from a publication to its delivery, as the load generator would say it.

One process publishes, another takes it with `get_message`; both read a clock that they share.
"""

import argparse
import json
import multiprocessing
import time
from multiprocessing.connection import Connection

from redis import Redis

from .measure import WARM_UP

_CHANNEL = "through"
_SIZE = 128
_PATIENCE = 10.0  # seconds


def _listen(port: int, told: Connection) -> None:
    """Say for each message when it came, until an empty one does."""
    with Redis(port=port) as client, client.pubsub(ignore_subscribe_messages=False) as listener:
        listener.subscribe(_CHANNEL)
        listener.get_message(timeout=_PATIENCE)
        told.send(0)
        while message := listener.get_message(timeout=_PATIENCE):
            came = time.monotonic_ns()
            if not message["data"]:
                break
            told.send(came)


def measure(port: int, seconds: float) -> list[float]:
    """Latencies in microseconds, sorted."""
    here, there = multiprocessing.Pipe()
    process = multiprocessing.Process(target=_listen, args=(port, there), daemon=True)
    process.start()
    latencies = []
    try:
        here.recv()
        with Redis(port=port) as client:
            counts = time.monotonic() + WARM_UP
            while (now := time.monotonic()) < counts + seconds:
                begun = time.monotonic_ns()
                client.publish(_CHANNEL, bytes(_SIZE))
                if not here.poll(_PATIENCE):
                    raise TimeoutError("a message did not arrive")
                taken = here.recv() - begun
                if now >= counts:
                    latencies.append(taken / 1e3)
            client.publish(_CHANNEL, b"")
        process.join(_PATIENCE)
    finally:
        process.kill()
    return sorted(latencies)


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.through_redis", description=__doc__)
    parser.add_argument("--port", type=int, required=True, help="of a Redis on 127.0.0.1")
    parser.add_argument("--seconds", type=float, default=1.0, help="(default: %(default)s)")
    options = parser.parse_args()
    latencies = measure(options.port, options.seconds)
    shares = {"p50": 0.5, "p99": 0.99, "p999": 0.999}
    found = {name: latencies[int(share * len(latencies))] for name, share in shares.items()}
    print(json.dumps({"messages": len(latencies), "errors": 0, "latency_us": found}))


if __name__ == "__main__":
    main()
