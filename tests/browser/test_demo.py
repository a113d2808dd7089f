"""The demo chat in a real browser."""

from __future__ import annotations

import itertools
import json
import re

import pytest
from playwright.sync_api import BrowserContext, Page, WebSocketRoute, expect

from sono_client import SonoClient
from tests.browser.chat import Chat, Program, assert_fits, rooms
from tests.browser.conftest import NewContext, ServerProcess, Watch

pytestmark = pytest.mark.browser

IMAGE = "<img src=x onerror=hacked=1>"


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
    expect(ada.state("hello all")).to_have_text("Sent")
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


@pytest.mark.slow
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


@pytest.mark.slow
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


@pytest.mark.slow
def test_what_other_programs_send_does_not_break_the_page(
    context: BrowserContext, demo: ServerProcess
) -> None:
    room = next(rooms)
    ada = Chat(context, demo).join("Ada", room)
    with SonoClient(f"ws://localhost:{demo.port}/ws") as program:
        program.change_channel(room)
        (me,) = program.grab("myid")
        (ada_id,) = set(program.grab("mychannelclients")) - {me}
        odd: list[object] = [None, 7, "text", [], {}, {"name": None}, {"name": {"a": 1}}]
        odd += [{"name": "\u202eevil\n"}, {"name": "\u200b"}, {"text": ["no text"]}]
        odd += [{"key": "__proto__", "text": ""}, {"name": "x" * 5000, "text": "y" * 5000}]
        for message in odd:
            for event in ("chat", "private", "message", "unheard of"):
                program.message(message, event)
                program.direct_message(message, ada_id, event)
        program.message("the last", "message")
        ada.expect_people("Ada", f"Guest {me[:6]}")
        expect(ada.line("the last")).to_have_count(1)
        longest = ada.page.evaluate(
            "Math.max(...[...document.querySelectorAll('#log .text')]"
            ".map(text => text.textContent.length))"
        )
        assert longest == 2001  # cut, with an ellipsis
    ada.expect_people("Ada")


@pytest.mark.slow
def test_public_data_of_any_kind_does_not_break_the_page(
    context: BrowserContext, demo: ServerProcess
) -> None:
    room = next(rooms)
    ada = Chat(context, demo).join("Ada", room)
    program = Program(context, demo, room)
    for odd in (None, 7, "text", [], {}, {"name": None}, {"name": {"a": 1}}, {"name": "\u200b"}):
        program.run("([room, data]) => sono.present(room, data)", [room, odd])
        ada.expect_people("Ada", f"Guest {program.id[:6]}")
    for name, shown in (("\u202e evil\n", "evil"), ("x" * 3000, "x" * 32)):
        program.present(room, name)
        ada.expect_people("Ada", shown)


@pytest.mark.slow
def test_who_has_not_said_a_name_is_shown_by_id(
    context: BrowserContext, demo: ServerProcess
) -> None:
    room = next(rooms)
    ada, _ = [Chat(context, demo).join(name, room) for name in ("Ada", "Bob")]
    ada.expect_people("Ada", "Bob")
    stranger = Program(context, demo, room)
    shown = stranger.id[:6]
    ada.expect_people("Ada", "Bob", f"Guest {shown}")
    others = stranger.others(room)
    assert len(others) == 2
    for other in others:
        stranger.send(other, "private", {"name": "Bob", "text": "it is Bob"})
    stranger.publish(room, "chat", {"name": "Bob", "text": "all hear Bob"})
    for text in ("it is Bob", "all hear Bob"):
        line = ada.page.locator(".message").filter(has_text=text)
        expect(line.locator(".author")).to_have_text(f"Guest {shown}")
    # Names that look like what the page makes of other names get an id of their own.
    for name in ("Bob", "Bob (abc)", f"Guest {shown}", "guest"):
        stranger.present(room, name)
        expect(ada.people.filter(has_text=shown)).to_have_text(f"{name} ({shown})")
    stranger.present(room, "Bob")
    expect(ada.people.filter(has_text="Bob")).to_have_count(2)
    expect(ada.people.get_by_text("Bob", exact=True)).to_have_count(0)
    # Who has left is known by the name that it had, and by its id.
    stranger.run("room => sono.changeChannel(room)", next(rooms))
    expect(ada.people.filter(has_text="Bob")).to_have_count(1)
    expect(ada.people.filter(has_text="Bob")).to_have_text("Bob")
    for other in others:
        stranger.send(other, "private", {"name": "Ada", "text": "from outside"})
    line = ada.page.locator(".message").filter(has_text="from outside")
    expect(line.locator(".author")).to_have_text(f"Bob ({shown})")


class Crowd:
    """A server that the test plays: a channel of many clients.

    Args:
        size: how many there are beside the page.
        count: how many the server says that there are, with the page.
    """

    def __init__(self, page: Page, size: int, count: int | None = None) -> None:
        self.ids = [f"id{number:05}" for number in range(size)]
        self._count = size + 1 if count is None else count
        self.error: dict[str, object] | None = None
        """The result of what is published, if that is an error."""
        page.route_web_socket(re.compile("/ws$"), self._open)

    def _open(self, route: WebSocketRoute) -> None:
        self.socket = route
        self._results, self._versions, self._events = (itertools.count(1) for _ in range(3))
        route.on_message(lambda text: self._answer(json.loads(text)))

    def _answer(self, packet: dict[str, object]) -> None:
        kind = packet["type"]
        begun = [{"stream": each, "at": ["e", 0], "recovered": False} for each in ("@", "#Home")]
        if kind == "hello":
            welcome = {"id": "me", "key": "k", "resumed": False, "seq": 0, "channel": "Home"}
            self._send(type="welcome", **welcome, streams=begun)
            return
        if kind == "bye":
            return
        results: dict[str, dict[str, object]] = {
            "join": {"data": begun[1]},
            "request": {"data": {"channels": ["Home"]}},
        }
        if self.error:
            results["publish"] = {"error": self.error}
        result = {"stream": "@", "at": ["e", next(self._results)], "re": packet["seq"]}
        self._send(type="result", **result, **results.get(str(kind), {}))
        if kind == "join":
            here = [["me", {"name": "Ada"}], *([each, None] for each in self.ids)]
            self._send(type="members", channel="Home", version=0, members=here, count=self._count)

    def enter(self, who: str, name: str) -> None:
        """Who is there already may be given a name so, too."""
        self._count += who not in self.ids
        self._tell(**{"in": [[who, {"name": name}]]})

    def leave(self, who: str) -> None:
        self._count -= 1
        self._tell(out=[who])

    def _tell(self, **changes: object) -> None:
        version = next(self._versions)
        self._send(type="presence", channel="Home", version=version, count=self._count, **changes)

    def say(self, sender: str, text: str) -> None:
        event = {"stream": "#Home", "at": ["e", next(self._events)], "event": "chat"}
        self._send(type="event", **event, data={"text": text}, **{"from": sender})

    def _send(self, **packet: object) -> None:
        self.socket.send(json.dumps(packet))


@pytest.mark.slow
def test_a_crowd_is_shown_quickly(context: BrowserContext, demo: ServerProcess) -> None:
    """Each of a thousand gets its name: they are sorted a few times, and not a thousand times."""
    chat = Chat(context, demo)
    crowd = Crowd(chat.page, 1000)
    chat.join("Ada")
    expect(chat.page.locator("#people-count")).to_have_text("1001")
    chat.page.evaluate(
        """() => {
            window.sorts = 0;
            const { sort } = Array.prototype;
            Array.prototype.sort = function (...given) {
                window.sorts++;
                return sort.apply(this, given);
            };
        }"""
    )
    for number, who in enumerate(crowd.ids):
        crowd.enter(who, f"Name {number:04}")
    crowd.say("id00007", "the last")
    expect(chat.line("the last")).to_have_count(1)
    expect(chat.people.nth(1)).to_have_text("Name 0000")
    expect(chat.people.nth(200)).to_have_text("Name 0199")
    assert chat.page.evaluate("window.sorts") < 500


@pytest.mark.slow
def test_of_a_crowd_that_the_server_cuts_nobody_is_taken_for_gone(
    context: BrowserContext, demo: ServerProcess
) -> None:
    chat = Chat(context, demo)
    crowd = Crowd(chat.page, 10, count=5000)
    chat.join("Ada")
    count = chat.page.locator("#people-count")
    expect(count).to_have_text("5000")
    crowd.say("unlisted", "I am here")
    line = chat.page.locator(".message").filter(has_text="I am here")
    expect(line.locator(".author")).to_have_text("Guest unlist")
    crowd.enter("another", "Eve")
    expect(chat.log).to_contain_text("Eve joined")
    expect(count).to_have_text("5001")
    crowd.leave("another")
    expect(chat.log).to_contain_text("Eve left")
    crowd.leave("unlisted")
    expect(count).to_have_text("4999")
    expect(chat.people).to_have_count(11)


@pytest.mark.slow
def test_a_channels_name_that_cannot_be_is_said_to_be(
    context: BrowserContext, demo: ServerProcess, watch: Watch
) -> None:
    room = next(rooms)
    ada = Chat(context, demo).join("Ada", room)
    field = ada.page.get_by_label("Another channel")
    field.fill("a\x85b")
    field.press("Enter")
    expect(ada.log).to_contain_text("control characters")
    expect(ada.page.locator("#channel-title")).to_have_text(room)
    ada.expect_people("Ada")
    assert watch.complaints == []


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


@pytest.mark.slow
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


@pytest.mark.slow
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


def test_a_server_that_is_gone_is_said_to_be(context: BrowserContext, watch: Watch) -> None:
    server = ServerProcess("-m", "sono_server", "serve", "--port", "0")
    ada = Chat(context, server)
    server.stop()
    ada.page.get_by_label("Your name").fill("Ada")
    ada.click(ada.page.get_by_role("button", name="Join"))
    expect(ada.status).to_have_text("Offline")
    expect(ada.banner).to_contain_text("The server cannot be reached. Next try in ")
    expect(ada.page.get_by_role("button", name="Try now")).to_be_visible()
    expect(ada.page.get_by_role("button", name="Send")).to_be_disabled()
    ada.page.close()
    assert watch.complaints
    assert all("ERR_CONNECTION_REFUSED" in complaint for complaint in watch.complaints)
    watch.complaints.clear()


@pytest.mark.slow
def test_an_ended_session_is_begun_anew_by_a_click(
    context: BrowserContext, demo: ServerProcess
) -> None:
    chat = Chat(context, demo)
    crowd = Crowd(chat.page, 2)
    chat.join("Ada")
    crowd.socket.close(code=4013)
    expect(chat.status).to_have_text("Disconnected")
    expect(chat.banner).to_contain_text("The connection has ended.")
    expect(chat.page.get_by_role("button", name="Send")).to_be_disabled()
    chat.message.fill("kept meanwhile")
    chat.message.press("Enter")
    expect(chat.message).to_have_value("kept meanwhile")
    chat.click(chat.page.get_by_role("button", name="Reconnect"))
    expect(chat.status).to_have_text("Connected")
    chat.expect_no_banner()
    expect(chat.people).to_have_count(3)
    chat.message.press("Enter")
    expect(chat.line("kept meanwhile")).to_have_count(1)


def test_what_cannot_be_sent_says_why_and_is_sent_again_by_a_click(
    context: BrowserContext, demo: ServerProcess
) -> None:
    chat = Chat(context, demo)
    crowd = Crowd(chat.page, 1)
    chat.join("Ada")
    crowd.error = {"code": "unavailable", "message": "the store does not answer", "temporary": True}
    chat.say("hi")
    expect(chat.state("hi")).to_have_text("Not sent: the store does not answer. Send again")
    expect(chat.state("hi")).not_to_have_attribute("aria-live", "off")
    crowd.error = None
    chat.click(chat.page.get_by_role("button", name="Send again"))
    expect(chat.state("hi")).to_have_text("Sent")
    expect(chat.line("hi")).to_have_count(1)


@pytest.mark.slow
def test_what_a_narrow_page_says_of_the_connection_fits(
    new_context: NewContext, demo: ServerProcess
) -> None:
    chat = Chat(new_context(viewport={"width": 360, "height": 640}), demo)
    crowd = Crowd(chat.page, 1)
    chat.join("Ada")
    crowd.error = {"code": "unavailable", "message": "W" * 100, "temporary": True}
    chat.say("W" * 300)
    expect(chat.page.get_by_role("button", name="Send again")).to_be_visible()
    assert_fits(chat.page, 360)
    assert chat.banner.evaluate("banner => banner.offsetHeight") == 0
    crowd.socket.close(code=1012)
    expect(chat.banner).to_contain_text("Next try in ")
    # The seconds are beside what screen readers say.
    live = chat.banner.locator("[aria-live=polite]")
    expect(live).to_have_text("You are offline. What you write is sent when you are back.")
    assert_fits(chat.page, 360)


@pytest.mark.slow
def test_a_private_message_to_somebody_who_is_gone_is_said_to_have_failed(
    context: BrowserContext, demo: ServerProcess
) -> None:
    room = next(rooms)
    ada, bob = (Chat(context, demo).join(name, room) for name in ("Ada", "Bob"))
    ada.recipient.select_option("Bob")
    bob.page.goto("about:blank")
    expect(ada.log).to_contain_text("Bob left")
    ada.say("are you there?")
    expect(ada.state("are you there?")).to_have_text("Not sent: they are gone. Send again")


@pytest.mark.slow
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
