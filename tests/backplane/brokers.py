"""A Redis of the tests' own: on a free port, in a folder of its own."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import trustme

from tests import certificates
from tests.conftest import require
from tests.servers import PATIENCE, free_port

_SERVER = (
    os.environ.get("SONO_TEST_BROKER")
    or shutil.which("redis-server")
    or shutil.which("valkey-server")
)
_HOW = "apt-get install redis-server, and pip install 'sono[redis]'"


def require_redis() -> None:
    """Skips the test where there is none."""
    require("redis", bool(_SERVER and find_spec("redis") and find_spec("hiredis")), _HOW)


class Tls:
    """How servers speak TLS, and what their clients need; it has a folder until `close`.

    Args:
        certificate: what they show; None: a good one.
    """

    def __init__(self, certificate: trustme.LeafCert | None = None) -> None:
        self._folder = tempfile.mkdtemp(prefix="sono-redis-tls-")
        chain, key = certificates.save(Path(self._folder), certificate)
        self.authority: str = certificates.save_authority(Path(self._folder))
        self.settings = {
            "tls-cert-file": chain,
            "tls-key-file": key,
            "tls-ca-cert-file": self.authority,
            "tls-auth-clients": "no",
            "tls-replication": "yes",
        }

    def close(self) -> None:
        shutil.rmtree(self._folder)


@contextmanager
def tls(certificate: trustme.LeafCert | None = None) -> Iterator[Tls]:
    """Whose files are there."""
    one = Tls(certificate)
    try:
        yield one
    finally:
        one.close()


class Broker:
    """A server that can be stopped, killed and started again.

    Args:
        options: of its command line.
        password: with which the tests speak to it.
        tls: it speaks nothing else.
    """

    def __init__(self, *options: str, password: str | None = None, tls: Tls | None = None) -> None:
        self.port = free_port()
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self._tls = tls
        if tls is not None:
            self.url = f"rediss://127.0.0.1:{self.port}/0?ssl_ca_certs={tls.authority}"
        self._folder = tempfile.mkdtemp(prefix="sono-redis-")
        self._options = options
        self._password = password
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        assert _SERVER
        command = [_SERVER, *_listening(self.port, self._tls), "--bind", "127.0.0.1", "--save", ""]
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

    @property
    def running(self) -> bool:
        return self._process is not None

    def command(self, *words: str | int | bytes, raw: bool = False) -> Any:
        """Say something to it, as an administrator would.

        Args:
            raw: whether the reply is not read by redis-py.
        """
        with _client(self.port, self._tls, password=self._password) as client:
            if raw:
                client.response_callbacks.clear()
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


def _listening(port: int, tls: Tls | None) -> list[str]:
    """The options of a command line."""
    if tls is None:
        return ["--port", str(port)]
    settings = {"port": "0", "tls-port": str(port), **tls.settings}
    return [word for name, value in settings.items() for word in (f"--{name}", value)]


def _client(port: int, tls: Tls | None, **options: Any) -> Any:
    """The tests' own, which takes any certificate."""
    from redis import Redis

    if tls is not None:
        options |= {"ssl": True, "ssl_cert_reqs": "none"}
    return Redis(host="127.0.0.1", port=port, **options)


@contextmanager
def broker(*options: str, password: str | None = None, tls: Tls | None = None) -> Iterator[Broker]:
    """One that is running."""
    one = Broker(*options, password=password, tls=tls)
    try:
        one.start()
        yield one
    finally:
        one.close()


def permitted(url: str, *servers: Broker) -> str:
    """Let in the user of docs/scaling.md, for prefixes of tests; returns a URL that names it."""
    text = Path(__file__).parents[2].joinpath("docs", "scaling.md").read_text()
    (line,) = (line for line in text.splitlines() if line.startswith("ACL SETUSER"))
    for server in servers:
        server.command(*line.replace("~sono:", "~test*:").replace("&sono:", "&test*:").split())
    return url.replace("://", "://sono:PASSWORD@")


class Guarded:
    """A master and its replica, watched by three Sentinels.

    Args:
        tls: they all speak nothing else.
    """

    def __init__(self, tls: Tls | None = None) -> None:
        self._tls = tls
        self.master = Broker(tls=tls)
        self.replica = Broker("--replicaof", f"127.0.0.1 {self.master.port}", tls=tls)
        self._folder = tempfile.mkdtemp(prefix="sono-sentinels-")
        self._sentinels: list[subprocess.Popen[bytes]] = []
        self._ports = [free_port() for _ in range(3)]

    @property
    def url(self) -> str:
        hosts = ",".join(f"127.0.0.1:{port}" for port in self._ports)
        if self._tls is not None:
            return f"rediss+sentinel://{hosts}/sono?ssl_ca_certs={self._tls.authority}"
        return f"redis+sentinel://{hosts}/sono"

    def start(self) -> None:
        self.master.start()
        self.replica.start()
        assert _SERVER
        for port in self._ports:
            file = Path(self._folder, f"{port}.conf")
            file.write_text(
                f"bind 127.0.0.1\ndir {self._folder}\nlogfile {port}.log\n"
                f"sentinel monitor sono 127.0.0.1 {self.master.port} 2\n"
                "sentinel down-after-milliseconds sono 500\n"
                "sentinel failover-timeout sono 2000\n"
            )
            command = [_SERVER, str(file), "--sentinel", *_listening(port, self._tls)]
            self._sentinels.append(subprocess.Popen(command))
        until = time.monotonic() + PATIENCE
        while not self._watched():
            assert time.monotonic() < until
            time.sleep(0.05)

    def _watched(self) -> bool:
        """Whether each Sentinel knows the others, and the replica, which follows its master."""
        from redis.exceptions import ConnectionError as RedisConnectionError

        for port in self._ports:
            try:
                with _client(port, self._tls) as sentinel:
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
def guarded(tls: Tls | None = None) -> Iterator[Guarded]:
    """One that is running."""
    one = Guarded(tls)
    try:
        one.start()
        yield one
    finally:
        one.close()


MASTERS = 3


class Clustered:
    """Three masters with a replica each. A master that is away leaves the others as they were.

    Args:
        options: of each one's command line.
        tls: they all speak nothing else.
    """

    def __init__(self, *options: str, tls: Tls | None = None) -> None:
        self._tls = tls
        secure = ("--tls-cluster", "yes") if tls is not None else ()
        cluster = ("--cluster-enabled", "yes", "--cluster-node-timeout", "1000")
        lasting = ("--cluster-require-full-coverage", "no", "--repl-diskless-sync-delay", "0")
        self._options = (*cluster, *lasting, *secure, *options)
        self._buses: list[str] = []
        self.nodes: list[Broker] = []

    @property
    def url(self) -> str:
        hosts = ",".join(f"127.0.0.1:{node.port}" for node in self.nodes)
        if self._tls is not None:
            return f"rediss+cluster://{hosts}?ssl_ca_certs={self._tls.authority}"
        return f"redis+cluster://{hosts}"

    def start(self) -> None:
        attempts = 0
        while len(self.nodes) < 2 * MASTERS:
            bus = str(free_port())
            node = Broker("--cluster-port", bus, *self._options, tls=self._tls)
            try:
                node.start()
            except AssertionError:  # somebody has taken one of its ports meanwhile
                node.close()
                attempts += 1
                assert attempts < 5
                continue
            self.nodes.append(node)
            self._buses.append(bus)
        first, *others = self.nodes
        masters, replicas = self.nodes[:MASTERS], self.nodes[MASTERS:]
        for number, node in enumerate(self.nodes):
            node.command("CLUSTER", "SET-CONFIG-EPOCH", number + 1)
        bounds = [number * 16384 // MASTERS for number in range(MASTERS + 1)]
        for node, begin, end in zip(masters, bounds, bounds[1:], strict=False):
            node.command("CLUSTER", "ADDSLOTSRANGE", begin, end - 1)
        for node in others:
            node.command("CLUSTER", "MEET", "127.0.0.1", first.port, self._buses[0])
        self._until(lambda: all(len(self.known_by(node)) == len(self.nodes) for node in self.nodes))
        for master, replica in zip(masters, replicas, strict=True):
            replica.command("CLUSTER", "REPLICATE", self.id(master))
        self._until(lambda: all(self._settled(node) for node in self.nodes))

    def _settled(self, node: Broker) -> bool:
        masters = [words for words in self.known_by(node) if "master" in words[2]]
        link = node.command("INFO", "replication").get("master_link_status", "up")
        ok = b"cluster_state:ok" in node.command("CLUSTER", "INFO", raw=True)
        return ok and len(masters) == MASTERS and link == "up"

    def _until(self, happens: Callable[[], bool]) -> None:
        until = time.monotonic() + PATIENCE
        while not happens():
            assert time.monotonic() < until, self.nodes[0].log()
            time.sleep(0.02)

    def known_by(self, node: Broker) -> list[list[str]]:
        """What `CLUSTER NODES` says, without those that are in a handshake."""
        lines = node.command("CLUSTER", "NODES", raw=True).decode().splitlines()
        return [line.split() for line in lines if "handshake" not in line]

    def id(self, node: Broker) -> str:
        return str(node.command("CLUSTER", "MYID", raw=True).decode())

    def owner(self, name: str) -> Broker:
        """The master that has a key."""
        slot = self.slot(name)
        for words in self.known_by(next(node for node in self.nodes if node.running)):
            for held in words[8:] if "fail" not in words[2] else ():
                first, _, last = held.partition("-")
                if first.isdigit() and int(first) <= slot <= int(last or first):
                    port = int(words[1].partition("@")[0].rpartition(":")[2])
                    return next(node for node in self.nodes if node.port == port)
        raise AssertionError(f"nobody has {name}")

    def slot(self, name: str) -> int:
        from redis.crc import key_slot

        return int(key_slot(name.encode()))

    def replica(self, master: Broker) -> Broker:
        return self.nodes[self.nodes.index(master) + MASTERS]

    def move(self, slot: int, source: Broker, target: Broker) -> None:
        """As `redis-cli --cluster reshard` moves a slot."""
        target.command("CLUSTER", "SETSLOT", slot, "IMPORTING", self.id(source))
        source.command("CLUSTER", "SETSLOT", slot, "MIGRATING", self.id(target))
        while keys := source.command("CLUSTER", "GETKEYSINSLOT", slot, 10):
            source.command("MIGRATE", "127.0.0.1", target.port, "", 0, 5000, "KEYS", *keys)
        for node in (target, source):
            node.command("CLUSTER", "SETSLOT", slot, "NODE", self.id(target))

    def close(self) -> None:
        for node in self.nodes:
            node.close()


@contextmanager
def clustered(*options: str, tls: Tls | None = None) -> Iterator[Clustered]:
    """One that is running."""
    one = Clustered(*options, tls=tls)
    try:
        one.start()
        yield one
    finally:
        one.close()
