"""The servers that the benchmarks measure: Sono's command, and every installed peer."""

from __future__ import annotations

import os
import re
import signal
import socket
import ssl
import struct
import sys
import time
from contextlib import ExitStack
from pathlib import Path

import pytest

from benchmarks.peers import PEERS, Peer, missing, running
from benchmarks.peers.process import ServerError
from benchmarks.peers.requirements import DENO, ORIGINAL, Requirement, distribution, package
from benchmarks.served import new_certificate
from benchmarks.targets import NO_HISTORY, PURE, SONO_V2
from sono_client import ConnectError, ConnectionClosed, SonoClient, WebSocket, connect
from sono_core import Limits, native_available
from tests.processes import program, run
from tests.servers import PATIENCE

pytestmark = [
    pytest.mark.skipif(sys.platform == "win32", reason="benchmarks need Unix"),
    pytest.mark.slow,
]

linux = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs Linux's /proc")

SERVERS = ("-m", "benchmarks.servers")
MESSAGES = ("text, é €", "", b"\x00\xff", "x" * 70_000, b"y" * 3_000_000)
LARGE = Limits(max_message=4 << 20, max_frame=4 << 20)
UPGRADE = (
    b"GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"
)


def peers(mode: str) -> pytest.MarkDecorator:
    """All peers with that mode."""
    having = [peer for peer in PEERS if mode in peer.modes]
    return pytest.mark.parametrize("peer", having, ids=lambda peer: peer.name)


def need(peer: Peer) -> None:
    """Skip the test if the peer is not installed."""
    if why := peer.obstacle():
        pytest.skip(f"{peer.name} is missing: {why}")


def client(port: int, path: str = "/") -> WebSocket:
    return connect(f"ws://127.0.0.1:{port}{path}", limits=LARGE)


def clients(port: int, path: str, count: int, stack: ExitStack) -> list[WebSocket]:
    return [stack.enter_context(client(port, path)) for _ in range(count)]


# -- what they do -------------------------------------------------------------------------------


@peers("echo")
def test_echo_gives_the_same_back(peer: Peer) -> None:
    need(peer)
    with running(peer, "echo") as server, client(server.port) as ws:
        for message in MESSAGES:
            ws.send(message)
            assert ws.recv(PATIENCE) == message


@pytest.mark.parametrize(
    "peer",
    [peer for peer in PEERS if peer.tls and "echo" in peer.modes],
    ids=lambda peer: peer.name,
)
def test_those_that_say_so_speak_tls(peer: Peer) -> None:
    need(peer)
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    with (
        new_certificate() as certificate,
        running(peer, "echo", certificate=certificate) as server,
        connect(f"wss://127.0.0.1:{server.port}/", ssl=context, limits=LARGE) as ws,
    ):
        for message in MESSAGES:
            ws.send(message)
            assert ws.recv(PATIENCE) == message


@peers("fanout")
def test_fanout_reaches_everybody(peer: Peer) -> None:
    need(peer)
    with running(peer, "fanout") as server, ExitStack() as stack:
        first, *others = clients(server.port, "/any/path", 4, stack)
        for message in MESSAGES[:3]:
            first.send(message)
            assert [ws.recv(PATIENCE) for ws in (first, *others)] == [message] * 4
        others.pop().close()
        first.send("without the one that left")
        assert {ws.recv(PATIENCE) for ws in (first, *others)} == {"without the one that left"}


@peers("fanout")
def test_fanout_goes_on_when_members_leave_amid_messages(peer: Peer) -> None:
    need(peer)
    with running(peer, "fanout") as server, ExitStack() as stack:
        staying = clients(server.port, "/", 2, stack)
        for leave in (leave_without_a_word, leave_with_a_close) * 4:
            leaving = handshake(server.port)
            leave(leaving)
            messages = [f"{leave.__name__} {number}" for number in range(3)]
            for message in messages:
                staying[0].send(message)
            for ws in staying:
                assert [ws.recv(PATIENCE) for _ in messages] == messages
            leaving.close()


def handshake(port: int) -> socket.socket:
    """A WebSocket of which nobody takes care."""
    sock = socket.create_connection(("127.0.0.1", port), PATIENCE)
    sock.sendall(UPGRADE + b"\r\n")
    response = b""
    while not response.endswith(b"\r\n\r\n"):
        response += sock.recv(1)
    return sock


def leave_without_a_word(sock: socket.socket) -> None:
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


def leave_with_a_close(sock: socket.socket) -> None:
    sock.sendall(b"\x88\x82\0\0\0\0\x03\xe8")


class Talk:
    """How the load generator speaks to a peer in a mode."""

    def __init__(self, peer: Peer, mode: str) -> None:
        need(peer)
        self._options = dict(option[2:].partition("=")[::2] for option in peer.options(mode))
        self._said = 0

    def enter(self, port: int, stack: ExitStack) -> WebSocket:
        """A client that has been let in."""
        options = self._options
        offered = [options["subprotocol"]] if "subprotocol" in options else []
        url = f"ws://127.0.0.1:{port}{options.get('path', '/')}"
        ws = stack.enter_context(connect(url, limits=LARGE, subprotocols=offered))
        if greeting := options.get("greet"):
            ws.send(greeting)
        if welcome := options.get("skip-until"):
            self._until(ws, welcome)
        return ws

    def say(self, ws: WebSocket) -> None:
        self._said += 1
        numbered = self._options["template"].replace("{n}", str(self._said))
        ws.send(numbered.replace("{}", "filler", 1))

    def hear(self, ws: WebSocket) -> None:
        """Wait for what was said."""
        assert '"filler"' in self._until(ws, self._options["expect-prefix"])

    def _until(self, ws: WebSocket, prefix: str) -> str:
        while not (text := str(ws.recv(PATIENCE))).startswith(prefix):
            pass
        return text


@pytest.mark.parametrize(
    ("mode", "peer"),
    [
        pytest.param(mode, peer, id=f"{mode}-{peer.name}")
        for mode in ("sono", "lossless")
        for peer in PEERS
        if mode in peer.modes
    ],
)
def test_packets_reach_everybody(mode: str, peer: Peer) -> None:
    talk = Talk(peer, mode)
    with running(peer, mode) as server, ExitStack() as stack:
        members = [talk.enter(server.port, stack) for _ in range(3)]
        for _ in range(2):
            talk.say(members[0])
            for ws in members:
                talk.hear(ws)


@peers("requests")
def test_requests_are_answered(peer: Peer) -> None:
    talk = Talk(peer, "requests")
    with running(peer, "requests") as server, ExitStack() as stack:
        ws = talk.enter(server.port, stack)
        for _ in range(2):
            talk.say(ws)
            talk.hear(ws)


@pytest.mark.skipif(not native_available, reason="the peers are the native ones")
@pytest.mark.parametrize(("peer", "kept"), [(SONO_V2, 2), (NO_HISTORY, 0)])
def test_history_is_what_one_of_them_does_without(peer: str, kept: int) -> None:
    [chosen] = [one for one in PEERS if one.name == peer]
    talk = Talk(chosen, "lossless")
    with running(chosen, "lossless") as server, ExitStack() as stack:
        ws = talk.enter(server.port, stack)
        for _ in range(2):
            talk.say(ws)
            talk.hear(ws)
        ws.send('{"type":"request","seq":3,"name":"sono.history","data":{"channel":"Home"}}')
        while '"re":3,' not in (text := str(ws.recv(PATIENCE))):
            pass
        assert text.count('"filler"') == kept


@pytest.mark.parametrize("peer", PEERS[:2], ids=lambda peer: peer.name)
def test_deflate_is_off_unless_it_is_asked_for(peer: Peer) -> None:
    need(peer)
    request = UPGRADE + b"Sec-WebSocket-Extensions: permessage-deflate\r\n\r\n"

    def response(deflate: bool) -> bytes:
        with (
            running(peer, "echo", deflate=deflate) as server,
            socket.create_connection(("127.0.0.1", server.port), PATIENCE) as sock,
        ):
            sock.sendall(request)
            return sock.recv(4096).lower()

    assert b"permessage-deflate" in response(True)
    plain = response(False)
    assert b"101" in plain
    assert b"permessage-deflate" not in plain


# -- the command --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("mode", "number"),
    [("echo", signal.SIGTERM), ("fanout", signal.SIGINT), ("sono", signal.SIGTERM)],
)
def test_the_command_says_where_it_listens_and_ends_cleanly(mode: str, number: int) -> None:
    with program(*SERVERS, mode, "--port", "0") as started:
        said = re.fullmatch(r"listening on 127\.0\.0\.1:(\d+)", started.line())
        assert said
        with client(int(said[1]), "/ws") as ws:
            started.process.send_signal(number)
            with pytest.raises(ConnectionClosed, match="1001"):
                ws.recv(PATIENCE)
        _, errors = started.process.communicate(timeout=PATIENCE)
    assert started.process.returncode == 0
    assert errors.decode() == ("native\n" if native_available else "pure Python\n")


def test_the_command_ends_although_a_client_does_not_answer() -> None:
    with (
        program(*SERVERS, "echo", "--port", "0") as started,
        client(int(started.line().rpartition(":")[2])),
    ):
        assert started.end(signal.SIGTERM)[0] == 0


def test_the_command_says_when_it_is_pure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SONO_PURE", "1")
    with program(*SERVERS, "echo", "--port", "0") as started:
        started.line()
        assert started.end(signal.SIGTERM) == (0, "pure Python\n")


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["fly", "--port=0"], "invalid choice: 'fly'"),
        (["echo"], "--port"),
        (["echo", "--port=70000"], "cannot listen on 127.0.0.1:70000"),
        (["echo", "--port=0", "--uvloop"], "--uvloop needs --transport asyncio"),
        (["echo", "--port=0", "--no-history"], "--no-history is for lossless"),
    ],
)
def test_mistakes_are_one_line_and_status_2(arguments: list[str], text: str) -> None:
    status, output, errors = run(*SERVERS, *arguments)
    assert (status, output) == (2, "")
    assert text in errors
    assert errors.count("\n") == 1


def test_the_sono_layer_is_at_its_path_only() -> None:
    [pure] = [peer for peer in PEERS if peer.name == PURE]
    with running(pure, "sono") as server:
        with pytest.raises(ConnectError, match="404"):
            client(server.port, "/")
        with SonoClient(f"ws://127.0.0.1:{server.port}/ws") as sono:
            assert sono.grab("mychannel") == ["Home"]


# -- the table, and the life of a server --------------------------------------------------------


def test_names_are_unique() -> None:
    assert len({peer.name for peer in PEERS}) == len(PEERS)


def test_missing_peers_are_named_with_what_helps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SONO_ORIGINAL", raising=False)
    assert "SONO_ORIGINAL" in missing()["the original on Deno"]
    nowhere = distribution("no-such-distribution")
    assert "pip install no-such-distribution" in python("", requires=(nowhere,)).obstacle()
    monkeypatch.setenv("PATH", "")
    assert python("", requires=(package("ws"),)).obstacle() == "install node"


def test_a_version_tells_what_else_is_in_use() -> None:
    requires = (Requirement("it", lambda: "2.3"), Requirement("loop", lambda: "0.1"))
    assert python("", requires=requires).version() == "2.3 (loop 0.1)"
    assert python("", requires=requires[:1]).version() == "2.3"
    assert python("").version() == ""


def test_the_original_tells_its_version(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SONO_ORIGINAL", str(tmp_path))
    assert python("", requires=(ORIGINAL,)).obstacle()
    (tmp_path / "mod.ts").touch()
    assert ORIGINAL.version() == "of no version"
    (tmp_path / "deno.json").write_text('{"version": "1.2"}')
    assert ORIGINAL.version() == "1.2"


def test_deno_is_looked_for_among_the_packages_of_node(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("benchmarks.peers.requirements.MODULES", tmp_path)
    assert "npm install" in python("", requires=(DENO,)).obstacle()


def python(text: str, requires: tuple[Requirement, ...] = ()) -> Peer:
    """A peer that is a program of one line."""
    return Peer("python", lambda mode, port, deflate: [sys.executable, "-c", text], (), requires)


LISTEN = "import time; print('listening on 127.0.0.1:7', flush=True); time.sleep(60)"


def test_a_server_that_does_not_start_says_why() -> None:
    with (
        pytest.raises(ServerError, match=r"status 3:\nno luck"),
        running(python("import sys; sys.stderr.write('no luck'); sys.exit(3)"), "echo"),
    ):
        pass


@linux
def test_a_server_that_died_says_why(capsys: pytest.CaptureFixture[str]) -> None:
    text = "import sys; print('listening on 7', flush=True); sys.exit('out of luck')"
    with running(python(text), "echo") as server:
        assert gone([server.pid])
    assert "python ended with status 1:\nout of luck" in capsys.readouterr().err


@linux
def test_a_server_is_kept_on_its_core_with_its_children() -> None:
    core = max(os.sched_getaffinity(0))
    child = "import subprocess, sys; p = subprocess.Popen(['sleep', '60']);" + LISTEN
    with running(python(child), "echo", core=core) as server:
        assert server.port == 7
        assert len(server.pids) == 2
        assert [os.sched_getaffinity(pid) for pid in server.pids] == [{core}] * 2
        pids = server.pids
    assert gone(pids)


@linux
def test_a_server_that_ignores_sigterm_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("benchmarks.peers.process._END", 0.1)
    stubborn = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN);" + LISTEN
    with running(python(stubborn), "echo") as server:
        pid = server.pid
    assert gone([pid])


def gone(pids: list[int]) -> bool:
    """Whether these processes end soon; there is no event for orphans."""
    given_up = time.monotonic() + PATIENCE
    while any(map(alive, pids)) and time.monotonic() < given_up:
        time.sleep(0.01)
    return not any(map(alive, pids))


def alive(pid: int) -> bool:
    """Whether a process runs; zombies do not."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state not in "ZX"
