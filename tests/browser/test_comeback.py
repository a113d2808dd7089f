"""The demo over connections that break: what was missed comes, and what is lost is told."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from playwright.sync_api import BrowserContext, expect

from tests.browser.chat import Chat, rooms
from tests.browser.conftest import NewContext, ServerProcess, Watch
from tests.browser.proxy import Proxy

pytestmark = pytest.mark.browser

SILENCE = 60_000  # milliseconds: more than two heartbeats
COMES_BACK = 30_000  # milliseconds for a page that comes back by itself, which waits between tries


@pytest.fixture
def proxy(demo: ServerProcess, watch: Watch) -> Iterator[Proxy]:
    """In front of the demo."""
    watch.loses = True
    with Proxy(("127.0.0.1", demo.port)) as proxy:
        yield proxy


Start = Callable[..., ServerProcess]


@pytest.fixture
def start(watch: Watch) -> Iterator[Start]:
    """Starts servers that the test may kill; takes options of the command."""
    watch.loses = True
    servers = []

    def start(*options: str) -> ServerProcess:
        servers.append(ServerProcess("-m", "sono_server", "serve", "--port", "0", *options))
        return servers[-1]

    yield start
    for server in servers:
        server.kill()


def expect_back(*chats: Chat) -> None:
    """They come back by themselves."""
    for chat in chats:
        expect(chat.status).to_have_text("Connected", timeout=COMES_BACK)


def meet(context: BrowserContext, proxy: Proxy, demo: ServerProcess) -> tuple[Chat, Chat]:
    """One page behind the proxy, one that is not, in one channel."""
    room = next(rooms)
    ada, bob = Chat(context, proxy).join("Ada", room), Chat(context, demo).join("Bob", room)
    for chat in (ada, bob):
        expect(chat.people).to_have_count(2)
    return ada, bob


def test_what_was_said_while_cut_arrives_once_and_in_order(
    context: BrowserContext, proxy: Proxy, demo: ServerProcess
) -> None:
    ada, bob = meet(context, proxy, demo)
    bob.say("before")
    expect(ada.line("before")).to_have_count(1)
    proxy.cut()
    expect(ada.status).to_have_text("Offline")
    expect(ada.banner).to_contain_text("You are offline. What you write is sent when you are back.")
    ada.say("written offline")
    ada.say("and more")
    expect(ada.state("and more")).to_have_text("Sending…")
    missed = [f"missed {number}" for number in range(20)]
    for text in missed:
        bob.say(text)
    expect(bob.state(missed[-1])).to_have_text("Sent")
    proxy.mend()
    expect_back(ada)
    ada.expect_no_banner()
    said = ["before", *missed, "written offline", "and more"]
    for chat in (ada, bob):
        expect(chat.texts).to_have_text(said)
        chat.expect_people(*(("Ada", "Bob") if chat is ada else ("Bob", "Ada")))
        for event in ("left", "could not be had", "no longer knew"):
            expect(chat.log).not_to_contain_text(event)
    expect(ada.state("written offline")).to_have_text("Sent")


@pytest.mark.slow
def test_a_cut_connection_is_replaced_by_itself_and_again(
    context: BrowserContext, proxy: Proxy, demo: ServerProcess
) -> None:
    ada, bob = meet(context, proxy, demo)
    for number in range(3):
        proxy.cut()
        expect(ada.status).to_have_text("Offline")
        bob.say(f"missed {number}")
        proxy.mend()
        expect_back(ada)
    expect(ada.texts).to_have_text(["missed 0", "missed 1", "missed 2"])


@pytest.mark.slow
def test_a_click_tries_at_once(
    new_context: NewContext, context: BrowserContext, proxy: Proxy, demo: ServerProcess
) -> None:
    """In a page whose timers stand still, so that nothing else does."""
    still = new_context()
    still.clock.install()
    room = next(rooms)
    ada, bob = Chat(still, proxy).join("Ada", room), Chat(context, demo).join("Bob", room)
    ada.expect_people("Ada", "Bob")
    ada.page.clock.pause_at(ada.page.evaluate("Date.now() + 1000"))
    proxy.cut()
    expect(ada.status).to_have_text("Offline")
    bob.say("missed")
    expect(bob.state("missed")).to_have_text("Sent")
    proxy.mend()
    ada.click(ada.page.get_by_role("button", name="Try now"))
    expect(ada.line("missed")).to_have_count(1)
    ada.expect_no_banner()


@pytest.mark.slow
def test_a_stalled_connection_is_noticed_and_replaced(
    new_context: NewContext, context: BrowserContext, proxy: Proxy, demo: ServerProcess
) -> None:
    """No end of the connection is seen: what shows it is that no heartbeat comes."""
    late = new_context()
    late.clock.install()
    room = next(rooms)
    ada, bob = Chat(late, proxy).join("Ada", room), Chat(context, demo).join("Bob", room)
    ada.expect_people("Ada", "Bob")
    proxy.stall()
    before = proxy.connections
    bob.say("missed")
    expect(bob.state("missed")).to_have_text("Sent")
    ada.page.clock.fast_forward(SILENCE)
    expect(ada.line("missed")).to_have_count(1, timeout=COMES_BACK)
    expect(ada.status).to_have_text("Connected")
    assert proxy.connections == before + 1
    ada.say("back")
    expect(bob.line("back")).to_have_count(1)
    expect(bob.log).not_to_contain_text("Ada left")


@pytest.mark.slow
def test_a_newer_connection_takes_the_session_from_one_that_still_stands(
    new_context: NewContext, context: BrowserContext, proxy: Proxy, demo: ServerProcess
) -> None:
    late = new_context()
    late.clock.install()
    room = next(rooms)
    ada, bob = Chat(late, proxy).join("Ada", room), Chat(context, demo).join("Bob", room)
    ada.expect_people("Ada", "Bob")
    ada.say("before")
    expect(bob.line("before")).to_have_count(1)
    proxy.stall()
    ada.say("in transit")  # the proxy holds it
    bob.say("missed")
    expect(bob.state("missed")).to_have_text("Sent")
    ada.page.clock.fast_forward(SILENCE)
    expect(ada.state("in transit")).to_have_text("Sent", timeout=COMES_BACK)
    proxy.mend()  # the server gets it over the old connection too, and the page its end
    ada.say("after")
    expect(bob.line("after")).to_have_count(1)
    for chat in (ada, bob):
        expect(chat.texts).to_have_text(["before", "missed", "in transit", "after"])
        expect(chat.people).to_have_count(2)
        expect(chat.status).to_have_text("Connected")
    senders = bob.page.locator(".message").filter(has_text="Ada")
    assert len({each.get_attribute("data-from") for each in senders.all()}) == 1


@pytest.mark.slow
@pytest.mark.parametrize("direction", ["up", "down"])
def test_what_was_not_acknowledged_is_said_once(
    context: BrowserContext, proxy: Proxy, demo: ServerProcess, direction: str
) -> None:
    """The connection ends before the server has the message, or before the page knows that."""
    ada, bob = meet(context, proxy, demo)
    proxy.swallow(direction)
    ada.say("once")
    proxy.wait_swallowed()
    expect(bob.line("once")).to_have_count(1 if direction == "down" else 0)
    expect(ada.state("once")).to_have_text("Sending…")
    proxy.cut()
    expect(ada.status).to_have_text("Offline")
    proxy.mend()
    expect_back(ada)
    expect(ada.state("once")).to_have_text("Sent")
    ada.say("then")
    for chat in (ada, bob):
        expect(chat.texts).to_have_text(["once", "then"])


@pytest.mark.slow
def test_what_a_dead_server_may_have_had_is_not_sent_again_without_a_click(
    context: BrowserContext, start: Start
) -> None:
    server = start()
    with Proxy(("127.0.0.1", server.port)) as proxy:
        ada, bob = meet(context, proxy, server)
        proxy.swallow("up")
        ada.say("perhaps")
        proxy.wait_swallowed()
        proxy.cut()
        expect(ada.status).to_have_text("Offline")
        ada.say("never written")
        server.kill()
        server.start_again()
        proxy.mend()
        expect_back(ada, bob)
        expect(ada.state("perhaps")).to_have_text("It may not have arrived. Send again")
        expect(bob.texts).to_have_text(["never written"])
        ada.click(ada.page.get_by_role("button", name="Send again"))
        expect(ada.state("perhaps")).to_have_text("Sent")
        for chat in (ada, bob):
            expect(chat.texts).to_have_text(["never written", "perhaps"])


@pytest.mark.slow
def test_after_the_end_of_its_session_a_page_gets_what_the_channel_has(
    context: BrowserContext, start: Start
) -> None:
    server = start("--set", "session=0.1")
    with Proxy(("127.0.0.1", server.port)) as proxy:
        ada, bob = meet(context, proxy, server)
        proxy.swallow("down")
        ada.say("published, but she does not know")
        expect(bob.texts).to_have_count(1)
        proxy.cut()
        expect(ada.status).to_have_text("Offline")
        expect(bob.log).to_contain_text("Ada left")  # with her session
        bob.say("missed")
        expect(bob.state("missed")).to_have_text("Sent")
        proxy.mend()
        expect_back(ada)
        expect(ada.log).to_contain_text("The server no longer knew you")
        expect(bob.log).to_contain_text("Ada joined")
        ada.say("back")
        for chat in (ada, bob):
            expect(chat.texts).to_have_text(["published, but she does not know", "missed", "back"])
            expect(chat.people).to_have_count(2)
        # It comes from the channel as her own, though she has another id now.
        expect(ada.state("published, but she does not know")).to_have_text("Sent")
        expect(ada.log).not_to_contain_text("could not be had")


def test_a_killed_server_comes_back_and_the_page_says_what_was_lost(
    context: BrowserContext, start: Start
) -> None:
    server = start()
    room = next(rooms)
    ada, bob = (Chat(context, server).join(name, room) for name in ("Ada", "Bob"))
    ada.expect_people("Ada", "Bob")
    bob.say("before")
    expect(ada.line("before")).to_have_count(1)
    server.kill()
    for chat in (ada, bob):
        expect(chat.status).to_have_text("Offline")
    expect(ada.banner).to_contain_text("Next try in ")
    ada.say("written meanwhile")
    server.start_again()
    expect_back(ada, bob)
    for chat in (ada, bob):
        expect(chat.title).to_have_text(room)
        expect(chat.people).to_have_count(2)
        expect(chat.log).to_contain_text(f"Some messages of {room} could not be had")
        expect(chat.log).to_contain_text("The server no longer knew you")
    ada.expect_people("Ada", "Bob")
    bob.say("new words")
    for chat in (ada, bob):
        expect(chat.texts).to_have_text(["before", "written meanwhile", "new words"])


@pytest.mark.slow
def test_the_banner_appears_when_the_browser_is_offline(
    new_context: NewContext, demo: ServerProcess, watch: Watch
) -> None:
    watch.loses = True
    mine, others = new_context(), new_context()
    room = next(rooms)
    ada, bob = Chat(mine, demo).join("Ada", room), Chat(others, demo).join("Bob", room)
    ada.expect_people("Ada", "Bob")
    mine.set_offline(True)
    expect(ada.banner).to_contain_text("You are offline.")
    expect(ada.status).to_have_text("Offline")
    ada.say("hello from nowhere")
    bob.say("are you there?")
    mine.set_offline(False)
    expect_back(ada)
    ada.expect_no_banner()
    for chat in (ada, bob):
        expect(chat.line("hello from nowhere")).to_have_count(1, timeout=COMES_BACK)
        expect(chat.line("are you there?")).to_have_count(1)
    expect(ada.state("hello from nowhere")).to_have_text("Sent")
