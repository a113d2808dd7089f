"""`sono serve APP`: which `Sono` it serves, how, and its messages when there is none."""

from __future__ import annotations

import json
import re
import signal
import ssl
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sono_server.cli import application
from sono_server.cli import command as cli
from sono_server.cli.mistakes import Mistake
from tests import certificates
from tests.processes import complaints, program
from tests.server.sono_packets import message, packet
from tests.servers import PATIENCE, Wire, dial, get, status

SERVE = ("-m", "sono_server", "serve", "--port", "0")

GREETING = """
from sono_core import Limits
from sono_server import Sono

sono = Sono(home="Hall", limits=Limits(max_message=100))

@sono.on_connect
def greet(client):
    client.send("hello", client.channel.name)

class Rooms:
    inner = sono

def make_sono():
    return sono
"""

# Only asyncio serves these.
WAITING = """
import asyncio
from sono_server import Sono

sono = Sono(home="Hall")

@sono.on_connect
async def greet(client):
    await asyncio.sleep(0)
    client.send("hello", client.channel.name)
"""

WRONG = """
from sono_server import Sono

chat = Sono()
other = {}

def make_sono():
    return chat

def make_for(name):
    return chat

async def make_later():
    return chat

def fail():
    raise RuntimeError("no database")
"""

HELLO = {"protocol": "hello", "payload": {"message": "Hall"}, "message": "Hall"}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The current directory, from which this process may import during the test."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        file = getattr(sys.modules[name], "__file__", None) or ""
        if file.startswith(str(tmp_path)):
            del sys.modules[name]


# -- what APP means ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "file", "module", "attribute", "is_factory"),
    [
        ("app", False, "app", "sono", False),
        ("app:chat", False, "app", "chat", False),
        ("app:rooms.chat", False, "app", "rooms.chat", False),
        ("package.app", False, "package.app", "sono", False),
        ("package.app:rooms.chat", False, "package.app", "rooms.chat", False),
        ("app:make()", False, "app", "make", True),
        ("app:rooms.make()", False, "app", "rooms.make", True),
        ("here.py", True, "here", "sono", False),
        ("here.py:chat", True, "here", "chat", False),
        ("here.py:make()", True, "here", "make", True),
        ("./here.py:rooms.chat", True, "here", "rooms.chat", False),
        ("a-b.py", True, "a-b", "sono", False),
        ("folder/there.py:chat", True, "there", "chat", False),
    ],
)
def test_what_names_an_application(
    text: str, file: bool, module: str, attribute: str, is_factory: bool, folder: Path
) -> None:
    (folder / "folder").mkdir()
    for name in ("here.py", "a-b.py", "folder/there.py"):
        (folder / name).touch()
    found = application.parse(text)
    path = folder / text.partition(":")[0]
    assert found == (text, path if file else None, module, attribute, is_factory)
    assert found.folder == (path.parent if file else folder)


@pytest.mark.parametrize(
    "text",
    [
        ":",
        ":sono",
        "app:",
        "app::x",
        "folder/app",
        ".app",
        "app.",
        "a..b",
        "app()",
        "app:1x",
        "app:x.",
        "app:.x",
        "app:make(1)",
        "app:make()()",
        "app:make().x",
        "here.py:",
    ],
)
def test_what_names_none(text: str) -> None:
    with pytest.raises(Mistake, match="names no application: write module:attribute or path/to"):
        application.parse(text)


def test_a_file_is_imported_even_if_a_module_of_its_name_is_there(folder: Path) -> None:
    (folder / "json.py").write_text(GREETING)
    before = sys.modules["json"]
    try:
        application.load(application.parse("json.py"))
        assert sys.modules["json"].__file__ == str(folder / "json.py")
    finally:
        sys.modules["json"] = before


def test_what_cannot_be_inspected_is_called(folder: Path) -> None:
    (folder / "app.py").write_text("make = dict\n")
    with pytest.raises(Mistake, match=r"app:make\(\) is of type dict, not a Sono$"):
        application.load(application.parse("app:make()"))


# -- mistakes ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["nowhere"], "there is no module 'nowhere', neither in {folder} nor installed"),
        (["app.nowhere"], "there is no module 'app.nowhere', neither in {folder} nor installed"),
        (["nowhere.py"], "there is no file nowhere.py"),
        (["app/app"], "'app/app' names no application: write module:attribute or path/to/file.py"),
        (["app"], "app has no attribute 'sono'; did you mean make_sono or chat?"),
        (["app.py:caht"], "app has no attribute 'caht'; did you mean chat?"),
        (["app:chat.clint"], "app:chat has no attribute 'clint'; did you mean client or clients?"),
        (["app:other.xyz"], "app:other has no attribute 'xyz'"),
        (["app:other"], "app:other is of type dict, not a Sono"),
        (["app:Sono"], "app:Sono is of type type, not a Sono"),
        (["app:make_sono"], "app:make_sono is of type function, not a Sono; did you mean app:make"),
        (["app:dict()"], "app has no attribute 'dict'"),
        (["app:other()"], "app:other(): a dict cannot be called"),
        (
            ["app:chat.on()"],
            "app:chat.on(): a factory is called without arguments; missing a requi",
        ),
        (["app:make_for()"], "a factory is called without arguments; missing a required argument"),
        (["app:make_later()"], "app:make_later(): a factory may not be a coroutine function"),
        (["app:chat", "--path", "ws"], "argument --path: 'ws' is not a path such as /ws"),
        (["app:chat", "--path", "/ws?x"], "argument --path: '/ws?x' is not a path such as /ws"),
        (["app:chat", "--set", "max_message=0"], "max_message must be a finite int above 0, not 0"),
        (["--path", "/chat"], "--path needs APP"),
        (["--reload"], "--reload needs APP"),
    ],
)
def test_mistakes_are_one_line(
    arguments: list[str], line: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "app.py").write_text(WRONG)
    with pytest.raises(SystemExit) as ended:
        cli.main(["serve", "--port", "0", *arguments])
    assert ended.value.code == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.count("\n") == 1
    assert line.format(folder=folder) in printed.err


@pytest.mark.parametrize(
    ("app", "source", "shown", "line"),
    [
        (
            "app",
            "import not_installed\n",
            'Traceback (most recent call last):\n  File "{file}", line 1, in <module>\n',
            "sono: app cannot be loaded: ModuleNotFoundError\n",
        ),
        (
            "app.py",
            "sono = Sono()\n",
            'Traceback (most recent call last):\n  File "{file}", line 1, in <module>\n',
            "sono: app.py cannot be loaded: NameError\n",
        ),
        (
            "app",
            "x = =\n",
            '  File "{file}", line 1\n',
            "sono: app cannot be loaded: SyntaxError\n",
        ),
        (
            "app:fail()",
            WRONG,
            'Traceback (most recent call last):\n  File "{file}", line 17, in fail\n',
            "sono: app:fail() cannot be loaded: RuntimeError\n",
        ),
    ],
)
def test_what_an_application_raises_is_its_own_traceback_and_one_line(
    app: str, source: str, shown: str, line: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "app.py").write_text(source)
    with pytest.raises(SystemExit) as ended:
        cli.main(["serve", "--port", "0", app])
    assert ended.value.code == 1
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith(shown.format(file=folder / "app.py"))
    assert printed.err.endswith(line)


def test_ctrl_c_while_the_application_is_imported(folder: Path) -> None:
    (folder / "app.py").write_text(
        # Not one long wait: a signal just before it would not end it.
        "import time\nprint('here', flush=True)\nwhile True:\n    time.sleep(0.01)\n"
    )
    with program(*SERVE, "app", cwd=folder) as started:
        assert started.line() == "here"
        assert started.end(signal.SIGINT) == (130, "")


# -- what is served ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("app", "source"),
    [
        ("app", GREETING),
        ("app:Rooms.inner", GREETING),
        ("app:make_sono()", GREETING),
        ("folder/there.py", GREETING),
        ("folder/there.py:make_sono()", GREETING),
        ("folder.there:sono", GREETING),
        ("app", WAITING),
        ("folder/there.py", WAITING),
    ],
)
def test_an_application_is_served(app: str, source: str, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "beside.py").touch()
    (tmp_path / "folder" / "beside.py").touch()
    for name in ("app.py", "folder/there.py"):
        (tmp_path / name).write_text(f"import beside\n{source}")
    with program(*SERVE, app, cwd=tmp_path) as started:
        line = started.line()
        found = re.fullmatch(r"Sono \S+ serves (.+) at ws://localhost:(\d+)/ws - Ctrl-C .+", line)
        assert found, line
        assert found[1] == app
        address = ("127.0.0.1", int(found[2]))
        with Wire(address, "/ws") as wire:
            assert packet(wire) == HELLO
            assert [status(get(address, path)) for path in ("/sono.js", "/healthz", "/")] == [
                200,
                200,
                404,
            ]
            started.process.send_signal(signal.SIGTERM)
            assert wire.closed().code == 1001
            wire.flush()
        _, errors = started.process.communicate(timeout=PATIENCE)
        assert (started.process.returncode, complaints(errors)) == (0, "")


@pytest.mark.parametrize(("source", "loop"), [(GREETING, "selectors"), (WAITING, "asyncio")])
def test_the_log_of_debugging_begins_with_the_loop(source: str, loop: str, tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(source)
    with program(*SERVE, "app", "--log-level", "debug", cwd=tmp_path) as started:
        assert f"/ws on {loop} - Ctrl-C" in started.line()


def test_an_authenticate_that_is_a_coroutine_function_runs_on_asyncio(tmp_path: Path) -> None:
    source = GREETING + "\n@sono.authenticate\nasync def who(request):\n    return request.path\n"
    (tmp_path / "app.py").write_text(source)
    with program(*SERVE, "app", cwd=tmp_path) as started, Wire(started.address(), "/ws") as wire:
        assert packet(wire) == HELLO


@pytest.mark.parametrize("source", [GREETING, WAITING])
def test_another_path_and_a_unix_socket(source: str, tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(source)
    with program(*SERVE, "app", "--path", "/chat", cwd=tmp_path) as started:
        line = started.line()
        found = re.search(r" at ws://localhost:(\d+)/chat - ", line)
        assert found, line
        address = ("127.0.0.1", int(found[1]))
        assert status(get(address, "/ws")) == 404
        with Wire(address, "/chat") as wire:
            assert packet(wire) == HELLO
    with program(*SERVE, "app", "--unix", "sono.sock", cwd=tmp_path) as started:
        assert " at unix:sono.sock - " in started.line()


def test_limits_of_the_application_hold_and_set_changes_those_of_connections(
    tmp_path: Path,
) -> None:
    (tmp_path / "app.py").write_text(GREETING)
    text = json.dumps(message("x" * 100))
    with program(*SERVE, "app", cwd=tmp_path) as started, Wire(started.address(), "/ws") as wire:
        wire.send(text)
        assert wire.closed().code == 1009
    settings = ("--set", "max_message=1000", "--set", "close=0.5")
    with (
        program(*SERVE, "app", *settings, cwd=tmp_path) as started,
        Wire(started.address(), "/ws") as wire,
    ):
        assert packet(wire) == HELLO
        wire.send(text)  # the application's limit of packets still holds
        assert packet(wire)["protocol"] == "error"
        wire.send("x" * 1001)
        assert wire.closed().code == 1009


@pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="Windows has no SIGHUP")
@pytest.mark.parametrize("source", [GREETING, WAITING])
def test_hangup_loads_the_certificates_again(source: str, tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(source)
    chain, key = certificates.save(tmp_path)
    tls = (f"--tls-cert={chain}", f"--tls-key={key}", "--log-level=info", "--log-format=json")

    def shown() -> bytes | None:
        with certificates.client_side().wrap_socket(
            dial(("127.0.0.1", port)), server_hostname="localhost"
        ) as sock:
            return sock.getpeercert(binary_form=True)

    with program(*SERVE, "app", *tls, cwd=tmp_path) as started:
        found = re.search(r"wss://localhost:(\d+)/ws", started.line())
        assert found
        port = int(found[1])
        assert shown() == der(certificates.good())
        certificates.save(tmp_path, certificates.renewed())
        started.process.send_signal(signal.SIGHUP)
        assert started.logged()["message"] == "the certificates were reloaded"
        assert shown() == der(certificates.renewed())


def der(certificate: Any) -> bytes:
    return ssl.PEM_cert_to_DER_cert(certificate.cert_chain_pems[0].bytes().decode())
