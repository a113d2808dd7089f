"""Limits and times of sessions on a running server: at, below and above each."""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import pytest

from sono_core import Close, Limits, Timeouts
from sono_core.messaging import Publish
from sono_core.messaging.lossless import Data, Position
from sono_server import Client, Promise, Sono
from tests.lossless_wire import Speaker
from tests.server.selector_helpers import until
from tests.servers import PATIENCE, Running, running

pytestmark = pytest.mark.usefixtures("each_server")


def sono_with(**settings: Any) -> Sono:
    """One with other limits and times than the usual ones."""
    limits = {name: value for name, value in settings.items() if name in Limits.__struct_fields__}
    times = {name: value for name, value in settings.items() if name not in limits}
    return Sono(open_channels=True, limits=Limits(**limits), timeouts=Timeouts(**times))


@contextmanager
def served(sono: Sono, **options: Any) -> Iterator[Running]:
    with running(sono.connect, **options) as server:
        yield server


def lose(sono: Sono, server: Running, speaker: Speaker) -> None:
    """A connection ends, and the server has noticed."""
    sessions = sono._dispatcher.lossless.node.sessions
    id = speaker.id
    speaker.lose()
    until(lambda: server.call(lambda: id not in sessions or sessions[id].attached is None))


def test_the_settings_of_a_node_are_those_of_the_sono() -> None:
    sono = sono_with(beat=7.0, session=8.0, max_joined=3, max_name=50)
    with served(sono) as server, Speaker(server.address, {}) as speaker:
        assert speaker.welcome["beat"] == 7.0
        assert speaker.welcome["limits"]["max_joined"] == 3
        assert speaker.welcome["limits"]["max_name"] == 50
        node = sono._dispatcher.lossless.node
        assert node._settings.sessions.age == 8.0


@pytest.mark.parametrize("number", [1, 2, 3])
def test_as_many_channels_may_be_joined(number: int) -> None:
    with served(sono_with(max_joined=2)) as server, Speaker(server.address, {}) as speaker:
        results = [speaker.do("join", channel=f"c{n}") for n in range(number)]
        codes = [result["error"]["code"] for result in results if "error" in result]
        assert codes == ["too-many-channels"] * (number - 2)


@pytest.mark.parametrize("number", [1, 2, 3])
def test_as_many_requests_of_a_client_wait(number: int) -> None:
    sono = sono_with(max_requests=2)
    answers: queue.Queue[Promise[str]] = queue.Queue()

    @sono.on_request("later")
    def later(client: Client, data: Any) -> Promise[str]:
        promise: Promise[str] = Promise()
        answers.put(promise)
        return promise

    with served(sono) as server, Speaker(server.address, {}) as speaker:
        seqs = [speaker.number("request", name="later", data=None) for _ in range(number)]
        refused = seqs[2:]
        for seq in refused:
            assert speaker.wait_for("result", re=seq)["error"]["code"] == "too-many-requests"
        for seq in seqs[:2]:
            answers.get(timeout=PATIENCE).complete("done")
            assert speaker.wait_for("result", re=seq)["data"] == "done"
        assert speaker.number("request", name="later", data=None)
        answers.get(timeout=PATIENCE).complete("again")
        assert speaker.wait_for("result")["data"] == "again"


@pytest.mark.parametrize("size", [9, 10, 11])
def test_public_data_has_so_many_bytes(size: int) -> None:
    with served(sono_with(max_presence=10)) as server, Speaker(server.address, {}) as speaker:
        result = speaker.do("present", channel="Home", data="x" * (size - 2))
        assert ("error" in result) == (size > 10)


@pytest.mark.parametrize("size", [299, 300, 301])
def test_the_public_data_of_all_has_so_many_bytes(size: int) -> None:
    sono = sono_with(max_presence_bytes=300)
    with served(sono) as server, Speaker(server.address, {}) as speaker:
        result = speaker.do("present", channel="Home", data="x" * (size - 256 - 2))
        assert ("error" in result) == (size > 300)
        if size > 300:
            assert result["error"] == {
                "code": "unavailable",
                "message": "there is too much public data already",
                "temporary": True,
            }


@pytest.mark.parametrize("number", [1, 2, 3])
def test_a_list_has_so_many_members(number: int) -> None:
    with served(sono_with(max_members=2)) as server, ExitStack() as stack:
        speakers = [stack.enter_context(Speaker(server.address, {})) for _ in range(number)]
        told = speakers[0].do("request", name="sono.members", data={"channel": "Home"})["data"]
        assert (len(told["members"]), told["count"]) == (min(2, number), number)


@pytest.mark.parametrize("number", [1, 2, 3])
@pytest.mark.parametrize("limit", ["max_suspended", "max_suspended_of_address"])
def test_so_many_sessions_wait_for_their_clients(limit: str, number: int) -> None:
    sono = sono_with(**{limit: 2})
    with served(sono) as server:
        speakers = [Speaker(server.address, {}) for _ in range(number)]
        for speaker in speakers:
            lose(sono, server, speaker)
        resumed = []
        for speaker in speakers:
            with speaker.resume(server.address) as again:
                resumed.append(again.welcome["resumed"])
                again.say("bye")
                assert again.wire.closed().code == 1000
        assert resumed == [False] * (number - 2) + [True] * min(number, 2)


@pytest.mark.parametrize("size", [999, 1000, 1001])
def test_sessions_without_connections_hold_so_much(size: int) -> None:
    sono = sono_with(max_suspended_bytes=1000)
    with served(sono) as server:
        speaker = Speaker(server.address, {})
        lose(sono, server, speaker)
        (client,) = sono.clients.values()
        client.send("e", "x" * (size - 256 - 2))
        server.turn()
        assert bool(sono.clients) == (size <= 1000)


# -- times ----------------------------------------------------------------------------------------


def test_a_hello_has_its_time() -> None:
    sono = sono_with(hello=0.05)
    with served(sono) as server, Speaker(server.address) as silent:
        assert silent.wire.closed().code == 4010


def test_a_session_waits_for_so_long() -> None:
    sono = sono_with(session=0.05)
    closes: queue.Queue[Close] = queue.Queue()
    sono.on_disconnect(lambda client, close: closes.put(close))
    with served(sono) as server:
        speaker = Speaker(server.address, {})
        speaker.lose()
        assert closes.get(timeout=PATIENCE).code == 1006
        with speaker.resume(server.address) as again:
            assert again.welcome["resumed"] is False


@pytest.mark.parametrize("asks", [None, 0.05])
def test_a_request_is_answered_in_time_or_times_out(asks: float | None) -> None:
    sono = sono_with(request=0.05 if asks is None else 3600.0)
    never: Promise[str] = Promise()
    sono.on_request("never")(lambda client, data: never)
    with served(sono) as server, Speaker(server.address, {}) as speaker:
        given = {} if asks is None else {"timeout": asks}
        result = speaker.do("request", name="never", data=None, **given)
        assert (result["error"]["code"], result["error"]["temporary"]) == ("timeout", True)
        never.complete("too late")
        speaker.number("request", name="sono.channels", data=None)
        assert "data" in speaker.wait_for("result")
        assert speaker.has("result") == []


def test_a_silent_connection_gets_a_beat() -> None:
    with served(sono_with(beat=0.05)) as server, Speaker(server.address, {}) as speaker:
        for _ in range(3):
            speaker.wait_for("beat")


def test_who_lost_its_connection_is_present_for_a_while() -> None:
    sono = sono_with(grace=0.05)
    with served(sono) as server, Speaker(server.address, {}) as watcher:
        watcher.do("join", channel="room", presence=True)
        other = Speaker(server.address, {})
        other.do("join", channel="room")
        assert watcher.wait_for("presence")["count"] == 2
        other.lose()
        assert watcher.wait_for("presence")["out"] == [other.id]


# -- what waits for the application ---------------------------------------------------------------


def test_nothing_more_is_taken_from_a_client_for_which_much_waits() -> None:
    sono = sono_with(max_held=2000)
    first: Promise[None] = Promise()
    heard: list[Any] = []
    waiting: list[Promise[None]] = [first]

    @sono.on("e")
    def hear(client: Client, message: Any) -> Promise[None] | None:
        heard.append(message)
        return waiting.pop() if waiting else None

    with served(sono) as server, Speaker(server.address, {}) as speaker:
        lossless = sono._dispatcher.lossless
        (client,) = sono.clients.values()
        for number in range(40):
            speaker.number("publish", channel="Home", event="e", data=[number, "x" * 200])
        until(lambda: bool(server.call(lambda: len(client._line.turns.holding or ()))))
        held = server.call(lambda: client._line.turns.held)
        assert 2000 < held < 2000 + 500
        assert server.call(lambda: lossless.held) >= held
        first.complete(None)
        assert [speaker.wait_for("result", re=number)["re"] for number in (1, 40)] == [1, 40]
        assert [message[0] for message in heard] == list(range(40))
        assert server.call(lambda: lossless._waiting) == 0


def test_a_reply_comes_although_much_waits() -> None:
    """A handler asks its own client, which has said much before it hears of that."""
    sono = sono_with(max_held=2000)
    replies: list[Any] = []
    said = threading.Event()

    @sono.on("ask")
    def ask(client: Client, message: Any) -> Promise[None]:
        done: Promise[None] = Promise()

        def wait() -> None:
            assert said.wait(PATIENCE)
            replied = client.request("sure?", None)
            replied.then(lambda promise: (replies.append(promise.result()), done.complete(None)))

        threading.Thread(target=wait).start()
        return done

    with served(sono) as server, Speaker(server.address, {}) as speaker:
        (client,) = sono.clients.values()
        speaker.number("publish", channel="Home", event="ask", data=None)
        for _ in range(40):
            speaker.number("publish", channel="Home", event="e", data="x" * 200)
        until(lambda: bool(server.call(lambda: len(client._line.turns.holding or ()))))
        said.set()
        asked = speaker.wait_for("request", name="sure?")
        seq = speaker.number("reply", re=asked["id"], data="yes")
        assert speaker.wait_for("result", re=seq)
        assert speaker.wait_for("result", re=seq - 1)["published"]
        assert replies == ["yes"]


# -- the end --------------------------------------------------------------------------------------


def test_sessions_end_with_the_server() -> None:
    sono = Sono()
    ended: list[tuple[str, int]] = []
    sono.on_disconnect(lambda client, close: ended.append((client.id, close.code)))
    with served(sono) as server:
        speaker = Speaker(server.address, {})
        lose(sono, server, speaker)
        with Speaker(server.address, {}) as open_one:
            ids = {speaker.id, open_one.id}
            server.end()
    assert {id for id, _ in ended} == ids
    assert {code for _, code in ended} == {1001}
    assert sono.clients == {}


def test_the_end_waits_for_what_the_application_does_then(each_server: str) -> None:
    if each_server == "selector":
        pytest.skip("it calls plain functions")
    sono = Sono()
    ended: list[str] = []

    @sono.on_disconnect
    async def gone(client: Client, close: Close) -> None:
        await asyncio.sleep(0)
        ended.append(client.id)

    with served(sono) as server:
        speaker = Speaker(server.address, {})
        lose(sono, server, speaker)
        server.server.stop()
        server.join()
    assert ended == [speaker.id]


def test_what_was_said_long_ago_is_forgotten() -> None:
    """One time for each channel that ever was would be one too many."""
    sono = sono_with(beat=0.05)
    with served(sono) as server, Speaker(server.address, {}) as speaker:
        for number in range(20):
            speaker.do("move", channel=f"c{number}")
            speaker.do("publish", channel=f"c{number}", event="e", data=1)
        until(lambda: not server.call(lambda: sono._dispatcher.lossless._said))


def test_who_has_left_gets_no_skip() -> None:
    """What it said to all but itself may come after that, where it had to wait."""
    sono = sono_with()
    with served(sono) as server, Speaker(server.address, {}) as speaker:
        speaker.do("join", channel="room")

        def say() -> None:
            client = sono.clients[speaker.id]
            lossless = sono._dispatcher.lossless
            said = Publish("room", "e", Data.of(1), client.id, client.id)
            lossless.deliver(said, "#room", Position("e", 1), ())
            client.leave("room")
            lossless.deliver(said, "#room", Position("e", 2), ())

        server.call(say)
        assert [packet["at"] for packet in speaker.has("skip")] == [["e", 1]]


def test_histories_take_no_more_than_a_part_of_the_memory() -> None:
    sono = sono_with()
    with (
        served(sono, limits=Limits(max_memory=4 << 20)) as server,
        Speaker(server.address, {}) as speaker,
    ):
        speaker.beat()
        memory, streams = server.server.memory, sono._dispatcher.lossless._backplane.streams
        before = server.call(lambda: memory.held)
        sono.channel("Home").emit("x" * 100_000)
        speaker.wait_for("event")
        assert server.call(lambda: memory.held) - before > 100_000
        assert server.call(lambda: streams.budget) == 1 << 20
