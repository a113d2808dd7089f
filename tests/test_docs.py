"""The documents' programs run, and their tables match the code."""

import ast
import re
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from sono_client import SonoClient, connect
from sono_core import LEGAL, Role, State
from tests.servers import PATIENCE, free_port

ROOT = Path(__file__).resolve().parents[1]
DOCS = list((ROOT / "docs").glob("*.md"))
PROGRAM = re.compile(r"<!-- runs: (\w+) -->\n```python\n(.*?)```", re.DOTALL)


def programs(document: str) -> dict[str, str]:
    return dict(PROGRAM.findall((ROOT / document).read_text(encoding="utf-8")))


README = programs("README.md")
EMBEDDING = programs("docs/embedding.md")


def wait_for_port(port: int, process: subprocess.Popen[bytes]) -> None:
    while True:
        try:
            socket.create_connection(("localhost", port), timeout=PATIENCE).close()
            return
        except ConnectionRefusedError:
            assert process.poll() is None, "the program ended"


@pytest.fixture
def port(request: pytest.FixtureRequest) -> Iterator[str]:
    """The port of one of README's servers; only the port is changed."""
    number = free_port()
    program = README[request.param].replace("8080", str(number))
    assert program != README[request.param]
    process = subprocess.Popen([sys.executable, "-c", program], cwd=ROOT)
    try:
        wait_for_port(number, process)
        yield str(number)
        process.terminate()
        assert process.wait(10) == 0
    finally:
        process.kill()
        process.wait()


@pytest.mark.parametrize("port", ["server"], indirect=True)
def test_the_server_of_the_readme_greets_newcomers(port: str) -> None:
    with connect(f"ws://localhost:{port}/ws") as ws:
        assert "new client connected" in str(ws.recv(10))


@pytest.mark.parametrize("port", ["more"], indirect=True)
def test_the_longer_server_of_the_readme_runs(port: str) -> None:
    with SonoClient(f"ws://localhost:{port}/ws") as sono:
        welcomed: list[object] = []
        chat: list[object] = []
        sono.on("welcome", lambda payload: welcomed.append(payload["message"]["id"]))
        sono.on("chat", lambda payload: chat.append(payload["message"]))
        me = sono.grab("myid")
        sono.message(1, "chat")
        sono.message("text", "chat")
        assert sono.grab("channels") == ["Home", "news"]
        assert welcomed == me
        assert chat == ["text"]


@pytest.mark.parametrize("port", ["asyncio"], indirect=True)
def test_the_client_for_asyncio_talks_to_the_server_on_asyncio(port: str) -> None:
    program = README["aclient"].replace("8080", port)
    result = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=20
    )
    assert result.stderr == ""
    assert re.fullmatch(r"chat \{.*'hello'.*\}\nlatency [\d.e-]+ s\n", result.stdout), result.stdout


@pytest.mark.parametrize("port", ["plain"], indirect=True)
def test_the_plain_server_of_the_readme_echoes(port: str) -> None:
    with connect(f"ws://localhost:{port}/ws") as ws:
        ws.send("text")
        ws.send(b"bytes")
        assert [ws.recv(10), ws.recv(10)] == ["text", b"bytes"]


@pytest.mark.parametrize("port", ["server"], indirect=True)
def test_the_client_of_the_readme_runs(port: str) -> None:
    program = README["client"].replace("8080", port)
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    assert "hello" in done.stdout
    assert "latency" in done.stdout


def test_the_core_of_the_readme_echoes() -> None:
    names: dict[str, object] = {}
    exec(README["core"], names)
    on_data = names["on_data"]
    assert callable(on_data)
    response = on_data(
        b"GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
        b"\x81\x82\x00\x00\x00\x00hi"
    )
    assert response.startswith(b"HTTP/1.1 101 ")
    assert response.endswith(b"\r\n\r\n\x81\x02hi")


def test_the_embedded_server_echoes_and_closes() -> None:
    names: dict[str, object] = {}
    exec(EMBEDDING["echo"], names)
    serve_one = names["serve_one"]
    assert callable(serve_one)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=lambda: serve_one(listener.accept()[0]))
        thread.start()
        with connect(f"ws://127.0.0.1:{listener.getsockname()[1]}/") as ws:
            ws.send("x" * 100_000)
            assert ws.recv(10) == "x" * 100_000
        assert ws.closed is not None
        assert ws.closed.clean
        thread.join(PATIENCE)
        assert not thread.is_alive()


def test_every_program_of_the_documents_is_run_here() -> None:
    assert set(README) == {
        "server",
        "more",
        "plain",
        "client",
        "asyncio",
        "aclient",
        "core",
    }
    assert set(EMBEDDING) == {"echo"}


def test_the_embedding_guide_prints_the_table_of_states() -> None:
    text = (ROOT / "docs" / "embedding.md").read_text(encoding="utf-8")
    for state in State:
        cells = [
            " ".join(f"`{name}`" for name in sorted(kind.__name__ for kind in LEGAL[role, state]))
            or "-"
            for role in (Role.CLIENT, Role.SERVER)
        ]
        assert f"| `{state.name}` | {cells[0]} | {cells[1]} |" in text


CLASSIC, _, LOSSLESS = (
    (ROOT / "docs" / "protocol.md").read_text(encoding="utf-8").partition("# The `sono.v2` dialect")
)
MESSAGING = ROOT / "sono_core" / "messaging"
OF_LOSSLESS = [*(MESSAGING / "lossless").rglob("*.py"), *(MESSAGING / "v2").glob("*.py")]


def codes(table: str) -> set[str]:
    """The error codes that a table explains."""
    return set(re.findall(r"^\| `([a-z-]+)` \|", table, re.MULTILINE))


def test_the_protocol_names_every_error_code() -> None:
    app = (ROOT / "sono_server" / "app").glob("*.py")
    sources = {*(ROOT / "sono_core").rglob("*.py"), *app} - set(OF_LOSSLESS)
    raised = {
        code
        for source in sources
        for code in re.findall(r'(?:Messaging|Packet)Error\(\s*"([a-z-]+)"', source.read_text())
    }
    assert raised == codes(CLASSIC.partition("## Errors")[2])


def test_the_protocol_names_every_error_code_of_the_lossless_dialect() -> None:
    documented = codes(LOSSLESS.partition("## 7. Error codes")[2])
    made = r'(?:Failure|Refused|PacketError)\(\s*"([a-z-]+)"|\bcode="([a-z-]+)"'
    for source in OF_LOSSLESS:
        found = {one or other for one, other in re.findall(made, source.read_text("utf-8"))}
        assert found <= documented, source.name


def promises() -> dict[str, list[str]]:
    """The promises of docs/security.md, and the code that each row names."""
    text = (ROOT / "docs" / "security.md").read_text(encoding="utf-8")
    table = text.partition("| promise | where |\n|---|---|\n")[2].partition("\n\n")[0]
    rows = [line.strip("|").rsplit("|", 1) for line in table.splitlines()]
    return {promise.strip(): re.findall(r"`([^`]+)`", where) for promise, where in rows}


PROMISES = promises()


def exists(name: str) -> bool:
    """Whether that path, `path::test` or `make target` exists."""
    if name.startswith("make "):
        target = name.removeprefix("make ")
        return f"\n{target}:" in (ROOT / "Makefile").read_text(encoding="utf-8")
    path, _, test = name.partition("::")
    if not test or not (ROOT / path).is_file():
        return not test and (ROOT / path).exists()
    tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
    return test in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}


@pytest.mark.parametrize("promise", PROMISES)
def test_every_promise_names_tests_that_exist(promise: str) -> None:
    names = PROMISES[promise]
    assert any(name.startswith("tests/") for name in names)
    assert [name for name in names if not exists(name)] == []


def test_a_name_that_is_wrong_is_found() -> None:
    here = "tests/test_docs.py"
    assert exists(here)
    assert exists(f"{here}::test_a_name_that_is_wrong_is_found")
    assert not exists(f"{here}::test_that_is_not_there")
    assert not exists("tests/test_that_is_not_there.py")
    assert not exists("tests/test_that_is_not_there.py::test_that_is_not_there")
    assert not exists("make nothing")
    assert len(PROMISES) >= 18


@pytest.mark.parametrize(
    "document",
    ["README.md", "CONTRIBUTING.md", "SECURITY.md", *sorted(f"docs/{p.name}" for p in DOCS)],
)
def test_files_that_a_document_names_or_links_exist(document: str) -> None:
    text = (ROOT / document).read_text(encoding="utf-8")
    folders = "sono_core|sono_io|sono_server|sono_client|tests|fuzz|examples|benchmarks|docs"
    names = set(re.findall(rf"`((?:{folders})/[a-z_./-]+)(?:::\w+)?`", text))
    links = set(re.findall(r"\]\((?!https?:|#)([^)#]+)", text))
    missing = {name for name in names if not exists(name) and not exists(f"{name}.py")}
    missing |= {link for link in links if not (ROOT / document).parent.joinpath(link).exists()}
    assert not missing
    tests = set(re.findall(r"`(tests/[a-z_0-9./-]+::\w+)`", text))
    assert not {name for name in tests if not exists(name)}
