"""The demo over TLS in a real browser: https and wss."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import BrowserContext, Error, expect

from tests.browser.chat import Chat
from tests.browser.conftest import NewContext, ServerProcess
from tests.certificates import save

pytestmark = pytest.mark.browser


@pytest.fixture
def secure(tmp_path: Path) -> Iterator[ServerProcess]:
    """`sono serve` with a certificate of an authority that browsers do not know."""
    chain, key = save(tmp_path)
    options = ("--tls-cert", chain, "--tls-key", key)
    server = ServerProcess("-m", "sono_server", "serve", "--port", "0", *options)
    yield server
    server.stop()


# The server comes first, so that it outlives the pages: they complain of one that is gone.
def test_two_pages_chat_over_wss(secure: ServerProcess, new_context: NewContext) -> None:
    context = new_context(ignore_https_errors=True)
    sockets: list[str] = []
    context.on("page", lambda page: page.on("websocket", lambda ws: sockets.append(ws.url)))
    ann, bob = Chat(context, secure).join("Ann"), Chat(context, secure).join("Bob")
    ann.say("over wss, ü 🎈")
    for chat in (ann, bob):
        expect(chat.line("over wss, ü 🎈")).to_be_visible()
    assert sockets == [f"wss://localhost:{secure.port}/ws"] * 2


def test_a_browser_refuses_an_unknown_authority(
    context: BrowserContext, secure: ServerProcess
) -> None:
    with pytest.raises(Error, match="ERR_CERT_AUTHORITY_INVALID"):
        context.new_page().goto(secure.url)
