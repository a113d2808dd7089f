"""What an identity has said is erased from the histories."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from sono_server import HTTPRequest, Sono
from tests.lossless_wire import Speaker
from tests.server.sono_packets import message
from tests.servers import PATIENCE, Wire, running


def by_token(request: HTTPRequest) -> Any:
    name = request.token or request.query
    return {"name": name, "expires_at": 2e9} if name else None


def kept(speaker: Speaker, channel: str = "Home") -> list[Any]:
    result = speaker.do("request", name="sono.history", data={"channel": channel})
    return [entry["data"] for entry in result["data"]["entries"]]


def test_what_an_identity_has_said_is_erased(each_server: str) -> None:
    sono = Sono()
    sono.authenticate(by_token)
    with (
        running(sono.connect) as server,
        Speaker(server.address, {"token": "ann"}) as ann,
        Speaker(server.address, {"token": "bob"}) as bob,
        Wire(server.address, "/ws?ann") as classic,
    ):
        for number, speaker in enumerate((ann, bob, ann)):
            speaker.do("publish", channel="Home", event="chat", data=number)
        classic.send(json.dumps(message("classic", "chat")))
        bob.wait_for("event", data="classic")
        sono.channel("Home").publish("chat", "from the application")
        bob.wait_for("event", data="from the application")
        assert kept(bob) == [0, 1, 2, "classic", "from the application"]
        assert sono.erase({"name": "ann"}).result(PATIENCE) == 3
        assert kept(bob) == [1, "from the application"]
        assert sono.erase({"name": "ann"}).result(PATIENCE) == 0
        ann.do("publish", channel="Home", event="chat", data="later")
        assert kept(bob) == [1, "from the application", "later"]


def test_who_comes_back_is_told_that_something_is_missing(each_server: str) -> None:
    sono = Sono()
    sono.authenticate(by_token)
    with (
        running(sono.connect) as server,
        Speaker(server.address, {"token": "ann"}) as ann,
        Speaker(server.address, {"token": "bob"}) as bob,
    ):
        at = {begun["stream"]: begun["at"] for begun in bob.welcome["streams"]}
        bob.lose()
        ann.do("publish", channel="Home", event="chat", data="hers")
        sono.channel("Home").publish("chat", "kept").result(PATIENCE)
        ann.do("publish", channel="Home", event="chat", data="hers")
        ann.do("send", to=bob.id, event="secret", data="hers")
        assert sono.erase({"name": "ann", "expires_at": 1}).result(PATIENCE) == 3
        with bob.resume(server.address, token="bob", streams=at) as again:
            begun = {one["stream"]: one for one in again.welcome["streams"]}
            assert [begun[name]["recovered"] for name in "@*"] == [False, True]
            epoch, offset = at["#Home"]
            home = begun["#Home"]
            assert (home["recovered"], home["at"]) == (False, [epoch, offset + 1])
            event = again.wait_for("event")
            assert (event["data"], event["at"]) == ("kept", [epoch, offset + 2])
            assert again.wait_for("gap")["at"] == [epoch, offset + 3]
            assert not again.has("event")


@pytest.mark.parametrize(("identity", "error"), [(None, ValueError), (object(), TypeError)])
def test_an_identity_that_nobody_can_have_is_refused(identity: Any, error: type) -> None:
    with pytest.raises(error, match="identity"):
        Sono().erase(identity)


def test_it_can_be_awaited_and_called_before_a_server_runs() -> None:
    async def erase() -> int:
        return await Sono().erase("ann")

    assert asyncio.run(erase()) == 0
