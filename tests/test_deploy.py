"""The examples in deploy: their options exist, and their time-outs contain each other."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from sono_core import Timeouts
from sono_server.cli import command as cli
from sono_server.operations.supervision import GRACE

DEPLOY = Path(__file__).resolve().parents[1] / "deploy"
FILES = sorted(path for path in DEPLOY.iterdir() if path.is_file())


def text(name: str) -> str:
    return (DEPLOY / name).read_text(encoding="utf-8")


def number(pattern: str, name: str) -> float:
    """The number of seconds that a file has at that pattern."""
    found = re.findall(pattern, text(name))
    assert found, (name, pattern)
    (one,) = set(found)
    return float(one)


def test_there_is_a_row_for_each_file() -> None:
    readme = text("README.md")
    for path in FILES:
        assert path.name == "README.md" or f"[{path.name}]({path.name})" in readme


@pytest.mark.parametrize(
    ("name", "pattern"),
    [
        ("sono.service", r"^ExecStart=\S+/sono (.+)$"),
        ("Dockerfile", r"^CMD (\[.+\])$"),
        ("compose.yaml", r'^    command: (\["serve".+\])$'),
        ("kubernetes.yaml", r"^          args: (\[.+\])$"),
    ],
)
def test_the_commands_are_understood(name: str, pattern: str) -> None:
    (command,) = re.findall(pattern, text(name), re.MULTILINE)
    arguments = shlex.split(re.sub(r"[][,]", " ", command))
    parsed = cli._parser().parse_args(arguments)
    assert parsed.command == "serve"
    assert parsed.drain == 20


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_every_option_that_is_named_exists(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        cli.main(["serve", "--help"])
    known = set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", capsys.readouterr().out))
    assert "--workers" in known
    words = "\n".join(line for line in text(path.name).splitlines() if not other(line))
    named = set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", words))
    assert named <= known


def other(line: str) -> bool:
    """Whether the options in a line are those of another command."""
    words = ("apt-get", "useradd", "docker", "pip", "redis-server", "HEALTHCHECK", "COPY")
    return any(word in line for word in words)


@pytest.mark.parametrize(
    ("name", "pattern"),
    [
        ("sono.service", r"TimeoutStopSec=(\d+)"),
        ("compose.yaml", r"stop_grace_period: (\d+)s"),
        ("kubernetes.yaml", r"terminationGracePeriodSeconds: (\d+)"),
    ],
)
def test_nobody_kills_before_the_supervisor_does(name: str, pattern: str) -> None:
    drain = number(r"--drain\W+(\d+)", name)
    before = number(r"sleep\((\d+)\)", name) if "preStop:" in text(name) else 0
    assert number(pattern, name) > before + drain + GRACE


@pytest.mark.parametrize(
    ("name", "pattern"),
    [("nginx.conf", r"proxy_read_timeout (\d+)s"), ("haproxy.cfg", r"timeout tunnel (\d+)s")],
)
def test_proxies_wait_for_pings(name: str, pattern: str) -> None:
    timeouts = Timeouts()
    assert timeouts.ping_interval is not None
    assert number(pattern, name) > timeouts.ping_interval + timeouts.pong


@pytest.mark.parametrize("name", ["compose.yaml", "kubernetes.yaml"])
def test_they_are_yaml(name: str) -> None:
    yaml = pytest.importorskip("yaml", reason="needs PyYAML")
    assert yaml.safe_load(text(name))
