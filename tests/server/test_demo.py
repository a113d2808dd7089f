"""What `sono serve` answers."""

from __future__ import annotations

import json
import re
from contextlib import AbstractContextManager

import pytest

from sono_server import HTTPRequest, Sono
from sono_server.cli import demo
from tests.servers import Running, Wire, get, running, status


def handled(sono: Sono) -> AbstractContextManager[Running]:
    def handle(request: HTTPRequest) -> None:
        demo.handle(sono, request)

    return running(handle)


def undated(head: bytes) -> bytes:
    """A head without its Date: the second may have passed since another was asked for."""
    return re.sub(rb"\r\nDate: [^\r]*", b"", head)


@pytest.mark.parametrize(
    ("path", "content_type"),
    [
        ("/", b"text/html"),
        ("/demo.js", b"text/javascript"),
        ("/people.js", b"text/javascript"),
        ("/demo.css", b"text/css"),
        ("/sono.js", b"text/javascript"),
    ],
)
def test_the_page_and_its_parts(path: str, content_type: bytes) -> None:
    with handled(Sono()) as server:
        response = get(server.address, path + "?query")
        head_only = get(server.address, path, "HEAD")
    assert status(response) == 200
    head, _, body = response.partition(b"\r\n\r\n")
    lower = head.lower()
    assert b"content-type: " + content_type + b"; charset=utf-8" in lower
    assert b"content-security-policy: default-src 'none';" in lower
    assert b"'unsafe" not in lower
    assert b"x-content-type-options: nosniff" in lower
    assert len(body) > 500
    assert undated(head_only) == undated(head) + b"\r\n\r\n"


def test_the_page_asks_for_nothing_that_its_policy_or_the_server_refuses() -> None:
    with handled(Sono()) as server:
        page = get(server.address).partition(b"\r\n\r\n")[2].decode()
        assert not re.search(r"<script(?![^>]*src=)|<style|\son\w+=|\sstyle=", page)
        for path in re.findall(r'(?:src|href)="(/[^"]*)"', page):
            assert status(get(server.address, path)) == 200, path


def test_other_paths_and_methods() -> None:
    with handled(Sono()) as server:
        assert status(get(server.address, "/nothing")) == 404
        assert status(get(server.address, "/../demo.py")) == 404
        for path in ("/", "/sono.js"):
            response = get(server.address, path, "DELETE")
            assert status(response) == 405
            assert b"allow: get, head" in response.lower()
        assert status(get(server.address, "/ws")) == 426
        assert status(get(server.address, "/ws", "POST")) == 405


def test_ws_is_sono() -> None:
    sono = Sono(open_channels=True)
    with handled(sono) as server, Wire(server.address, "/ws") as wire:
        wire.send(json.dumps({"protocol": "changeChannel", "payload": {"to": "kitchen"}}))
        wire.send(json.dumps({"protocol": "grab", "payload": {"message": "mychannel"}}))
        assert json.loads(wire.message())["payload"]["message"] == ["kitchen"]
