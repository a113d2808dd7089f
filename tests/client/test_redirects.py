"""What another origin sees of the caller's headers after a redirect, on every client."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from sono_client import AsyncSonoClient, ConnectError, SonoClient, connect, connect_async
from sono_server.serving.requests import HTTPRequest
from tests.client.blocking_peers import serving, url_of

HEADERS = {"Authorization": "Bearer a", "Cookie": "sid=b", "X-Api-Key": "c", "X-Other": "d"}


def messaging(url: str, **options: Any) -> None:
    with SonoClient(url, **options):
        pass


def on_asyncio(url: str, **options: Any) -> None:
    async def main() -> None:
        async with connect_async(url, **options):
            pass

    asyncio.run(main())


def messaging_on_asyncio(url: str, **options: Any) -> None:
    async def main() -> None:
        async with AsyncSonoClient(url, **options):
            pass

    asyncio.run(main())


@pytest.mark.parametrize("client", [connect, messaging, on_asyncio, messaging_on_asyncio])
@pytest.mark.parametrize(
    ("options", "seen"),
    [
        ({}, set()),
        ({"credentials": None}, set()),
        ({"credentials": ["X-API-Key"]}, {"x-other"}),
        ({"credentials": ()}, {"x-api-key", "x-other"}),
    ],
)
def test_another_origin_sees_what_is_not_a_credential(
    client: Callable[..., object], options: dict[str, Any], seen: set[str]
) -> None:
    requests: dict[str, set[str]] = {}

    def heard(request: HTTPRequest) -> None:
        requests[request.path] = {name.lower() for name in HEADERS} & set(request.headers)

    def refuse(request: HTTPRequest) -> None:
        heard(request)
        request.respond(403)

    with serving(refuse) as other:

        def redirect(request: HTTPRequest) -> None:
            heard(request)
            place = url_of(other, "/other") if request.path == "/same" else "/same"
            request.respond(302, headers={"location": place})

        with serving(redirect) as own, pytest.raises(ConnectError, match="403"):
            client(url_of(own, "/own"), headers=HEADERS, proxy=None, **options)
    every = {name.lower() for name in HEADERS}
    assert requests == {"/own": every, "/same": every, "/other": seen}


@pytest.mark.parametrize("client", [connect, connect_async, SonoClient, AsyncSonoClient])
def test_a_str_names_no_credentials(client: Callable[..., object]) -> None:
    with pytest.raises(TypeError, match="credentials"):
        client("ws://localhost/", credentials="X-Api-Key")
