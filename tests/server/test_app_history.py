"""A channel's past and its members, and where an event was published, for the application."""

from __future__ import annotations

import queue
from typing import Any

import pytest

from sono_core.messaging.lossless import History, Position
from sono_server import Client, Promise, RequestFailed, Sono
from tests.helpers import Application
from tests.lossless_wire import Speaker
from tests.server.sono_packets import message
from tests.servers import PATIENCE, Wire, running


def test_history_is_paged_the_newest_first(each_server: str) -> None:
    sono = Sono(history={"Home": History(count=5)})
    home = sono.channel("Home")
    with running(sono.connect) as server, Speaker(server.address, {}) as speaker:
        positions = [home.publish("e", number).result(PATIENCE) for number in range(6)]
        page = home.history(limit=2).result(PATIENCE)
        assert [(entry.data, entry.event, entry.sender) for entry in page.entries] == [
            (4, "e", None),
            (5, "e", None),
        ]
        assert [entry.at for entry in page.entries] == positions[4:]
        assert page.more
        page = home.history(before=page.entries[0].at).result(PATIENCE)
        assert [entry.data for entry in page.entries] == [1, 2, 3]
        assert not page.more
        speaker.do("publish", channel="Home", event="said", data={"a": [1]})
        (entry,) = home.history(limit=1).result(PATIENCE).entries
        assert (entry.data, entry.event, entry.sender) == ({"a": [1]}, "said", speaker.id)
        nothing = sono.channel("other").history().result(PATIENCE)
        assert (nothing.entries, nothing.more) == ([], False)


def test_what_classic_clients_said_is_in_it() -> None:
    application = Application()
    peer = application.connect()
    peer.send(message({"a": 1}, "said"))
    (entry,) = application.sono.channel("Home").history().result().entries
    assert (entry.data, entry.event, entry.sender) == ({"a": 1}, "said", peer.id)
    assert "data" not in repr(entry)


def test_neither_ids_nor_positions_look_like_options(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[str] = []

    def token_urlsafe(size: int) -> str:
        made.append(f"{'-' if len(made) % 2 == 0 else 'x'}{len(made)}")
        return made[-1]

    monkeypatch.setattr("secrets.token_urlsafe", token_urlsafe)
    application = Application()
    peer = application.connect()
    peer.send(message("hi", "said"))
    (entry,) = application.sono.channel("Home").history().result().entries
    assert {entry.at.epoch, peer.id} <= set(made[1::2])


@pytest.mark.parametrize("limit", [0, 101, 1.5, True, "7", None])
def test_a_page_has_1_to_100_entries(limit: Any) -> None:
    with pytest.raises(ValueError, match="limit must be an int from 1 to 100"):
        Sono().channel("Home").history(limit=limit)


def test_presence_tells_who_is_there_with_public_data(each_server: str) -> None:
    sono = Sono()
    home = sono.channel("Home")
    with (
        running(sono.connect) as server,
        Speaker(server.address, {}) as one,
        Speaker(server.address, {}) as other,
    ):
        one.do("present", channel="Home", data={"name": "ann"})
        there = home.presence().result(PATIENCE)
        assert there.members == {one.id: {"name": "ann"}, other.id: None}
        other.say("bye")
        assert other.wire.closed().code == 1000
        assert list(home.presence().result(PATIENCE).members) == [one.id]
        assert sono.channel("empty").presence().result(PATIENCE).members == {}


def test_handlers_await_them_on_asyncio(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.servers.kind", "asyncio")
    sono = Sono()

    @sono.on_request("look")
    async def look(client: Client, data: object) -> list[int]:
        home = sono.channel("Home")
        at = await home.publish("e", 1)
        page = await home.history()
        there = await home.presence()
        assert page.entries[-1].at == at
        return [len(page.entries), len(there.members)]

    with running(sono.connect) as server, Speaker(server.address, {}) as speaker:
        assert speaker.do("request", name="look", data=None)["data"] == [1, 1]


# -- promises -------------------------------------------------------------------------------------


def test_a_receipt_is_waited_for_in_any_thread_but_the_loops(each_server: str) -> None:
    sono = Sono()
    with running(sono.connect) as server, Speaker(server.address, {}):
        receipt = sono.channel("Home").publish("e", 1)
        at = receipt.result(PATIENCE)
        assert isinstance(at, Position)
        assert (receipt.done, repr(receipt)) == (True, "<Promise done>")

        def wait_in_the_loop() -> str:
            pending: Promise[int] = Promise(server.server)
            with pytest.raises(RuntimeError, match="the server's own thread cannot wait"):
                pending.result(0)
            return repr(pending)

        assert server.call(wait_in_the_loop) == "<Promise pending>"
        assert server.call(lambda: sono.channel("Home").publish("e", 2).result()) == Position(
            at.epoch, at.offset + 1
        )


def test_after_the_servers_end_a_promise_fails() -> None:
    sono = Sono()
    with running(sono.connect) as server, Wire(server.address, "/ws"):
        server.turn()
        (client,) = sono.clients.values()
    home = sono.channel("Home")
    promises: list[Promise[Any]] = [
        home.publish("e", 1),
        home.history(),
        home.presence(),
        client.reauthorise(),
    ]
    for promise in promises:
        with pytest.raises(ConnectionError, match="the server has ended"):
            promise.result()


def test_a_promise_times_out() -> None:
    promise: Promise[int] = Promise()
    with pytest.raises(TimeoutError):
        promise.result(0.0)
    promise.complete(1)
    promise.complete(2)
    promise.fail(ValueError())
    assert promise.result() == 1


def test_a_reply_is_given_to_a_function(each_server: str) -> None:
    sono = Sono()
    replies: queue.Queue[Promise[Any]] = queue.Queue()
    with running(sono.connect) as server, Speaker(server.address, {}) as speaker:
        client = sono.clients[speaker.id]
        promise = client.request("confirm", {"text": "Sure?"}, on_reply=replies.put)
        asked = speaker.wait_for("request", name="confirm")
        assert asked["data"] == {"text": "Sure?"}
        speaker.do("reply", re=asked["id"], data=True)
        assert replies.get(timeout=PATIENCE) is promise
        assert promise.result() is True
        for _ in range(64):
            client.request("more")
        with pytest.raises(RequestFailed) as caught:
            client.request("more").result(PATIENCE)
        assert (caught.value.code, caught.value.temporary) == ("too-many-requests", True)
