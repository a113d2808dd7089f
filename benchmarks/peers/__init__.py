"""All servers to measure, Sono and its peers, as data: how they start, and what they speak.

Each peer is a script in this folder, written as a user of that library would write it. All do
the same: whole messages, a handler for each of them, no compression unless asked for.

    with running(peer, "echo", core=0) as server:
        connect_to(server.port)
"""

import sys

from benchmarks.targets import MESSAGES_ALONE, NO_HISTORY, SONO_V2, SSL_ALONE

from .peer import Command, Peer
from .process import Server, running
from .requirements import DENO, ORIGINAL, SONO_NATIVE, deno, distribution, package

__all__ = ["PEERS", "Peer", "Server", "missing", "running"]

RAW = ("echo", "fanout")
PACKETS = ("sono",)
LOSSLESS = ("lossless",)
REQUESTS = ("requests",)
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
_SOCKET_IO = {
    "sono": (*_ENGINE_IO, '--template=42["message","{}"]', '--expect-prefix=42["message"'),
    "requests": (*_ENGINE_IO, '--template=42{n}["echo","{}"]', "--expect-prefix=43"),
}
_SONO_TALK = {"sono": _json("--path=/ws"), "lossless": _json("--path=/ws")}
_V2 = (
    "--path=/ws",
    "--subprotocol=sono.v2",
    '--greet={"type":"hello"}',
    '--skip-until={"type":"welcome"',
)
_V2_TALK = {
    "lossless": (
        *_V2,
        '--template={"type":"publish","seq":{n},"channel":"Home","event":"message","data":"{}"}',
        '--expect-prefix={"type":"event"',
    ),
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
        (*RAW, *PACKETS, *LOSSLESS),
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
    Peer(SONO_V2, _module("servers"), (*LOSSLESS, *REQUESTS), (SONO_NATIVE,), _V2_TALK),
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
