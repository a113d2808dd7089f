"""Wrong arguments raise at the call, alike on both clients, and before anything is connected."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest

from sono_client import AsyncSonoClient, SonoClient, connect, connect_async
from sono_core import LocalProtocolError
from tests.certificates import client_side, server_side

URL = "ws://localhost:1/p?token=secret"
SECURE = "wss://localhost:1/p?token=secret"

each_opener = pytest.mark.parametrize(
    "opened", [connect, connect_async, SonoClient, AsyncSonoClient], ids=lambda f: f.__name__
)


@pytest.fixture(autouse=True)
def nothing_is_connected(monkeypatch: pytest.MonkeyPatch) -> None:
    def connected(*arguments: object, **options: object) -> None:
        raise AssertionError("it tried to connect")

    monkeypatch.setattr("socket.getaddrinfo", connected)
    monkeypatch.setattr("socket.socket.connect", connected)


@each_opener
@pytest.mark.parametrize(
    ("options", "kind", "text"),
    [
        ({"url": None}, TypeError, "url must be a str, not NoneType"),
        ({"url": b"ws://u:secret@h"}, TypeError, "url must be a str, not bytes"),
        ({"url": "http://h/?secret"}, ValueError, "'http://h/' is not a WebSocket URL"),
        ({"url": "ws://u:secret@h/"}, ValueError, "no user name"),
        ({"url": "ws://h:80x/?secret"}, ValueError, "'ws://h:80x/' is not"),
        ({"url": "ws://faß..example/?secret"}, ValueError, "'ws://fa.xdf..example/': the host"),
        ({"subprotocols": "secret"}, TypeError, "subprotocols must be a collection of str"),
        ({"subprotocols": b"secret"}, TypeError, "subprotocols must be a collection of str"),
        ({"subprotocols": None}, TypeError, "subprotocols must be a collection of str"),
        ({"subprotocols": iter(["secret"])}, TypeError, "subprotocols must be a collection"),
        ({"subprotocols": ["a", 1]}, TypeError, r"subprotocols\[1\] must be of type str"),
        ({"subprotocols": [None]}, TypeError, r"subprotocols\[0\] must be of type str"),
        ({"subprotocols": ["a", "se cret"]}, LocalProtocolError, r"subprotocols\[1\] is not a"),
        ({"subprotocols": ["Bearer.secret=="] * 2}, LocalProtocolError, r"subprotocols\[0\]"),
        ({"subprotocols": ["a", "secret", "secret"]}, LocalProtocolError, r"\[2\] is repeated"),
        ({"headers": {"Authorization": None}}, TypeError, "value of header 'authorization'"),
        ({"headers": {"Authorization": b"secret"}}, TypeError, "value of header 'authorization'"),
        ({"headers": {"X": 1}}, TypeError, "value of header 'x' must be of type str, not int"),
        ({"headers": {"X": "secret\n"}}, LocalProtocolError, "value of header 'x' is illegal"),
        ({"headers": {"X": "secret\u20ac"}}, LocalProtocolError, "value of header 'x' is illegal"),
        ({"headers": {1: "secret"}}, TypeError, "headers must be pairs of str"),
        ({"headers": {None: "secret"}}, TypeError, "headers must be pairs of str"),
        ({"headers": {b"X": "secret"}}, TypeError, "a header's name must be of type str"),
        ({"headers": ["X: secret"]}, TypeError, "headers must be pairs of str"),
        ({"headers": [("X", "secret", 1)]}, TypeError, "headers must be pairs of str"),
        ({"headers": 5}, TypeError, "headers must be pairs of str"),
        ({"headers": iter([("X", "secret")])}, TypeError, "headers must be a mapping or a seq"),
        ({"headers": {"X: secret": ""}}, LocalProtocolError, "header name 'x' is illegal"),
        ({"headers": {"Host": "secret"}}, LocalProtocolError, "'host' is illegal or not"),
        ({"credentials": "X"}, TypeError, "credentials must be a collection of str"),
        ({"credentials": [1]}, TypeError, r"credentials\[0\] must be of type str"),
        ({"credentials": ["X Y"]}, LocalProtocolError, "credentials: 'X Y' is not the name"),
        *[
            ({"timeout": wrong}, ValueError, "timeout must be a finite float above 0")
            for wrong in (0, -1, math.inf, math.nan, None, "1", True)
        ],
        ({"limits": None}, TypeError, "limits must be of type Limits, not NoneType"),
        ({"limits": {"max_message": 1}}, TypeError, "limits must be of type Limits, not dict"),
        ({"timeouts": 5}, TypeError, "timeouts must be of type Timeouts, not int"),
        ({"deflate": True}, TypeError, "deflate must be of type Deflate or None, not bool"),
        ({"unix": 5}, TypeError, "unix must be of type str or None, not int"),
        ({"unix": b"/s"}, TypeError, "unix must be of type str or None, not bytes"),
        ({"unix": ""}, ValueError, "unix must be the path"),
        ({"unix": "/s", "proxy": "http://h:1"}, ValueError, "Unix"),
        (
            {"proxy": b"http://u:secret@h"},
            TypeError,
            "proxy must be a URL, True or None, not bytes",
        ),
        ({"proxy": 0}, TypeError, "proxy must be a URL, True or None, not int"),
        ({"proxy": "socks5://u:secret@h:1"}, ValueError, "proxy 'h:1': only http and https"),
        ({"max_redirects": "1"}, TypeError, "max_redirects must be of type int, not str"),
        ({"max_redirects": None}, TypeError, "max_redirects must be of type int"),
        ({"ssl": True}, TypeError, "ssl must be an ssl.SSLContext, not bool"),
        ({"ssl": server_side()}, ValueError, "ssl must be a client's context"),
        ({"url": URL, "ssl": client_side()}, ValueError, "'ws://localhost:1/p': tls is for wss"),
    ],
)
def test_a_wrong_argument_raises_at_the_call_and_is_named(
    opened: Callable[..., object], options: dict[str, Any], kind: type[Exception], text: str
) -> None:
    if isinstance(options.get("headers"), type(iter([]))):
        options = {**options, "headers": iter([("X", "secret")])}
    url = options.get("url", SECURE)
    with pytest.raises(kind, match=text) as caught:
        opened(url, **{name: value for name, value in options.items() if name != "url"})
    assert type(caught.value) is kind
    assert "secret" not in str(caught.value)


@each_opener
@pytest.mark.parametrize("variable", ["ALL_PROXY", "all_proxy", "HTTPS_PROXY", "wss_proxy"])
def test_a_proxy_of_the_environment_that_is_not_supported_is_named_with_its_variable(
    opened: Callable[..., object], variable: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("wss_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.setenv(variable, "socks5://u:secret@h:1080")
    with pytest.raises(ValueError) as caught:
        opened(SECURE)
    assert str(caught.value) == (
        f"{variable} in the environment: proxy 'h:1080': only http and https proxies are "
        "supported; to go without, put localhost into no_proxy, or pass proxy=None"
    )
