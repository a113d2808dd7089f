"""`SonoClient` in `sono.v2`, with the real server."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from sono_client import ConnectionClosed, Position, RequestFailed, SonoClient
from sono_client.blocking import life
from sono_core.connect import Backoff, Reconnection
from tests.client.blocking_peers import PATIENCE
from tests.client.lossless_server import KINDS, House, Once, served

pytestmark = pytest.mark.usefixtures("nothing_stays_open")


@pytest.fixture(params=KINDS)
def house(request: pytest.FixtureRequest) -> Iterator[House]:
    with served(request.param) as house:
        yield house


def prompt(client: SonoClient, waited: Callable[[], object] = lambda: None) -> list[float]:
    """Let a client come back without waiting; how long it would have waited."""
    delays: list[float] = []
    offset = [0.0]

    def pause(delay: float) -> bool:
        if not delays:
            waited()
        delays.append(delay)
        offset[0] += delay
        return client._closing.is_set()

    client._pause = pause  # type: ignore[assignment]
    client._time = lambda: time.monotonic() + offset[0]  # type: ignore[method-assign]
    client._reconnection = Reconnection(
        Backoff(random=lambda: 0.5), renews=callable(client._speech.token)
    )
    return delays


def run_until(client: SonoClient, done: Callable[[], object]) -> None:
    """Receive and call back until this is true."""
    deadline = time.monotonic() + PATIENCE
    while not done():
        assert time.monotonic() < deadline
        client.run(0.01)


# -- what is said -------------------------------------------------------------------------------


def test_channels_events_and_requests(house: House) -> None:
    heard: list[Any] = []
    with SonoClient(house.url) as ada, SonoClient(house.url) as bob:
        assert (ada.dialect, ada.channel, ada.status.state) == ("v2", "Home", "open")
        room = ada.join("room")
        bob.join("room")
        room.on("chat", lambda data, about: heard.append((data, about.sender, about.at)))
        at = bob.publish("room", "chat", {"text": "hi"})
        run_until(ada, lambda: heard)
        assert heard == [({"text": "hi"}, bob.id, at)]
        assert isinstance(at, Position)
        assert ada.request("echo", [1, None]) == [1, None]
        assert bob.publish("room", "chat", 1, volatile=True) is None
        run_until(ada, lambda: len(heard) == 2)
        assert heard[1] == (1, bob.id, None)
        bob.send(ada.id or "", "chat", 2)
        bob.send(ada.id or "", "chat", 2, volatile=True)
        room.leave()
        assert ada.channels == ["Home"]
        assert ada.move("hall").name == ada.channel == "hall"


def test_the_words_of_classic_say_the_same(house: House) -> None:
    with SonoClient(house.url) as ada, SonoClient(house.url) as bob:
        payloads: list[Any] = []
        bob.on("message", payloads.append)
        ada.message("all")
        ada.broadcast("others")
        ada.direct_message("you", bob.id or "")
        ada.grab("myid")
        bob.grab("myid")
        said = [{"message": text, "from": ada.id} for text in ("all", "others", "you")]
        assert payloads == said
        bob.change_channel("hall")
        bob.message("here")
        assert bob.grab("mychannel") == ["hall"]
        assert bob.grab("mychannelclients") == [bob.id]
        assert sorted(bob.grab("channels")) == ["Home", "hall"]
        assert payloads[3:] == [{"message": "here", "from": bob.id}]


def test_what_is_refused_has_a_code(house: House) -> None:
    with SonoClient(house.url) as client:
        errors: list[Any] = []
        client.on("error", errors.append)
        for code, call in {
            "forbidden": lambda: client.join("forbidden"),
            "not-a-member": lambda: client.publish("elsewhere", "chat", 1),
            "unknown-client": lambda: client.send("nobody", "chat", 1),
            "declined": lambda: client.publish("Home", "declined", 1),
            "unknown-request": lambda: client.request("weather"),
        }.items():
            with pytest.raises(RequestFailed) as caught:
                call()
            assert caught.value.code == code
        client.direct_message("x", "nobody")
        client.grab("myid")
        assert [error["code"] for error in errors] == ["unknown-client"]


def test_presence_and_history(house: House) -> None:
    with SonoClient(house.url) as ada, SonoClient(house.url) as bob:
        room = ada.join("room", presence=True, present={"name": "Ada"})
        bob.join("room", present={"name": "Bob"})
        changes: list[Any] = []
        room.on_presence(changes.append)
        run_until(ada, lambda: room.presence.get(bob.id or "") == {"name": "Bob"})
        assert room.presence[ada.id or ""] == {"name": "Ada"}
        for number in range(3):
            bob.publish("room", "chat", number)
        page = room.history(limit=2)
        assert [entry.data for entry in page.entries] == [1, 2]
        before = page.entries[0].at
        assert [entry.data for entry in room.history(before=before).entries] == [0]


def test_the_server_asks_while_the_client_runs(house: House) -> None:
    with SonoClient(house.url) as client:

        @client.on_request("sum")
        def add(data: Any) -> int:
            if not data:
                raise RequestFailed("empty", "there is nothing to add")
            return int(sum(client.request("echo", data)))

        answers: list[Any] = []

        def ask(name: str, data: Any) -> None:
            [server_side] = house.sono.clients.values()
            promise = server_side.request(name, data, timeout=PATIENCE)
            promise.then(lambda it: answers.append(outcome(it)))

        def outcome(promise: Any) -> Any:
            try:
                return promise.result()
            except RequestFailed as error:
                return error.code

        house.call(lambda: [ask("sum", [1, 2]), ask("sum", []), ask("weather", None)])
        run_until(client, lambda: len(answers) == 3)
        assert sorted(answers, key=str) == [3, "empty", "unknown-request"]
        house.call(lambda: ask("sum", 7))
        with pytest.raises(TypeError):
            run_until(client, lambda: False)
        run_until(client, lambda: len(answers) == 4)
        assert answers[3] == "failed"


# -- who reads, and when ------------------------------------------------------------------------


def test_a_program_that_only_sends_is_not_stopped_by_the_outbox(house: House) -> None:
    with SonoClient(house.url) as client:
        heard: list[Any] = []
        client.on("message", lambda payload: heard.append(payload["message"]))
        for number in range(3000):
            client.message(number)
        client.grab("myid")
        assert heard == list(range(3000))


def test_what_waits_for_the_application_is_bounded(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(life, "_MAX_WAITING", 10)
    monkeypatch.setattr(life, "_LOOK_EVERY", 0.0)
    with SonoClient(house.url) as client:
        heard: list[Any] = []
        client.on("chat", lambda payload: heard.append(payload["message"]))
        house.say("Home", "chat", *range(50))
        for _ in range(100):
            client.message("x")
        assert heard == []
        assert len(client._jobs) <= 10
        client.grab("myid")
        assert heard == list(range(50))


def test_threads_share_a_client(house: House) -> None:
    with SonoClient(house.url) as client:
        running = threading.Thread(target=client.run)
        running.start()
        positions: list[Any] = []

        def publish() -> None:
            for number in range(20):
                positions.append(client.publish("Home", "chat", number))

        threads = [threading.Thread(target=publish) for _ in range(5)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(PATIENCE)
        assert len({at.offset for at in positions}) == 100
        client.close()
        running.join(PATIENCE)
        assert not running.is_alive()


def test_close_waits_for_what_was_said_without_waiting(house: House) -> None:
    with SonoClient(house.url) as listener:
        heard: list[Any] = []
        listener.on("message", lambda payload: heard.append(payload["message"]))
        with SonoClient(house.url) as client:
            for number in range(200):
                client.message(number)
        listener.grab("myid")
        assert heard == list(range(200))


def test_after_the_end_words_raise_and_it_is_told(house: House) -> None:
    states: list[str] = []
    with SonoClient(house.url) as client:
        client.on_status(lambda status: states.append(status.state))
    assert states == ["closed"]
    for call in (
        lambda: client.message("x"),
        lambda: client.publish("Home", "chat", 1),
        lambda: client.grab("myid"),
    ):
        with pytest.raises(ConnectionClosed):
            call()


# -- connections --------------------------------------------------------------------------------


def test_what_was_said_meanwhile_comes_after_a_cut(house: House) -> None:
    with SonoClient(house.url) as client:
        seen: list[Any] = []
        sessions: list[Any] = []
        prompt(client, lambda: house.say("room", "chat", 1, 2, 3))
        client.on_session(sessions.append)
        client.on_connect(lambda: seen.append("back"))
        client.on_disconnect(lambda close: seen.append(close.code))
        room = client.join("room")
        room.on("chat", lambda data, about: seen.append(data))
        house.cut()
        assert client.request("echo", "late") == "late"
        run_until(client, lambda: len(seen) == 5)
        assert seen == [1006, "back", 1, 2, 3]
        assert [session.resumed for session in sessions] == [True]


def test_what_history_no_longer_has_is_a_gap(house: House) -> None:
    with SonoClient(house.url) as client:
        seen: list[Any] = []
        prompt(client, lambda: house.say("small", "chat", *range(1, 11)))
        room = client.join("small")
        room.on("chat", lambda data, about: seen.append(data))
        room.on("gap", lambda gap: seen.append((gap.first, gap.at.offset)))
        house.cut()
        run_until(client, lambda: len(seen) == 4)
        assert seen == [(1, 7), 8, 9, 10]


def test_it_comes_back_although_attempts_fail(house: House) -> None:
    with SonoClient(house.url) as client:
        delays = prompt(client)
        house.refused = 3
        house.cut()
        assert client.request("echo", 1) == 1
        assert delays == pytest.approx([0.75, 1.0, 1.5, 2.5], abs=0.1)


def test_a_token_is_asked_for_at_each_connection(house: House) -> None:
    with SonoClient(house.url, token=lambda: "good") as client:
        prompt(client)
        house.cut()
        client.request("echo")
    assert house.tokens == ["good", "good"]
    with pytest.raises(ConnectionClosed, match="4011"):
        SonoClient(house.url, token="bad")


def test_binary_data_in_messagepack(house: House) -> None:
    with SonoClient(house.url, codec="msgpack") as client:
        assert client.socket.subprotocol == "sono.v2.msgpack"
        assert client.request("echo", {"b": b"\x00\xff"}) == {"b": b"\x00\xff"}


def test_a_session_that_the_application_ends_is_over(house: House) -> None:
    with SonoClient(house.url) as client:
        told = Once()
        client.on_status(told.set)
        house.close(4013)
        with pytest.raises(ConnectionClosed, match="4013"):
            client.run()
        told.wait()
        with pytest.raises(ConnectionClosed):
            client.publish("Home", "chat", 1)
