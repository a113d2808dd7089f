"""The client in memory, against a server's session."""

from __future__ import annotations

import doctest
import re
from pathlib import Path

import pytest

from sono_core import (
    Accept,
    Close,
    CloseCode,
    Connection,
    Deflate,
    Reject,
    Request,
    Role,
    Session,
    testing,
)
from sono_core.errors import ConnectionClosed, LocalProtocolError, ProtocolFailure
from sono_core.lifecycle.interfaces import BaseHandler, Transport
from sono_core.testing.client import Clock, MemoryClient, frames
from sono_core.websocket.frames import encode_frame
from sono_core.websocket.opcodes import BINARY, CLOSE, PING, PONG, TEXT
from sono_core.websocket.prepared import message_event

MASK = bytes(4)


class Echo(BaseHandler):
    """Sends each message back; its public attributes are its state."""

    session: Session

    def __init__(self) -> None:
        self.clock = Clock()
        self.answer: Accept | Reject | None = Accept()
        self.requests: list[Request] = []
        self.closed: Close | None = None

    def build(self, transport: Transport) -> Session:
        connection = Connection(Role.SERVER)
        self.session = Session(connection, transport, self, now=self.clock())
        return self.session

    def on_request(self, request: Request) -> None:
        self.requests.append(request)
        if isinstance(self.answer, Accept):
            self.session.accept(self.answer, self.clock())
        elif self.answer:
            self.session.respond(self.answer, self.clock())

    def on_message(self, message: str | bytes, /) -> None:
        self.session.send(message_event(message))

    def on_close(self, close: Close) -> None:
        self.closed = close

    def on_error(self, error: Exception) -> None:
        raise error


@pytest.fixture
def echo() -> Echo:
    return Echo()


@pytest.fixture
def client(echo: Echo) -> MemoryClient:
    return MemoryClient(echo.build, clock=echo.clock)


def test_the_examples_are_right() -> None:
    result = doctest.testmod(testing.client)
    assert result.attempted
    assert not result.failed


def test_the_example_of_the_embedding_guide_is_right() -> None:
    guide = (Path(__file__).parents[3] / "docs" / "embedding.md").read_text(encoding="utf-8")
    section = guide.partition("\n## Tests without sockets\n")[2].partition("\n## ")[0]
    (program,) = re.findall(r"```python\n(.*?)```", section, re.DOTALL)
    names: dict[str, object] = {}
    exec(program, names)
    tests = [value for name, value in names.items() if name.startswith("test_")]
    assert len(tests) == 2
    for test in tests:
        assert callable(test)
        test()


def test_the_public_names_are_these() -> None:
    assert testing.__all__ == [
        "Builder",
        "Clock",
        "Frame",
        "MemoryClient",
        "MemoryPipe",
        "MemoryTransport",
        "frames",
    ]


def test_the_request_is_answered_when_the_client_is_there(echo: Echo) -> None:
    request = Request("/ws?x=1", host="example.com", subprotocols=("a", "b"))
    echo.answer = Accept("b")
    client = MemoryClient(echo.build, request, clock=echo.clock)
    assert isinstance(client.response, Accept)
    assert client.response.subprotocol == "b"
    assert [r.target for r in echo.requests] == ["/ws?x=1"]
    assert echo.requests[0].host == "example.com"


def test_a_refusal_is_kept_and_nothing_can_be_sent(echo: Echo) -> None:
    echo.answer = Reject(404, body=b"nothing here")
    client = MemoryClient(echo.build, clock=echo.clock)
    assert isinstance(client.response, Reject)
    assert (client.response.status, client.response.body) == (404, b"nothing here")
    assert not client.send("x")
    assert not client.ping()
    assert not client.close()


def test_a_client_without_a_clock_makes_one() -> None:
    client = MemoryClient(Echo().build)
    client.pipe.advance(1)
    assert client.pipe.clock() == 1


def test_messages_come_in_order(client: MemoryClient) -> None:
    assert client.send("text")
    assert client.send(b"\x00\xff")
    assert [client.recv(), client.recv()] == ["text", b"\x00\xff"]


def test_a_message_that_nobody_sent_is_not_waited_for(client: MemoryClient) -> None:
    with pytest.raises(TimeoutError, match="no message is on its way"):
        client.recv()


def test_messages_can_be_received_after_the_end(client: MemoryClient, echo: Echo) -> None:
    client.send("a")
    echo.session.close(4000, "done", echo.clock())
    client.pipe.run()
    assert client.closed == Close(4000, "done", True)
    assert client.recv() == "a"
    with pytest.raises(ConnectionClosed, match="4000: done"):
        client.recv()


def test_pings_are_answered(client: MemoryClient) -> None:
    assert client.ping(b"1")
    assert client.ping()
    assert client.pongs == [b"1", b""]


def test_close_ends_both_sides(client: MemoryClient, echo: Echo) -> None:
    assert client.close(4001, "enough")
    assert echo.closed == Close(4001, "enough", True)
    assert client.closed == Close(4001, "", True)
    assert client.session.over
    assert echo.session.over


def test_the_caller_s_mistakes_raise(client: MemoryClient) -> None:
    with pytest.raises(TypeError):
        client.send(1)  # type: ignore[arg-type]
    with pytest.raises(LocalProtocolError):
        client.close(1006)


def test_bytes_that_no_client_sends_get_their_answer(client: MemoryClient) -> None:
    client.send_bytes(encode_frame(3, b"", mask=MASK))
    assert client.closed is not None
    assert client.closed.code == CloseCode.PROTOCOL_ERROR
    assert client.frames[-1].opcode == CLOSE


def test_the_server_s_frames_can_be_seen(client: MemoryClient) -> None:
    client.send("hi")
    client.send(b"x" * 70_000)
    client.ping(b"?")
    assert [(f.opcode, f.payload) for f in client.frames] == [
        (TEXT, b"hi"),
        (BINARY, b"x" * 70_000),
        (PONG, b"?"),
    ]


def test_the_client_s_masked_frames_can_be_read_on_the_wire(client: MemoryClient) -> None:
    client.send("hello")
    client.ping(b"?")
    sent = client.pipe.client.sent
    assert sent.endswith(b"\x81\x85" + MASK + b"hello" + b"\x89\x81" + MASK + b"?")
    assert [f.opcode for f in frames(sent, Role.SERVER)] == [TEXT, PING]


def test_frames_of_the_wrong_role_are_an_error(client: MemoryClient) -> None:
    client.send("hello")
    with pytest.raises(ProtocolFailure):
        frames(client.pipe.client.sent, Role.CLIENT)


def test_a_frame_that_is_not_complete_comes_last() -> None:
    sent = b"HTTP/1.1 101 \r\n\r\n" + encode_frame(TEXT, b"a") + encode_frame(TEXT, b"bcd")[:-1]
    assert [(f.payload, f.complete) for f in frames(sent, Role.CLIENT)] == [
        (b"a", True),
        (b"bc", False),
    ]


def test_compression_is_agreed_on_if_the_client_offers_it(echo: Echo) -> None:
    client = MemoryClient(echo.build, clock=echo.clock, deflate=Deflate(threshold=0))
    client.send("x" * 2000)
    assert client.recv() == "x" * 2000
    assert client.frames[0].rsv1


def test_the_keys_come_from_where_it_is_said(echo: Echo) -> None:
    client = MemoryClient(echo.build, clock=echo.clock, random=lambda size: b"\1" * size)
    client.send("hi")
    assert client.pipe.client.sent.endswith(b"\x81\x82\1\1\1\1" + bytes(b ^ 1 for b in b"hi"))
    assert client.recv() == "hi"


def test_a_request_that_nobody_answers_is_refused_in_time(echo: Echo) -> None:
    echo.answer = None
    client = MemoryClient(echo.build, clock=echo.clock)
    assert client.response is None
    client.pipe.advance(5)
    assert isinstance(client.response, Reject)


def test_a_handler_that_raises_is_found(echo: Echo, client: MemoryClient) -> None:
    def fail(message: str | bytes, /) -> None:
        raise ZeroDivisionError

    echo.on_message = fail  # type: ignore[method-assign]
    with pytest.raises(ZeroDivisionError):
        client.send("x")


def test_what_a_derived_client_raises_is_found(echo: Echo) -> None:
    class Strict(MemoryClient):
        def on_message(self, message: str | bytes, /) -> None:
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        Strict(echo.build, clock=echo.clock).send("x")
