"""`AsyncSonoClient` in `sono.v2`, with the real server."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from sono_client import (
    AsyncSonoClient,
    ClientLimits,
    ConnectError,
    ConnectionClosed,
    OutboxFull,
    Position,
    RequestFailed,
)
from sono_core import Timeouts
from sono_core.close_codes import CloseCode
from sono_core.connect import ADVICE, Advice, Backoff, Reconnection
from tests.async_peers import CLOSE, QUICK, Loop, Peer, eventually, frame, scripted
from tests.client.lossless_server import KINDS, House, served


def prompt(client: AsyncSonoClient, gate: Callable[[], Any] | None = None) -> list[float]:
    """Let a client come back without waiting; how long it would have waited."""
    delays: list[float] = []

    async def sleep(delay: float) -> None:
        delays.append(delay)
        await asyncio.sleep(0)
        if gate:
            await gate()

    client._sleep = sleep
    client._reconnection = Reconnection(
        Backoff(random=lambda: 0.5), renews=callable(client._speech.token)
    )
    return delays


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


async def in_thread(function: Callable[..., Any], *arguments: Any) -> None:
    """Call what waits for the server's thread."""
    await asyncio.to_thread(function, *arguments)


# -- the beginning ------------------------------------------------------------------------------


def test_the_welcome_is_noticed_when_it_comes(run: Loop, kind: str) -> None:
    async def main(house: House) -> None:
        async with AsyncSonoClient(house.url, timeouts=Timeouts(handshake=3600)) as sono:
            assert sono.status.state == "open"

    with served(kind) as house:
        run(asyncio.wait_for(main(house), 60))


# -- what is said -------------------------------------------------------------------------------


def test_channels_events_and_requests(run: Loop, kind: str) -> None:
    async def main(house: House) -> None:
        heard: list[Any] = []
        async with AsyncSonoClient(house.url) as ada, AsyncSonoClient(house.url) as bob:
            assert (ada.dialect, ada.channel, ada.status.state) == ("v2", "Home", "open")
            room = await ada.join("room")
            await bob.join("room")
            room.on("chat", lambda data, about: heard.append((data, about.sender, about.at)))
            ada.on("chat", heard.append)
            at = await bob.publish("room", "chat", {"text": "hi"})
            await eventually(lambda: len(heard) == 2)
            assert heard == [
                ({"text": "hi"}, bob.id, at),
                {"message": {"text": "hi"}, "from": bob.id},
            ]
            assert isinstance(at, Position)
            assert ada.positions["#room"] == at
            assert await ada.request("echo", [1, None]) == [1, None]
            assert ada.channels == ["Home", "room"]
            await room.leave()
            assert ada.channels == ["Home"]

    with served(kind) as house:
        run(main(house))


def test_the_words_of_classic_say_the_same(run: Loop, kind: str) -> None:
    async def main(house: House) -> None:
        async with AsyncSonoClient(house.url) as ada, AsyncSonoClient(house.url) as bob:
            events = aiter(bob)
            await ada.message("all")
            await ada.broadcast("others", "news")
            await ada.direct_message("you", bob.id or "")
            got = [await anext(events) for _ in range(3)]
            assert [(one.event, one.payload) for one in got] == [
                ("message", {"message": "all", "from": ada.id}),
                ("news", {"message": "others", "from": ada.id}),
                ("message", {"message": "you", "from": ada.id}),
            ]
            await bob.change_channel("hall")
            await bob.message("here")  # in the channel that it is about to be in
            assert await bob.grab("mychannel") == ["hall"]
            assert await bob.grab("myid") == await bob.grab("mychannelclients") == [bob.id]
            assert sorted(await bob.grab("channels")) == ["Home", "hall"]
            assert await bob.grab("weather") == ["invalid grab request"]
            kinds = [(await anext(events)).event for _ in range(3)]
            assert kinds == ["message", "grab", "grab"]

    with served(kind) as house:
        run(main(house))


def test_what_is_refused_has_a_code(run: Loop, kind: str) -> None:
    async def main(house: House) -> None:
        errors: list[Any] = []
        async with AsyncSonoClient(house.url) as client:
            for code, call in {
                "forbidden": lambda: client.join("forbidden"),
                "not-a-member": lambda: client.publish("elsewhere", "chat", 1),
                "unknown-client": lambda: client.send("nobody", "chat", 1),
                "declined": lambda: client.publish("Home", "declined", 1),
                "unknown-request": lambda: client.request("weather"),
            }.items():
                with pytest.raises(RequestFailed, match=code) as caught:
                    await call()
                assert (caught.value.code, caught.value.temporary) == (code, False)
            client.on("error", errors.append)
            await client.direct_message("x", "nobody")
            await client.change_channel("forbidden")
            await client.grab("myid")
            await eventually(lambda: len(errors) == 2)
            assert [error["code"] for error in errors] == ["unknown-client", "forbidden"]
            for wrong in (
                lambda: client.publish("Home", "grab", 1),
                lambda: client.publish("", "chat", 1),
                lambda: client.publish("Home", "chat", object()),
                lambda: client.request("echo", timeout=-1),
                lambda: client.join(7),  # type: ignore[arg-type]
            ):
                with pytest.raises((ValueError, TypeError)):
                    await wrong()

    with served(kind) as house:
        run(main(house))


def test_presence_and_history(run: Loop, kind: str) -> None:
    async def main(house: House) -> None:
        changes: list[Any] = []
        async with AsyncSonoClient(house.url) as ada, AsyncSonoClient(house.url) as bob:
            room = await ada.join("room", presence=True, present={"name": "Ada"})
            room.on_presence(changes.append)
            await bob.join("room", present={"name": "Bob"})
            await eventually(lambda: room.presence.get(bob.id or "") == {"name": "Bob"})
            assert room.presence == {ada.id: {"name": "Ada"}, bob.id: {"name": "Bob"}}
            await eventually(lambda: changes)
            assert changes[-1].channel == "room"
            for number in range(5):
                await bob.publish("room", "chat", number)
            page = await room.history(limit=2)
            assert [(one.data, one.sender) for one in page.entries] == [(3, bob.id), (4, bob.id)]
            assert page.more
            before = await room.history(before=page.entries[0].at)
            assert [one.data for one in before.entries] == [0, 1, 2]

    with served(kind) as house:
        run(main(house))


def test_the_server_asks(run: Loop, kind: str) -> None:
    async def main(house: House) -> None:
        async with AsyncSonoClient(house.url) as client:

            @client.on_request("sum")
            async def add(data: Any) -> int:
                if not data:
                    raise RequestFailed("empty", "there is nothing to add")
                # A handler may await a reply of its own client.
                return int(sum(await client.request("echo", data)))

            def ask(name: str, data: Any) -> Any:
                [server_side] = house.sono.clients.values()
                return server_side.request(name, data, timeout=10)

            async def answer(name: str, data: Any) -> Any:
                promise = await asyncio.to_thread(lambda: house.call(lambda: ask(name, data)))
                return await asyncio.to_thread(promise.result, 10)

            assert await answer("sum", [1, 2]) == 3
            for name, data, code in (
                ("sum", [], "empty"),
                ("sum", 7, "failed"),
                ("weather", None, "unknown-request"),
            ):
                with pytest.raises(RequestFailed) as caught:
                    await answer(name, data)
                assert caught.value.code == code

    with served(kind) as house:
        run(main(house))


def test_binary_data_in_messagepack_and_in_json(run: Loop, kind: str) -> None:
    async def main(house: House) -> None:
        async with (
            AsyncSonoClient(house.url, codec="msgpack") as ada,
            AsyncSonoClient(house.url) as bob,
        ):
            assert ada.socket.subprotocol == "sono.v2.msgpack"
            at_ada, at_bob = aiter(ada), aiter(bob)
            await ada.publish("Home", "blob", {"b": b"\x00\xff"})
            assert (await anext(at_ada)).payload["message"] == {"b": b"\x00\xff"}
            assert (await anext(at_bob)).payload["message"] == {"b": {"$bytes": "AP8="}}
            assert await ada.request("echo", b"x") == b"x"

    with served(kind) as house:
        run(main(house))


def test_the_outbox_is_bounded(run: Loop) -> None:
    async def script(peer: Peer) -> None:
        await peer.head()
        waiting.set()
        await peer.gone()

    waiting = asyncio.Event()

    async def main() -> None:
        limits = ClientLimits(max_packets=3)
        async with scripted(script) as url:
            client = AsyncSonoClient(url, client_limits=limits)
            entering = asyncio.ensure_future(client.__aenter__())
            await waiting.wait()
            publishing = [
                asyncio.ensure_future(client.publish("Home", "chat", number)) for number in range(3)
            ]
            await asyncio.sleep(0)
            with pytest.raises(OutboxFull):
                await client.publish("Home", "chat", 3)
            entering.cancel()
            results = await asyncio.gather(entering, *publishing, return_exceptions=True)
            assert [getattr(result, "code", None) for result in results[1:]] == ["not-sent"] * 3

    run(main())


# -- connections --------------------------------------------------------------------------------


def test_what_was_said_meanwhile_comes_after_a_cut(run: Loop, kind: str) -> None:
    async def main(house: House) -> None:
        sessions: list[Any] = []
        seen: list[Any] = []
        states: list[str] = []
        back = asyncio.Event()
        async with AsyncSonoClient(house.url) as client:
            delays = prompt(client, back.wait)
            client.on_session(sessions.append)
            client.on_status(lambda status: states.append(status.state))
            client.on_connect(lambda: seen.append("back"))
            client.on_disconnect(lambda close: seen.append(close.code))
            room = await client.join("room")
            room.on("chat", lambda data, about: seen.append(data))
            before = client.id
            await in_thread(house.cut)
            await eventually(lambda: delays)
            asked = asyncio.ensure_future(client.request("echo", "late"))
            await in_thread(house.say, "room", "chat", 1, 2, 3)
            back.set()
            assert await asked == "late"
            await eventually(lambda: len(seen) == 5)
            assert seen == [1006, "back", 1, 2, 3]
            assert [(one.id, one.resumed) for one in sessions] == [(before, True)]
            assert states == ["waiting", "connecting", "open"]

    with served(kind) as house:
        run(main(house))


def test_what_history_no_longer_has_is_a_gap(run: Loop, kind: str) -> None:
    async def main(house: House) -> None:
        seen: list[Any] = []
        gaps: list[Any] = []
        back = asyncio.Event()
        async with AsyncSonoClient(house.url) as client:
            delays = prompt(client, back.wait)
            room = await client.join("small")
            room.on("chat", lambda data, about: seen.append(data))
            room.on("gap", lambda gap: seen.append((gap.first, gap.at.offset)))
            client.on_gap(gaps.append)
            await in_thread(house.say, "small", "chat", 1)
            await eventually(lambda: seen == [1])
            await in_thread(house.cut)
            await eventually(lambda: delays)
            await in_thread(house.say, "small", "chat", *range(2, 11))
            back.set()
            await eventually(lambda: len(seen) == 5)
            assert seen == [1, (2, 7), 8, 9, 10]
            assert [gap.channel for gap in gaps] == ["small"]

    with served(kind) as house:
        run(main(house))


def test_a_server_that_has_started_again_has_another_session(run: Loop, kind: str) -> None:
    async def main() -> None:
        gaps: list[Any] = []
        sessions: list[Any] = []
        stopped = asyncio.Event()
        started = asyncio.Event()
        with served(kind) as house:
            client = AsyncSonoClient(house.url)
            await client.__aenter__()
            delays = prompt(client, started.wait)
            client.on_gap(gaps.append)
            client.on_session(sessions.append)
            await client.join("room")
            await client.publish("room", "chat", 1)
            await in_thread(house.cut)
            await eventually(lambda: delays)
            port = house.server.address[1]
            doubtful = asyncio.ensure_future(client.publish("room", "chat", 2))
            stopped.set()
        with served(kind, port=port):
            started.set()
            assert isinstance(await doubtful, Position)  # it was never written before
            assert [one.resumed for one in sessions] == [False]
            assert {(gap.channel, gap.first) for gap in gaps} >= {("room", None)}
            assert set(client.channels) == {"Home", "room"}
            await client.close()

    run(main())


def test_a_packet_whose_fate_is_not_known_says_so(run: Loop) -> None:
    welcome = (
        b'{"type":"welcome","id":"me","key":"k","resumed":false,"seq":0,"channel":"Home","streams":'
        b'[{"stream":"@","at":["s",0],"recovered":false}]}'
    )

    async def script(peer: Peer) -> None:
        head = await peer.head()
        peer.writer.write(agreed(head))
        await peer.frame()
        peer.writer.write(frame(1, welcome))
        _, payload = await peer.frame()
        if b"harmful" in payload:
            peer.writer.transport.abort()
        else:
            await peer.gone()

    async def main() -> None:
        async with scripted(script) as url, AsyncSonoClient(url, timeouts=QUICK) as client:
            prompt(client)
            with pytest.raises(RequestFailed) as caught:
                await client.publish("Home", "chat", "harmful")
            assert caught.value.code == "unknown"

    run(main())


def agreed(head: str) -> bytes:
    """The 101 of a server that speaks v2."""
    from tests.async_peers import switching

    return switching(head)[:-2] + b"Sec-WebSocket-Protocol: sono.v2\r\n\r\n"


def test_cuts_in_quick_succession(run: Loop, kind: str) -> None:
    async def main(house: House) -> None:
        seen: list[int] = []
        async with AsyncSonoClient(house.url) as client:
            prompt(client)
            room = await client.join("room")
            room.on("chat", lambda data, about: seen.append(data))
            for number in range(30):
                if number % 3 == 0:
                    await in_thread(house.cut)
                await in_thread(house.say, "room", "chat", number)
            await eventually(lambda: len(seen) == 30)
            assert seen == list(range(30))

    with served(kind) as house:
        run(main(house))


# -- tokens, closes and servers that know less --------------------------------------------------


def test_a_token_that_is_refused_is_the_end_of_the_first_attempt(run: Loop, kind: str) -> None:
    async def main(house: House) -> None:
        with pytest.raises(ConnectionClosed) as caught:
            async with AsyncSonoClient(house.url, token="bad"):
                pass
        assert caught.value.code == 4011
        assert house.tokens == ["bad"]

    with served(kind) as house:
        run(main(house))


def test_a_token_is_asked_for_at_each_connection(run: Loop, kind: str) -> None:
    async def main(house: House) -> None:
        async def token() -> str:
            await asyncio.sleep(0)
            if house.connections == 2:
                raise OSError("the server for tokens is away")
            return "good"

        async with AsyncSonoClient(house.url, token=token) as client:
            delays = prompt(client)
            assert client._speech.token is token
            await in_thread(house.cut)
            await client.request("echo", 1)
            house.connections = 2
            await in_thread(house.cut)
            await eventually(lambda: len(delays) >= 3)
            house.connections = 3
            await client.request("echo", 1)
        assert house.tokens == ["good"] * 3

    with served(kind) as house:
        run(main(house))


def test_after_4011_it_comes_back_once_with_a_fresh_token(run: Loop, kind: str) -> None:
    async def main(house: House) -> None:
        async with AsyncSonoClient(house.url, token=lambda: "good") as client:
            delays = prompt(client)
            await in_thread(house.close, 4011)
            await eventually(lambda: len(house.tokens) == 2 and client.status.state == "open")
            await in_thread(house.close, 4011)
            with pytest.raises(ConnectionClosed, match="4011"):
                await client.run()
            assert len(delays) == 1

    with served(kind) as house:
        run(main(house))


STAYING = (1000, 1002, 1003, 1007, 1008, 1009, 1010, 4012, 4013, 4999)


@pytest.mark.parametrize("code", [*STAYING, *ADVICE])
def test_the_table_of_close_codes(run: Loop, code: int) -> None:
    if code == CloseCode.ABNORMAL_CLOSURE:
        pytest.skip("no close has this code")
    comes_back = ADVICE.get(code) in (Advice.COME_BACK, Advice.COME_BACK_LATER)
    visits: list[int] = []

    async def script(peer: Peer) -> None:
        visits.append(1)
        peer.writer.write(agreed(await peer.head()))
        await peer.frame()
        peer.writer.write(frame(1, WELCOME))
        if len(visits) == 1:
            peer.writer.write(frame(CLOSE, code.to_bytes(2, "big")))
        await peer.gone()

    async def main() -> None:
        async with scripted(script) as url, AsyncSonoClient(url, timeouts=QUICK) as client:
            delays = prompt(client)
            if comes_back:
                await eventually(lambda: len(visits) == 2)
            else:
                await eventually(lambda: client.ended)
                with pytest.raises((ConnectionClosed, RequestFailed)):
                    await client.publish("Home", "chat", 1)
            assert len(delays) == len(visits) - 1 == comes_back

    run(main())


WELCOME = (
    b'{"type":"welcome","id":"me","key":"k","resumed":false,"seq":0,"channel":"Home","streams":[]}'
)


def test_a_server_without_v2_is_spoken_to_in_classic(run: Loop) -> None:
    heads: list[str] = []

    async def script(peer: Peer) -> None:
        from tests.async_peers import switching

        heads.append(await peer.head())
        peer.writer.write(switching(heads[-1]))
        _, payload = await peer.frame()
        if payload.startswith(b"{"):
            text = payload.replace(b"event", b"was").replace(b'"message"', b'"said"', 1)
            peer.writer.write(frame(1, b'{"protocol":"said","payload":{"message":1}}' + text[:0]))
        await peer.gone()

    async def main() -> None:
        async with scripted(script) as url, AsyncSonoClient(url, timeouts=QUICK) as client:
            events = aiter(client)
            assert client.dialect == "classic"
            await client.message(1)
            assert (await anext(events)).event == "said"
            with pytest.raises(RequestFailed, match="unsupported"):
                await client.request("echo")
        async with scripted(script) as url:
            with pytest.raises(ConnectError, match="does not speak"):
                await AsyncSonoClient(url, dialect="v2").__aenter__()

    run(main())
    offers = ["sono.v2" in head for head in heads]
    assert offers == [True, False, True]


def test_wrong_options_raise_at_once() -> None:
    wrong: list[dict[str, Any]] = [
        {"dialect": "v3"},
        {"codec": "xml"},
        {"token": 7},
        {"client_limits": 7},
        {"dialect": "v2", "subprotocols": ["mine"]},
    ]
    for options in wrong:
        with pytest.raises((ValueError, TypeError)):
            AsyncSonoClient("ws://localhost/", **options)


def test_nothing_can_be_said_before_it_is_entered(run: Loop) -> None:
    async def main() -> None:
        with pytest.raises(RuntimeError, match="entered"):
            await AsyncSonoClient("ws://localhost/").publish("Home", "chat", 1)

    run(main())
