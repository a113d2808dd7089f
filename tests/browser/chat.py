"""The demo's page as tests use it, and a page that speaks sono.v2 as a test tells it."""

from __future__ import annotations

import itertools
import re
from typing import Any, Protocol

from playwright.sync_api import BrowserContext, Locator, Page, expect

from tests.browser.conftest import WAIT

expect.set_options(timeout=WAIT)

rooms = (f"room {number}" for number in itertools.count(1))


class Served(Protocol):
    """A server, or a proxy in front of one."""

    @property
    def url(self) -> str: ...


class Chat:
    """A page of the demo, and its elements."""

    def __init__(self, context: BrowserContext, server: Served) -> None:
        self.page = context.new_page()
        self.response = self.page.goto(server.url)
        self.status = self.page.get_by_role("status")
        self.banner = self.page.locator("#banner")
        self.title = self.page.locator("#channel-title")
        self.people = self.page.locator("#people .row-text")
        self.channels = self.page.locator("#channels")
        self.current_channel = self.channels.locator("[aria-current=true]")
        self.recipient = self.page.get_by_label("To", exact=True)
        self.message = self.page.get_by_label("Message", exact=True)
        self.log = self.page.get_by_role("log")
        self.texts = self.page.locator("#log .text")

    def join(self, name: str, room: str | None = None) -> Chat:
        """Enter as `name`, and go to a channel."""
        self.page.get_by_label("Your name").fill(name)
        self.click(self.page.get_by_role("button", name="Join"))
        expect(self.status).to_have_text("Connected")
        expect(self.title).not_to_have_text("")
        if room:
            self.enter(room)
        return self

    def enter(self, room: str) -> None:
        """Go to a channel, creating it if needed."""
        field = self.page.get_by_label("Another channel")
        field.fill(room)
        field.press("Enter")
        expect(self.title).to_have_text(room)

    def say(self, text: str) -> None:
        self.message.fill(text)
        self.message.press("Enter")

    def click(self, target: Locator) -> None:
        """Click with this page in front: a background page is drawn once a second."""
        self.page.bring_to_front()
        target.click()

    def line(self, text: str) -> Locator:
        """The messages with exactly that text."""
        return self.page.locator("#log").locator(self._text(text))

    def state(self, text: str) -> Locator:
        """What the page says of a message of its own: whether it has been sent."""
        return self.page.locator(".message").filter(has=self._text(text)).locator(".state")

    def _text(self, text: str) -> Locator:
        return self.page.locator(".text").filter(has_text=re.compile(f"^{re.escape(text)}$"))

    def expect_no_banner(self) -> None:
        expect(self.banner).to_have_text("", use_inner_text=True)

    def expect_people(self, *names: str) -> None:
        expect(self.people).to_have_text(list(names))


class Program:
    """A page without the demo, where `sono` is a client of sono.v2 in a channel."""

    def __init__(self, context: BrowserContext, server: Served, room: str) -> None:
        self._page = context.new_page()
        self._page.goto(f"{server.url}sono.js")  # shown as text, so it runs nothing by itself
        self.id: str = self.run(
            """async room => {
                const { SonoClient } = await import("/sono.js");
                window.sono = new SonoClient("/ws", { dialect: "v2" });
                const begun = new Promise(resolve => sono.onsession(resolve));
                sono.changeChannel(room);
                await sono.join(room);
                return (await begun).id;
            }""",
            room,
        )

    def run(self, script: str, argument: object) -> Any:
        """What the script returns or promises."""
        return self._page.evaluate(script, argument)

    def others(self, room: str) -> list[str]:
        """Ids of the other members."""
        script = "channel => sono.request('sono.members', { channel })"
        return [member for member, _ in self.run(script, room)["members"] if member != self.id]

    def present(self, room: str, name: str) -> None:
        self.run("([room, name]) => sono.present(room, { name })", [room, name])

    def publish(self, room: str, event: str, data: object) -> None:
        self.run("([room, event, data]) => sono.publish(room, event, data)", [room, event, data])

    def send(self, to: str, event: str, data: object) -> None:
        self.run("([to, event, data]) => sono.send(to, event, data)", [to, event, data])


def assert_fits(page: Page, width: int) -> None:
    """Nothing overflows sideways, and all controls are within the window."""
    sizes = page.evaluate(
        "[document.documentElement, document.body, ...document.querySelectorAll('main, #log-box')]"
        ".map(element => [element.scrollWidth, element.clientWidth])"
    )
    for scroll_width, client_width in sizes:
        assert scroll_width <= client_width <= width
    boxes = page.evaluate(
        """[...document.querySelectorAll('header *, #banner *, form *, h1, .message, .state *')]
            .filter(element => element.checkVisibility())
            .map(element => element.getBoundingClientRect())
            .map(({ left, right }) => [left, right])"""
    )
    assert boxes
    for left, right in boxes:
        assert -1 <= left <= right <= width + 1
