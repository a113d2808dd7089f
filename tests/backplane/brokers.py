"""A Redis of the tests' own: on a free port, in a folder of its own."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from tests.conftest import require
from tests.servers import PATIENCE, free_port

_SERVER = shutil.which("redis-server")
_HOW = "apt-get install redis-server, and pip install 'sono[redis]'"


def require_redis() -> None:
    """Skips the test where there is none."""
    require("redis", bool(_SERVER and find_spec("redis") and find_spec("hiredis")), _HOW)


class Broker:
    """A server that can be stopped, killed and started again.

    Args:
        options: of its command line.
        password: with which the tests speak to it.
    """

    def __init__(self, *options: str, password: str | None = None) -> None:
        self.port = free_port()
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self._folder = tempfile.mkdtemp(prefix="sono-redis-")
        self._options = options
        self._password = password
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        assert _SERVER
        command = [_SERVER, "--port", str(self.port), "--bind", "127.0.0.1", "--save", ""]
        command += ["--dir", self._folder, "--logfile", "log", "--appendfsync", "no"]
        self._process = subprocess.Popen([*command, *self._options])
        until = time.monotonic() + PATIENCE
        while not self._answers():
            assert self._process.poll() is None, self.log()
            assert time.monotonic() < until, self.log()
            time.sleep(0.01)

    def _answers(self) -> bool:
        from redis.exceptions import ConnectionError as RedisConnectionError

        try:
            self.command("PING")
        except RedisConnectionError:  # or it is loading
            return False
        return True

    def log(self) -> str:
        return Path(self._folder, "log").read_text()

    def command(self, *words: str | int) -> Any:
        """Say something to it, as an administrator would."""
        from redis import Redis

        with Redis(port=self.port, password=self._password) as client:
            return client.execute_command(*words)

    def kill(self) -> None:
        self._end(signal.SIGKILL)

    def _end(self, number: int) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.send_signal(number)
            process.wait(PATIENCE)

    def signal(self, number: int) -> None:
        assert self._process
        os.kill(self._process.pid, number)

    def close(self) -> None:
        self._end(signal.SIGKILL)
        shutil.rmtree(self._folder)


@contextmanager
def broker(*options: str, password: str | None = None) -> Iterator[Broker]:
    """One that is running."""
    one = Broker(*options, password=password)
    try:
        one.start()
        yield one
    finally:
        one.close()


class Guarded:
    """A master and its replica, watched by three Sentinels."""

    def __init__(self) -> None:
        self.master = Broker()
        self.replica = Broker("--replicaof", f"127.0.0.1 {self.master.port}")
        self._folder = tempfile.mkdtemp(prefix="sono-sentinels-")
        self._sentinels: list[subprocess.Popen[bytes]] = []
        self._ports = [free_port() for _ in range(3)]

    @property
    def url(self) -> str:
        hosts = ",".join(f"127.0.0.1:{port}" for port in self._ports)
        return f"redis+sentinel://{hosts}/sono"

    def start(self) -> None:
        self.master.start()
        self.replica.start()
        assert _SERVER
        for port in self._ports:
            file = Path(self._folder, f"{port}.conf")
            file.write_text(
                f"port {port}\nbind 127.0.0.1\ndir {self._folder}\nlogfile {port}.log\n"
                f"sentinel monitor sono 127.0.0.1 {self.master.port} 2\n"
                "sentinel down-after-milliseconds sono 500\n"
                "sentinel failover-timeout sono 2000\n"
            )
            self._sentinels.append(subprocess.Popen([_SERVER, str(file), "--sentinel"]))
        until = time.monotonic() + PATIENCE
        while not self._watched():
            assert time.monotonic() < until
            time.sleep(0.05)

    def _watched(self) -> bool:
        """Whether each Sentinel knows the others, and the replica, which follows its master."""
        from redis import Redis
        from redis.exceptions import ConnectionError as RedisConnectionError

        for port in self._ports:
            try:
                with Redis(port=port) as sentinel:
                    state = sentinel.sentinel_master("sono")
            except RedisConnectionError:
                return False
            if state["num-other-sentinels"] < 2 or state["num-slaves"] < 1:
                return False
        return bool(self.replica.command("INFO", "replication")["master_link_status"] == "up")

    def close(self) -> None:
        for one in self._sentinels:
            one.kill()
            one.wait(PATIENCE)
        self.replica.close()
        self.master.close()
        shutil.rmtree(self._folder)


@contextmanager
def guarded() -> Iterator[Guarded]:
    """One that is running."""
    one = Guarded()
    try:
        one.start()
        yield one
    finally:
        one.close()
