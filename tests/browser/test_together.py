"""Clients of all ages in one channel of one server: each hears the others as it expects to."""

from __future__ import annotations

from typing import Any

import pytest
from playwright.sync_api import BrowserContext, Page

from tests.browser.chat import rooms
from tests.browser.conftest import ServerProcess

pytestmark = pytest.mark.browser

# The seed's client as written, but for what it registers; and the same over classic.
CLIENT = """async options => {
    const { SonoClient } = await import("/sono.js");
    const sono = window.sono = new SonoClient(`ws://${location.host}/ws`, options);
    await new Promise(resolve => sono.onconnection(resolve));
}"""
# What the original client put on the wire: no subprotocol, and a callback an event.
ORIGINAL = """async () => {
    const socket = new WebSocket(`ws://${location.host}/ws`);
    const callbacks = {};
    const say = (protocol, event, payload) => {
        socket.send(JSON.stringify({ protocol, event, payload }));
    };
    socket.onmessage = ({ data }) => {
        const { protocol, payload } = JSON.parse(data);
        callbacks[protocol]?.(payload);
    };
    window.sono = {
        on: (event, callback) => { callbacks[event] = callback; },
        message: (message, event = "message") => say("message", event, { message }),
        broadcast: (message, event = "message") => say("broadcast", event, { message }),
        directmessage: (message, to, event = "message") => {
            say("directmessage", event, { message, to });
        },
        changeChannel: (to) => say("changeChannel", undefined, { to }),
        grab: (kind) => new Promise((resolve) => {
            callbacks.grab = ({ message, type }) => { if (type === kind) resolve(message); };
            say("grab", "grab", { message: kind });
        }),
    };
    await new Promise(resolve => { socket.onopen = resolve; });
}"""
ENTER = """async room => {
    window.heard = [];
    sono.changeChannel(room);
    for (const event of ["message", "chat"]) {
        sono.on(event, (payload) => heard.push([event, payload.message, payload.from]));
    }
    return (await sono.grab("myid"))[0];
}"""


class Talker:
    """A page with a client in a channel."""

    def __init__(
        self, context: BrowserContext, demo: ServerProcess, script: str, options: object, room: str
    ) -> None:
        self.page: Page = context.new_page()
        self.page.goto(f"{demo.url}sono.js")  # shown as text, so it runs nothing by itself
        self.page.evaluate(script, options)
        self.id: str = self.page.evaluate(ENTER, room)

    def run(self, script: str, argument: object = None) -> Any:
        return self.page.evaluate(script, argument)

    def heard(self, count: int) -> list[list[Any]]:
        """What it has heard, once that is so much."""
        self.page.wait_for_function("count => heard.length >= count", arg=count)
        found: list[list[Any]] = self.run("() => heard")
        return found


def test_clients_of_all_dialects_in_one_channel(
    context: BrowserContext, demo: ServerProcess
) -> None:
    room = next(rooms)
    ways: list[tuple[str, object]] = [
        (CLIENT, None),
        (CLIENT, {"dialect": "v2"}),
        (CLIENT, {"dialect": "classic"}),
        (ORIGINAL, None),
    ]
    talkers = [Talker(context, demo, script, options, room) for script, options in ways]
    ids = [talker.id for talker in talkers]
    for talker in talkers:
        assert sorted(talker.run("() => sono.grab('mychannelclients')")) == sorted(ids)
    said = []
    for talker in talkers:
        talker.run("id => sono.message({ hello: id }, 'chat')", talker.id)
        said.append(["chat", {"hello": talker.id}, talker.id])
        for each in talkers:
            assert each.heard(len(said)) == said
    # Each to all others, and then to the next one alone.
    for number, talker in enumerate(talkers):
        following = talkers[(number + 1) % len(talkers)]
        talker.run("() => sono.broadcast('to others')")
        talker.run("to => sono.directmessage('to one', to)", following.id)
    for number, talker in enumerate(talkers):
        before = talkers[number - 1].id
        heard = talker.heard(len(said) + len(talkers))[len(said) :]
        expected = [["message", "to others", id] for id in ids if id != talker.id]
        expected.append(["message", "to one", before])
        assert sorted(heard, key=str) == sorted(expected, key=str)
        own = [each for each in heard if each[2] == before]
        assert [text for _, text, _ in own] == ["to others", "to one"]  # in its order
