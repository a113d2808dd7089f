"""Which server it is, and connections to it."""

import contextlib
import os
import socket
import ssl
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, NamedTuple
from urllib.parse import SplitResult, parse_qsl, unquote, urlencode, urlsplit

from redis.backoff import NoBackoff
from redis.connection import URL_QUERY_ARGUMENT_PARSERS, ConnectionPool
from redis.exceptions import (
    AuthenticationError,
    NoPermissionError,
    OutOfMemoryError,
    RedisError,
    ResponseError,
)
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.retry import Retry
from redis.sentinel import Sentinel, SentinelConnectionPool

from sono_core.messaging.lossless import BackplaneError, Fenced
from sono_core.quoting import shown_url
from sono_server.backplane.errors import CrowdedError, UnusableError
from sono_server.serving import logger

OLDEST = (7, 0)
"""The first version of Redis that has what the scripts need."""
SENTINEL_PORT = 26379
"""Of a Sentinel whose URL names none."""
PORT = 6379
"""Of a node of a cluster whose URL names none."""
Address = tuple[str, int]
"""Host and port."""
_SENTINELS = ("redis+sentinel", "rediss+sentinel")
_CLUSTERS = {"redis+cluster": "redis", "rediss+cluster": "rediss"}
# By whether the server is in a cluster: why the other scheme is wanted.
_WRONG_SCHEME = (
    "the broker is in no cluster: its URL begins with redis:// or rediss://",
    "the broker is in a cluster: its URL begins with redis+cluster:// or rediss+cluster://",
)
_EVICTS = "set maxmemory-policy to noeviction"
# Options of a URL that name a file or a folder.
_FILES = ("ssl_ca_certs", "ssl_ca_path", "ssl_certfile", "ssl_keyfile")


class Identity(NamedTuple):
    """Who a server is: another one does not have what this one was told, or not all of it."""

    run: str
    """It has another after each start."""
    replication: str
    """It has another after each promotion."""

    def __str__(self) -> str:
        return f"{self.run}:{self.replication}"


class Link:
    """A connection to a server: it is made once, and never anew.

    What it raises is in FAILED; a reply that is an error raises `ResponseError`.

    Args:
        connection: of redis-py.
        clustered: whether the server is to be in a cluster.
    """

    def __init__(self, connection: Any, clustered: bool = False) -> None:
        self.clustered: bool = clustered
        self._connection = connection  # it has no complete types

    def open(self) -> None:
        """Connect, and say who this is."""
        self._connection.connect()

    def close(self) -> None:
        """End it; nothing happens if it has ended."""
        self._connection.disconnect()

    def abort(self) -> None:
        """From another thread: whoever waits for it does not any longer."""
        if (open := self._connection._sock) is not None:
            with contextlib.suppress(OSError):
                # An SSLSocket's own method takes the TLS session from whoever reads it.
                socket.socket.shutdown(open, socket.SHUT_RDWR)

    def send(self, *commands: Sequence[bytes | str | int]) -> None:
        """Send commands, each as its words."""
        packed = self._connection.pack_commands(commands)
        self._connection.send_packed_command(packed, check_health=False)

    def receive(self) -> Any:
        """The next reply, or what is told next."""
        return self._connection.read_response()

    def readable(self) -> bool:
        """Whether `receive` would have something at once, or at least the beginning of it."""
        return bool(self._connection.can_read(0))

    @property
    def socket(self) -> Any:
        """What can be waited for, if it is not readable."""
        return self._connection._get_socket()  # redis-py has no public way

    def ask(self, *commands: Sequence[str]) -> dict[str, str]:
        """What a server says of itself to commands such as `INFO`, by names.

        Raises:
            UnusableError: they have `INFO cluster`, and it is in no cluster and should be, or the
                reverse.
        """
        self.send(*commands)
        found: dict[str, str] = {}
        for _ in commands:
            for line in self.receive().decode(errors="replace").splitlines():
                name, _, value = line.partition(":")
                found[name] = value
        wanted = "1" if self.clustered else "0"
        if found.get("cluster_enabled", wanted) != wanted:
            raise UnusableError(_WRONG_SCHEME[not self.clustered])
        return found

    def introduce(self) -> Identity:
        """Ask the server who it is.

        Raises:
            UnusableError: it is too old, or the URL is not one for it.
            ConnectionResetError: it is a replica, which takes nothing.
        """
        sections = ("server", "replication", "memory", "cluster")
        found = self.ask(*(("INFO", section) for section in sections))
        version = found.get("redis_version", "0.0")
        if tuple(int(part) for part in version.split(".")[:2] if part.isdigit()) < OLDEST:
            raise UnusableError(
                f"the broker is Redis {version}; it must be 7.0 or later, or Valkey"
            )
        if found.get("role") != "master":
            raise ConnectionResetError("the broker is a replica")
        if found.get("maxmemory_policy", "noeviction") != "noeviction":
            logger.error("the backplane's broker may evict what it keeps: %s", _EVICTS)
        return Identity(found["run_id"], found["master_replid"])


class Servers(NamedTuple):
    """What a URL names."""

    connect: Callable[[Address | None], Link]
    """Makes a connection to a node of the cluster; None: to the server, or the master."""
    prefix: str | None
    """Of keys, if the URL names one."""
    seeds: tuple[Address, ...]
    """Nodes of a cluster, any of which knows the others; none: it is no cluster."""
    database: int = 0
    """The number of the database."""


def links(url: str, **options: Any) -> Servers:
    """What makes connections to the server, or the servers, at a URL.

    Args:
        url: `redis://`, `rediss://` or `unix://`, as redis-py knows them, or
            `redis+sentinel://[user:password@]host[:port],host[:port]/service[/database]`, or
            `redis+cluster://[user:password@]host[:port],host[:port]`; `prefix=` in its query is
            ours, and so is `sentinel_password=`.
        options: of redis-py's connections.

    Raises:
        ValueError: the URL is none of these, or names a file that is not there.
    """
    try:
        parts = urlsplit(url)
        query = dict(parse_qsl(parts.query))
        prefix = query.pop("prefix", None)
        options = {
            "retry": Retry(NoBackoff(), 0),  # that a connection was lost must be noticed
            "protocol": 2,
            "health_check_interval": 0,
            "decode_responses": False,
            **options,
        }
        seeds: tuple[Address, ...] = ()
        if parts.scheme in _SENTINELS:
            pool = _sentinels(parts, query, options)
        else:
            base = url.partition("?")[0]  # `urlunsplit` drops slashes
            if parts.scheme in _CLUSTERS:
                base, seeds = _cluster(parts)
            pool = ConnectionPool.from_url(f"{base}?{urlencode(query)}", **options)
            if seeds and pool.connection_kwargs.pop("db", 0):
                raise ValueError("a cluster has one database")
        make = partial(pool.connection_class, **pool.connection_kwargs)
        make()  # which reads the options
    except (ValueError, TypeError):  # whose words may quote a password
        raise ValueError(
            "backplane must be redis://, rediss:// or unix:// and what redis-py knows behind it, "
            "redis+sentinel://host,host/service or redis+cluster://host,host, "
            f"not {shown_url(url)!r}"
        ) from None
    for name in _FILES:
        if name in query and not os.path.exists(query[name]):
            raise ValueError(f"backplane: {name} must be there: {query[name]!r}")

    # The pool itself would make no more than so many in all; a proxy in there refers to it weakly.
    def connect(address: Address | None = None, kept: Any = pool) -> Link:
        where = {} if address is None else {"host": address[0], "port": address[1]}
        return Link(make(**where), bool(seeds))

    return Servers(connect, prefix, seeds, pool.connection_kwargs.get("db") or 0)


def _cluster(parts: SplitResult) -> tuple[str, tuple[Address, ...]]:
    """The URL of a cluster's first node, and the addresses of all that are named."""
    user, at, hosts = parts.netloc.rpartition("@")
    seeds = _addresses(hosts, PORT)
    if not all(host for host, _ in seeds):
        raise ValueError("a host is missing")
    first = hosts.partition(",")[0]
    return f"{_CLUSTERS[parts.scheme]}://{user}{at}{first}{parts.path}", seeds


def _addresses(hosts: str, port: int) -> tuple[Address, ...]:
    found = (urlsplit(f"//{host}") for host in hosts.split(","))
    return tuple((one.hostname or "", one.port or port) for one in found)


def _sentinels(
    parts: SplitResult, query: dict[str, str], options: dict[str, Any]
) -> SentinelConnectionPool:
    """Connections to whichever server the Sentinels call the master of a service."""
    *_, hosts = parts.netloc.rpartition("@")
    user, password = (unquote(part) if part else None for part in (parts.username, parts.password))
    service, _, database = parts.path.strip("/").partition("/")
    if not service or not hosts:
        raise ValueError("a host or the service is missing")
    secure = {"ssl": True} if parts.scheme == "rediss+sentinel" else {}
    own = query.pop("sentinel_password", None)
    parsed = {
        name: URL_QUERY_ARGUMENT_PARSERS.get(name, str)(value) for name, value in query.items()
    }
    options = {**options, **secure, **parsed, "username": user, "password": password}
    both = {name: value for name, value in options.items() if "timeout" in name or "ssl" in name}
    asked = {**both, "password": own}
    sentinel = Sentinel(_addresses(hosts, SENTINEL_PORT), sentinel_kwargs=asked)
    return SentinelConnectionPool(service, sentinel, db=int(database or 0), **options)


@contextlib.contextmanager
def connecting() -> Iterator[None]:
    """While a connection is opened: says why if trying again will not help.

    Raises:
        UnusableError: the server lets nobody in, or is not the one that was meant.
    """
    try:
        yield
    except (AuthenticationError, NoPermissionError) as error:
        raise UnusableError("the broker refuses the password, or what it may do") from error
    except RedisConnectionError as error:
        cause = error.__context__
        if isinstance(cause, ssl.SSLCertVerificationError):
            raise UnusableError(
                f"the broker's certificate is not accepted: {cause.verify_message}"
            ) from error
        raise


EXPECTED = (RedisError, OSError, UnusableError)
"""What happens to connections. Anything else is a defect, and must not end a thread either."""

_FULL = BackplaneError, "the broker's memory is full"
# What refusals of commands mean, by redis-py's classes or else by their first words.
_CLASSES = (
    (OutOfMemoryError, _FULL),
    (NoPermissionError, (UnusableError, "the broker's ACL does not permit it")),
)
_WORDS = {
    "SONOLAYOUT": (UnusableError, "another version of Sono has written there, in another layout"),
    "SONOFENCED": (Fenced, "the session goes on elsewhere"),
    "SONOFULL": (CrowdedError, "too much is present already"),
    "WRONGTYPE": (UnusableError, "a key under the prefix is not Sono's"),
    "OOM": _FULL,
}


def meaning(error: ResponseError) -> BackplaneError:
    """What a refusal by the server means to the caller."""
    text = str(error)
    for kind, (made, words) in _CLASSES:
        if isinstance(error, kind):
            return made(words)
    made, words = _WORDS.get(
        text.split(maxsplit=1)[0], (BackplaneError, f"the broker refuses it: {text}")
    )
    return made(words)
