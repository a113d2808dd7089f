"""What a server refuses, clients refuse at the call: one table for the server and all clients.

`tests/browser_unit/values.test.mjs` has the same table for sono.js.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sono_core import Limits, LocalProtocolError
from sono_core.limits import DEFAULT_LIMITS
from sono_core.messaging import Hub, MessagingError
from sono_core.messaging.classic import CLASSIC, packets
from sono_server import Sono
from tests.client.classic import AsyncClassicClient as AsyncSonoClient
from tests.client.classic import ClassicClient as SonoClient
from tests.servers import Running, running

PATH = Path(__file__).parents[1] / "values.json"
CASES: list[dict[str, Any]] = json.loads(PATH.read_text("utf-8"))
REFUSED = (ValueError, LocalProtocolError)
WITHOUT_RATES = Limits(packet_rate=1_000_000, byte_rate=1 << 40)


def made(value: Any) -> Any:
    """A value of the table, with what JSON cannot write, or only at length."""
    if isinstance(value, list):
        return [made(item) for item in value]
    if not isinstance(value, dict):
        return value
    match next(iter(value.items()), None):
        case ("$repeat", [text, number]):
            return text * number
        case ("$many", [item, number]):
            return [item] * number
        case ("$nested", levels):
            inner: list[Any] = []
            for _ in range(levels - 1):
                inner = [inner]
            return inner
        case ("$integer", digits):
            return int(digits)
        case ("$number", text):
            return float(text)
    return {key: made(item) for key, item in value.items()}


def of(language: str) -> list[Any]:
    return [
        pytest.param({key: made(value) for key, value in case.items()}, id=case["name"])
        for case in CASES
        if case.get("only", language) == language
    ]


def test_the_table_covers_every_call_both_ways() -> None:
    calls = {"message", "broadcast", "direct_message", "change_channel", "grab"}
    for accepted in (True, False):
        assert {case["call"] for case in CASES if case["accepted"] is accepted} == calls
    names = [case["name"] for case in CASES]
    assert len(set(names)) == len(names)


# -- the server -------------------------------------------------------------------------------


def wire(case: dict[str, Any]) -> str:
    """The packet that a careless client would send."""
    payload = {name: case[name] for name in ("message", "to") if name in case}
    if "channel" in case:
        payload["to"] = case["channel"]
    if "kind" in case:
        payload["message"] = case["kind"]
    protocol = {"change_channel": "changeChannel", "direct_message": "directmessage"}
    packet = {"protocol": protocol.get(case["call"], case["call"]), "payload": payload}
    if case["call"] not in ("change_channel", "grab"):
        packet["event"] = case.get("event", "message")
    return json.dumps(packet, ensure_ascii=False, separators=(",", ":"))


def accepted(text: str) -> bool:
    """Whether the server takes a packet, wherever it leads."""
    if len(text.encode(errors="surrogatepass")) > DEFAULT_LIMITS.max_message:
        return False
    hub = Hub(open_channels=True)
    for client in ("x" * 16, "someone"):
        hub.add(client)
    try:
        CLASSIC.receive(hub, "x" * 16, packets.parse(text, DEFAULT_LIMITS), DEFAULT_LIMITS)
    except MessagingError as error:
        return error.code == "unknown-client"
    return True


@pytest.mark.parametrize("case", of("python") + of("js"))
def test_the_server_refuses_what_the_table_says(case: dict[str, Any]) -> None:
    assert accepted(wire(case)) is case["accepted"]


# -- the clients in Python ----------------------------------------------------------------------


@pytest.fixture(scope="module")
def server() -> Iterator[Running]:
    sono = Sono(open_channels=True, limits=WITHOUT_RATES)
    with running(sono.connect) as server:
        yield server


def url(server: Running) -> str:
    return f"ws://127.0.0.1:{server.address[1]}/ws"


def arguments(case: dict[str, Any]) -> list[Any]:
    if case["call"] in ("change_channel", "grab"):
        return [case.get("channel", case.get("kind"))]
    to = [case["to"]] if case["call"] == "direct_message" else []
    return [case["message"], *to, *([case["event"]] if "event" in case else [])]


@pytest.mark.parametrize("case", of("python"))
def test_the_blocking_client_refuses_it_at_the_call(server: Running, case: dict[str, Any]) -> None:
    with SonoClient(url(server), reconnect=False) as client:
        errors: list[Any] = []
        client.on("error", errors.append)
        call = getattr(client, case["call"])
        if case["accepted"]:
            call(*arguments(case))
        else:
            with pytest.raises(REFUSED):
                call(*arguments(case))
        client.grab("myid")  # with this answer, the packet has been dealt with
        assert [error["code"] for error in errors] in ([], ["unknown-client"])


@pytest.mark.parametrize("case", of("python"))
def test_the_client_on_asyncio_refuses_it_at_the_call(
    server: Running, case: dict[str, Any]
) -> None:
    async def main() -> None:
        async with AsyncSonoClient(url(server), reconnect=False) as client:
            errors: list[Any] = []
            client.on("error", errors.append)
            call = getattr(client, case["call"])
            if case["accepted"]:
                await call(*arguments(case))
            else:
                with pytest.raises(REFUSED):
                    await call(*arguments(case))
            await client.grab("myid")
            assert [error["code"] for error in errors] in ([], ["unknown-client"])

    asyncio.run(main())


def test_the_limits_are_those_that_the_client_was_given(server: Running) -> None:
    limits = Limits(max_name=3, max_depth=4, max_containers=5, max_message=200)
    with SonoClient(url(server), reconnect=False, limits=limits) as client:
        client.message([[]], "abc")
        for call in (
            lambda: client.message([[]], "abcd"),
            lambda: client.change_channel("abcd"),
            lambda: client.message([[[]]]),
            lambda: client.message([1, [], [], []]),
            lambda: client.message("x" * 130),
            lambda: client.direct_message(1, "x" * 200),
            lambda: client.grab("x" * 200),
        ):
            with pytest.raises(REFUSED):
                call()


@pytest.mark.parametrize(
    ("message", "text"),
    [
        (float("nan"), "message holds NaN or an infinity"),
        ([None, -float("inf")], "message holds NaN or an infinity"),
        (1 << 63, "message: an integer does not fit into 64 bits"),
        (1 << 64, "message: an integer does not fit into 64 bits"),
        ("\ud800", "message holds a lone surrogate"),
    ],
)
def test_the_servers_own_messages_are_json_too(message: object, text: str) -> None:
    with pytest.raises(LocalProtocolError) as caught:
        Sono().emit(message)
    assert str(caught.value) == text
    with pytest.raises(LocalProtocolError):
        Sono().channel("news").emit(message)


@pytest.mark.parametrize(
    "message", [None, [None], "null", {"null": 1e300}, (1, None), {1: None}, 1e20, [[[]]] * 100_000]
)
def test_what_only_looks_like_it_is_sent(message: object) -> None:
    packets.from_server("e", message)


def test_nan_is_found_however_deep() -> None:
    inner: list[Any] = [float("nan")]
    for _ in range(100):
        inner = [inner]
    with pytest.raises(LocalProtocolError, match="NaN"):
        packets.from_server("e", inner)


def test_what_can_be_written_but_not_looked_through_is_too_deep(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def too_deep(*arguments: object, **options: object) -> str:
        raise RecursionError("maximum recursion depth exceeded")

    monkeypatch.setattr(json, "dumps", too_deep)
    with pytest.raises(TypeError, match="type list cannot be written as JSON: maximum recursion"):
        packets.from_server("e", [None])
