"""The demo chat in a real browser."""

from __future__ import annotations

import itertools
import re

import pytest
from playwright.sync_api import BrowserContext, Locator, Page, expect

from sono_client import SonoClient
from tests.browser.conftest import WAIT, NewContext, ServerProcess, Watch

pytestmark = pytest.mark.browser

expect.set_options(timeout=WAIT)

IMAGE = "<img src=x onerror=hacked=1>"
rooms = (f"room {number}" for number in itertools.count(1))


class Chat:
    """A page of the demo, and its elements."""

    def __init__(self, context: BrowserContext, server: ServerProcess) -> None:
        self.page = context.new_page()
        self.response = self.page.goto(server.url)
        self.status = self.page.get_by_role("status")
        self.people = self.page.locator("#people .row-text")
        self.channels = self.page.locator("#channels")
        self.current_channel = self.channels.locator("[aria-current=true]")
        self.recipient = self.page.get_by_label("To", exact=True)
        self.message = self.page.get_by_label("Message", exact=True)
        self.log = self.page.get_by_role("log")

    def join(self, name: str, room: str | None = None) -> Chat:
        """Enter as `name`, and go to a channel."""
        self.page.get_by_label("Your name").fill(name)
        self.click(self.page.get_by_role("button", name="Join"))
        expect(self.status).to_have_text("Connected")
        if room:
            self.enter(room)
        return self

    def enter(self, room: str) -> None:
        """Go to a channel, creating it if needed."""
        field = self.page.get_by_label("Another channel")
        field.fill(room)
        field.press("Enter")
        expect(self.page.locator("#channel-title")).to_have_text(room)

    def say(self, text: str) -> None:
        self.message.fill(text)
        self.message.press("Enter")

    def click(self, target: Locator) -> None:
        """Click with this page in front: a background page is drawn once a second."""
        self.page.bring_to_front()
        target.click()

    def line(self, text: str) -> Locator:
        """The messages with exactly that text."""
        return self.page.locator("#log .text").filter(has_text=re.compile(f"^{re.escape(text)}$"))

    def expect_people(self, *names: str) -> None:
        expect(self.people).to_have_text(list(names))


def test_two_pages_chat(context: BrowserContext, demo: ServerProcess) -> None:
    room = next(rooms)
    ada = Chat(context, demo).join("Ada", room)
    bob = Chat(context, demo).join("Bob", room)
    ada.expect_people("Ada", "Bob")
    bob.expect_people("Bob", "Ada")
    expect(ada.log).to_contain_text("Bob joined")
    ada.message.fill("hello all")
    ada.click(ada.page.get_by_role("button", name="Send"))
    for chat in (ada, bob):
        expect(chat.line("hello all")).to_have_count(1)
        expect(chat.page.locator(".message .author")).to_have_text(["Ada"])
    bob.say("hello Ada")
    expect(ada.line("hello Ada")).to_have_count(1)
    expect(ada.message).to_have_value("")
    bob.page.close()
    ada.expect_people("Ada")
    expect(ada.log).to_contain_text("Bob left")


def test_a_direct_message_is_seen_by_one(context: BrowserContext, demo: ServerProcess) -> None:
    room = next(rooms)
    ada, bob, eve = (Chat(context, demo).join(name, room) for name in ("Ada", "Bob", "Eve"))
    ada.expect_people("Ada", "Bob", "Eve")
    ada.recipient.select_option("Bob")
    ada.say("a secret")
    ada.recipient.select_option("Everyone here")
    ada.say("no secret")
    expect(bob.line("a secret")).to_have_count(1)
    expect(bob.log).to_contain_text("Private, to you")
    expect(ada.log).to_contain_text("Private, to Bob")
    expect(ada.line("a secret")).to_have_count(1)
    expect(eve.line("no secret")).to_have_count(1)  # later messages have arrived
    expect(eve.line("a secret")).to_have_count(0)


def test_a_person_is_written_to_by_a_click_and_escape_ends_it(
    context: BrowserContext, demo: ServerProcess
) -> None:
    room = next(rooms)
    ada, bob = (Chat(context, demo).join(name, room) for name in ("Ada", "Bob"))
    ada.click(ada.people.get_by_text("Bob"))
    expect(ada.message).to_be_focused()
    expect(ada.page.get_by_text("Only they will see it")).to_be_visible()
    bob.enter(next(rooms))
    expect(ada.page.get_by_text("They are not in this channel")).to_be_visible()
    ada.say("still for you alone")
    expect(bob.line("still for you alone")).to_have_count(1)
    ada.message.press("Escape")
    expect(ada.recipient).to_have_value("")
    expect(ada.page.locator("#recipient-hint")).to_be_hidden()


def test_channels_are_apart(context: BrowserContext, demo: ServerProcess) -> None:
    first, second = next(rooms), next(rooms)
    ada, bob = (Chat(context, demo).join(name, first) for name in ("Ada", "Bob"))
    ada.expect_people("Ada", "Bob")
    ada.enter(second)
    ada.expect_people("Ada")
    bob.expect_people("Bob")
    expect(bob.log).to_contain_text("Ada left")
    ada.say("said in the second")
    bob.say("said in the first")
    expect(ada.line("said in the second")).to_have_count(1)
    expect(bob.line("said in the first")).to_have_count(1)
    bob.click(bob.channels.get_by_role("button", name=second))
    for chat in (ada, bob):
        expect(chat.people).to_have_count(2)
    bob.say("together again")
    expect(ada.line("together again")).to_have_count(1)
    expect(ada.line("said in the first")).to_have_count(0)
    expect(bob.line("said in the second")).to_have_count(0)
    expect(bob.current_channel).to_have_text(second)


def test_what_users_write_is_text_and_runs_nothing(
    context: BrowserContext, demo: ServerProcess, watch: Watch
) -> None:
    room = f"{next(rooms)} {IMAGE}"
    ada = Chat(context, demo).join(IMAGE, room)
    bob = Chat(context, demo).join("Bob", room)
    bob.expect_people("Bob", IMAGE)
    ada.say('<img src=x onerror="hacked=1"> <script>hacked=1</script> <b>bold</b>')
    bob.recipient.select_option(IMAGE)
    bob.say(IMAGE)
    for chat in (ada, bob):
        expect(chat.log).to_contain_text(
            '<img src=x onerror="hacked=1"> <script>hacked=1</script> <b>bold</b>'
        )
        expect(chat.line(IMAGE)).to_have_count(1)
        expect(chat.page.locator("img, b, #log script")).to_have_count(0)
        assert chat.page.evaluate("typeof hacked") == "undefined"
    assert not [url for url in watch.requests if url.endswith("/x")]


def test_names_of_object_prototypes_are_harmless(
    context: BrowserContext, demo: ServerProcess
) -> None:
    ada = Chat(context, demo).join("__proto__")
    bob = Chat(context, demo).join("constructor")
    for room in ("__proto__", "constructor", "toString"):
        ada.enter(room)
        expect(ada.current_channel).to_have_text(room)
        bob.enter(room)
        ada.expect_people("__proto__", "constructor")
        bob.expect_people("constructor", "__proto__")
        ada.say(f"in {room}")
        expect(bob.line(f"in {room}")).to_have_count(1)
    bob.recipient.select_option("__proto__")
    bob.say("hasOwnProperty")
    expect(ada.line("hasOwnProperty")).to_have_count(1)
    for chat in (ada, bob):
        assert chat.page.evaluate("Object.keys(Object.prototype)") == []
        assert chat.page.evaluate("Object.getPrototypeOf({}) === Object.prototype")


def test_what_other_programs_send_does_not_break_the_page(
    context: BrowserContext, demo: ServerProcess
) -> None:
    room = next(rooms)
    ada = Chat(context, demo).join("Ada", room)
    with SonoClient(f"ws://localhost:{demo.port}/ws") as program:
        ids = program.grab("clients")
        program.change_channel(room)
        (ada_id,) = set(program.grab("mychannelclients")) - set(program.grab("myid"))
        assert ada_id in ids
        odd: list[object] = [None, 7, "text", [], {}, {"name": None}, {"name": {"a": 1}}]
        odd += [{"name": "\u202eevil\n"}, {"name": "\u200b"}, {"text": ["no text"]}]
        odd += [{"name": "x" * 5000, "text": "y" * 5000}]
        for message in odd:
            for event in ("hello", "here", "chat", "private", "bye", "message", "unheard of"):
                program.message(message, event)
                program.direct_message(message, ada_id, event)
        program.message({"name": "Program"}, "hello")
        program.message("the last", "message")
        ada.expect_people("Ada", "Program")
        expect(ada.line("the last")).to_have_count(1)
        longest = ada.page.evaluate(
            "Math.max(...[...document.querySelectorAll('#log .text')]"
            ".map(text => text.textContent.length))"
        )
        assert longest == 2001  # cut, with an ellipsis
    ada.expect_people("Ada")


def test_the_keyboard_is_enough(context: BrowserContext, demo: ServerProcess) -> None:
    room = next(rooms)
    bob = Chat(context, demo).join("Bob", room)
    ada = Chat(context, demo)
    keyboard = ada.page.keyboard
    expect(ada.page.get_by_label("Your name")).to_be_focused()
    keyboard.type("Ada")
    keyboard.press("Enter")
    expect(ada.status).to_have_text("Connected")
    expect(ada.message).to_be_focused()
    focus(ada.page, "#channel-input")
    keyboard.type(room)
    keyboard.press("Enter")
    expect(ada.message).to_be_focused()
    ada.expect_people("Ada", "Bob")
    keyboard.type("by keyboard")
    keyboard.press("Enter")
    expect(bob.line("by keyboard")).to_have_count(1)
    focus(ada.page, "#people button")
    keyboard.press("Enter")
    expect(ada.message).to_be_focused()
    keyboard.type("for Bob")
    keyboard.press("Tab")
    keyboard.press("Space")  # the button
    expect(bob.line("for Bob")).to_have_count(1)
    expect(bob.log).to_contain_text("Private, to you")
    focus(ada.page, "#recipient")
    keyboard.press("Home")
    expect(ada.recipient).to_have_value("")
    focus(ada.page, "#log-box")
    focus(ada.page, "#channels button:not([aria-current=true])")
    keyboard.press("Enter")
    expect(ada.page.locator("#channel-title")).not_to_have_text(room)
    bob.expect_people("Bob")


def focus(page: Page, selector: str) -> None:
    """Press Tab until an element has the focus; each focused element on the way is visible."""
    for _ in range(40):
        page.keyboard.press("Tab")
        here = page.evaluate(
            """selector => {
                const element = document.activeElement;
                if (element === document.body) return "outside";
                const { outlineStyle, outlineWidth } = getComputedStyle(element);
                if (outlineStyle === "none" || outlineWidth === "0px") return "unseen";
                return element.matches(selector) ? "found" : "elsewhere";
            }""",
            selector,
        )
        assert here != "unseen", page.evaluate("document.activeElement.outerHTML")
        if here == "found":
            return
    pytest.fail(f"Tab does not lead to {selector}")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1100])
def test_everything_fits_the_width(
    new_context: NewContext, demo: ServerProcess, width: int, scheme: str
) -> None:
    context = new_context(viewport={"width": width, "height": 640}, color_scheme=scheme)
    ada = Chat(context, demo)
    assert_fits(ada.page, width)
    room = f"{next(rooms)} {'with a long name ' * 3}"[:60].strip()
    ada.join("A" * 32, room)
    bob = Chat(context, demo).join("W" * 32, room)
    expect(ada.people).to_have_count(2)
    bob.say("W" * 500)
    bob.say("many words " * 100)
    expect(ada.line("W" * 500)).to_have_count(1)
    ada.click(ada.page.locator("#people button"))
    ada.say("W" * 100)
    expect(bob.line("W" * 100)).to_have_count(1)
    for chat in (ada, bob):
        assert_fits(chat.page, width)
    background = ada.page.evaluate("getComputedStyle(document.body).backgroundColor")
    brightness = max(int(part) for part in re.findall(r"\d+", background)[:3])
    assert (brightness > 200) == (scheme == "light")


def assert_fits(page: Page, width: int) -> None:
    """Nothing overflows sideways, and all controls are within the window."""
    sizes = page.evaluate(
        "[document.documentElement, document.body, ...document.querySelectorAll('main, #log-box')]"
        ".map(element => [element.scrollWidth, element.clientWidth])"
    )
    for scroll_width, client_width in sizes:
        assert scroll_width <= client_width <= width
    boxes = page.evaluate(
        """[...document.querySelectorAll('header *, form *, h1, .message')]
            .filter(element => element.checkVisibility())
            .map(element => element.getBoundingClientRect())
            .map(({ left, right }) => [left, right])"""
    )
    assert boxes
    for left, right in boxes:
        assert -1 <= left <= right <= width + 1


def test_the_policy_is_sent_and_kept(
    context: BrowserContext, demo: ServerProcess, watch: Watch
) -> None:
    ada = Chat(context, demo).join("Ada")
    assert ada.response
    policy = ada.response.headers["content-security-policy"]
    assert policy.startswith("default-src 'none';")
    assert "unsafe" not in policy
    assert ada.response.headers["x-content-type-options"] == "nosniff"
    assert watch.complaints == []
    ada.page.evaluate(
        """() => {
            const script = document.createElement("script");
            script.textContent = "hacked = 1";
            document.body.append(script);
        }"""
    )
    assert ada.page.evaluate("typeof hacked") == "undefined"
    assert len(watch.complaints) == 1
    assert "Content Security Policy" in watch.complaints.pop()


def test_a_page_reconnects_after_the_servers_restart(context: BrowserContext) -> None:
    server = ServerProcess("-m", "sono_server", "serve", "--port", "0")
    room = next(rooms)
    ada, bob = (Chat(context, server).join(name, room) for name in ("Ada", "Bob"))
    ada.expect_people("Ada", "Bob")
    server.stop()
    for chat in (ada, bob):
        expect(chat.status).to_have_text("Disconnected")
        expect(chat.page.get_by_role("button", name="Send")).to_be_disabled()
        expect(chat.people).to_have_count(0)
    ada.message.fill("kept while disconnected")
    ada.message.press("Enter")
    expect(ada.message).to_have_value("kept while disconnected")
    server = ServerProcess("-m", "sono_server", "serve", "--port", str(server.port))
    for chat in (ada, bob):
        chat.click(chat.page.get_by_role("button", name="Reconnect"))
        expect(chat.status).to_have_text("Connected")
        expect(chat.page.locator("#channel-title")).to_have_text(room)
    ada.expect_people("Ada", "Bob")
    ada.message.press("Enter")
    expect(bob.line("kept while disconnected")).to_have_count(1)
    server.stop()


def test_a_server_that_is_gone_is_said_to_be(context: BrowserContext, watch: Watch) -> None:
    server = ServerProcess("-m", "sono_server", "serve", "--port", "0")
    ada = Chat(context, server)
    server.stop()
    ada.page.get_by_label("Your name").fill("Ada")
    ada.click(ada.page.get_by_role("button", name="Join"))
    expect(ada.status).to_have_text("Cannot connect")
    expect(ada.page.get_by_role("button", name="Reconnect")).to_be_visible()
    assert "ERR_CONNECTION_REFUSED" in watch.complaints.pop()


def test_a_name_that_shows_nothing_is_not_taken(
    context: BrowserContext, demo: ServerProcess
) -> None:
    ada = Chat(context, demo)
    name = ada.page.get_by_label("Your name")
    for nothing in ("", "   ", "\u200b\u2060"):
        name.fill(nothing)
        name.press("Enter")
        expect(ada.page.locator("#chat")).to_be_hidden()
    name.fill("  Ada \u202e ")
    name.press("Enter")
    ada.expect_people("Ada")
