"""All servers to measure, Sono and its peers, as data: how they start, and what they speak.

Each peer is a script in this folder, written as a user of that library would write it. All do
the same: whole messages, a handler for each of them, no compression unless asked for.

    with running(peer, "echo", core=0) as server:
        connect_to(server.port)
"""

import sys

from benchmarks.targets import (
    BROKER,
    IN_MEMORY,
    MESSAGES_ALONE,
    NO_HISTORY,
    PYTHON_SOCKETIO,
    SOCKET_IO,
    SONO_V2,
    SSL_ALONE,
    WORKERS,
)

from .peer import Command, Peer
from .process import Nodes, Server, running
from .requirements import (
    DENO,
    ORIGINAL,
    REDIS_SERVER,
    SONO_NATIVE,
    deno,
    distribution,
    package,
)

__all__ = ["PEERS", "Nodes", "Peer", "Server", "missing", "running"]

RAW = ("echo", "fanout")
PACKETS = ("sono",)
LOSSLESS = ("lossless",)
REQUESTS = ("requests",)
NODES = ("nodes",)
FOLDER = "benchmarks/peers"


def _module(name: str, *arguments: str) -> Command:
    def command(mode: str, port: int, deflate: bool) -> list[str]:
        options = ["--port", str(port), *["--deflate"] * deflate]
        return [sys.executable, "-m", f"benchmarks.{name}", mode, *options, *arguments]

    return command


def _node(script: str) -> Command:
    def command(mode: str, port: int, deflate: bool) -> list[str]:
        return ["node", f"{FOLDER}/{script}", mode, "--port", str(port), *["--deflate"] * deflate]

    return command


def _deno(mode: str, port: int, deflate: bool) -> list[str]:
    flags = ("--no-config", "--no-check", "--no-remote", "--allow-net", "--allow-read")
    script = f"{FOLDER}/original.ts"
    return [str(deno()), "run", *flags, "--allow-env", script, mode, "--port", str(port)]


def _json(*path: str) -> tuple[str, ...]:
    """How clients of Sono, and of the project that it comes from, talk."""
    return (
        *path,
        '--template={"protocol":"message","event":"message","payload":{"message":"{}"}}',
        '--expect-prefix={"protocol":"message"',
    )


_ENGINE_IO = (
    "--path=/socket.io/?EIO=4&transport=websocket",
    "--engineio",
    "--greet=40",
    "--skip-until=40",
)
_SOCKET_IO_ROOM = (
    *_ENGINE_IO,
    '--template=42["message","{}"]',
    '--expect-prefix=42["message"',
)
_SOCKET_IO = {
    "sono": _SOCKET_IO_ROOM,
    "nodes": _SOCKET_IO_ROOM,
    "requests": (*_ENGINE_IO, '--template=42{n}["echo","{}"]', "--expect-prefix=43"),
}
_SONO_TALK = dict.fromkeys(("sono", "lossless", "nodes"), _json("--path=/ws"))
_V2 = (
    "--path=/ws",
    "--subprotocol=sono.v2",
    '--greet={"type":"hello"}',
    '--skip-until={"type":"welcome"',
)
_V2_ROOM = (
    *_V2,
    '--template={"type":"publish","seq":{n},"channel":"Home","event":"message","data":"{}"}',
    '--expect-prefix={"type":"event"',
)
_V2_TALK = {
    "lossless": _V2_ROOM,
    "nodes": _V2_ROOM,
    "requests": (
        *_V2,
        '--template={"type":"request","seq":{n},"name":"echo","data":"{}"}',
        '--expect-prefix={"type":"result"',
    ),
}
_UVLOOP = distribution("uvloop")


def _messages_alone(mode: str, port: int, deflate: bool) -> list[str]:
    return _module("servers")("echo", port, deflate)


def _on_either_loop(name: str) -> tuple[Peer, Peer]:
    """A library on asyncio, and the same library on uvloop."""
    library = distribution(name)
    return (
        Peer(name, _module(f"peers.{name}"), RAW, (library,), tls=True),
        Peer(
            f"{name}+uvloop",
            _module(f"peers.{name}", "--loop=uvloop"),
            RAW,
            (library, _UVLOOP),
            tls=True,
        ),
    )


PEERS: tuple[Peer, ...] = (
    Peer(
        "sono",
        _module("servers"),
        (*RAW, *PACKETS, *LOSSLESS, *NODES),
        (SONO_NATIVE,),
        _SONO_TALK,
        tls=True,
    ),
    Peer(
        "sono (pure)",
        _module("servers"),
        (*RAW, *PACKETS),
        talk=_SONO_TALK,
        environment={"SONO_PURE": "1"},
    ),
    Peer(
        "sono+asyncio",
        _module("servers", "--transport=asyncio"),
        (*RAW, *PACKETS),
        (SONO_NATIVE,),
        _SONO_TALK,
        tls=True,
    ),
    Peer(
        "sono+uvloop",
        _module("servers", "--transport=asyncio", "--uvloop"),
        (*RAW, *PACKETS),
        (SONO_NATIVE, _UVLOOP),
        _SONO_TALK,
        tls=True,
    ),
    Peer(SONO_V2, _module("servers"), (*LOSSLESS, *REQUESTS, *NODES), (SONO_NATIVE,), _V2_TALK),
    Peer(IN_MEMORY, _module("servers"), (), (SONO_NATIVE,), _V2_TALK),
    *(
        Peer(name, _module("servers", f"--workers={count}"), (), (SONO_NATIVE,), _V2_TALK)
        for count, name in WORKERS.items()
    ),
    Peer(
        NO_HISTORY,
        _module("servers", "--no-history"),
        LOSSLESS,
        (SONO_NATIVE,),
        _V2_TALK,
    ),
    Peer(MESSAGES_ALONE, _messages_alone, (), (SONO_NATIVE,)),
    *_on_either_loop("picows"),
    *_on_either_loop("aiohttp"),
    *_on_either_loop("websockets"),
    Peer(
        "websockets (pure)",
        _module("peers.websockets_pure"),
        RAW,
        (distribution("websockets"),),
    ),
    Peer("socketify", _module("peers.socketify"), RAW, (distribution("socketify"),)),
    Peer("tornado", _module("peers.tornado"), RAW, (distribution("tornado"),)),
    Peer(
        "uvicorn+websockets",
        _module("peers.uvicorn", "--ws=websockets-sansio"),
        RAW,
        (distribution("uvicorn"), distribution("websockets"), _UVLOOP),
    ),
    Peer(
        "uvicorn+wsproto",
        _module("peers.uvicorn", "--ws=wsproto"),
        RAW,
        (distribution("uvicorn"), distribution("wsproto"), _UVLOOP),
    ),
    Peer("wsproto", _module("peers.wsproto"), RAW, (distribution("wsproto"),)),
    Peer(SSL_ALONE, _module("peers.ssl_alone"), (), tls=True),
    Peer("ws (node)", _node("ws.mjs"), RAW, (package("ws"),)),
    Peer(
        "python-socketio",
        _module("peers.python_socketio", "--loop=uvloop"),
        (*PACKETS, *REQUESTS),
        (distribution("python-socketio"), distribution("aiohttp"), _UVLOOP),
        _SOCKET_IO,
    ),
    Peer(
        "socket.io (node)",
        _node("socket_io.mjs"),
        (*PACKETS, *REQUESTS),
        (package("socket.io"),),
        _SOCKET_IO,
    ),
    Peer(
        PYTHON_SOCKETIO,
        _module("peers.python_socketio", "--loop=uvloop"),
        NODES,
        (*map(distribution, ("python-socketio", "aiohttp", "redis")), _UVLOOP),
        _SOCKET_IO,
    ),
    Peer(
        SOCKET_IO,
        _node("socket_io.mjs"),
        NODES,
        tuple(map(package, ("socket.io", "@socket.io/redis-streams-adapter", "redis"))),
        _SOCKET_IO,
    ),
    Peer(
        BROKER,
        _module("peers.redis"),
        (),
        (REDIS_SERVER, distribution("redis"), distribution("hiredis")),
    ),
    Peer(
        "the original on Deno",
        _deno,
        PACKETS,
        (ORIGINAL, DENO),
        {"sono": _json()},
        {"DENO_NO_UPDATE_CHECK": "1"},
    ),
)


def missing() -> dict[str, str]:
    """How to get what is missing for a measurement, by name."""
    return {peer.name: why for peer in PEERS if (why := peer.obstacle())}
