"""A tunnel through an HTTP proxy: what leaves when, and every answer that a proxy may give."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sono_core import Accept, Limits, Reject, Request, Role, Session, TextMessage, Timeouts
from sono_core.connect.proxy import parse_proxy
from sono_core.connect.tunnel import Tunnel
from sono_core.lifecycle.deadlines import Deadline
from sono_core.limits import DEFAULT_LIMITS
from sono_core.websocket.outbox import new_outbox
from tests.fakes import FakeTransport, RecordingHandler
from tests.helpers import new_connection

CONNECT = b"CONNECT example.com:80 HTTP/1.1\r\nHost: example.com:80\r\n\r\n"
AGREED = b"HTTP/1.1 200 Connection established\r\n\r\n"


class Rig:
    """A client's session behind a tunnel on a transport in memory, with the server at its end."""

    def __init__(
        self, proxy: str = "http://p:3128", limits: Limits = DEFAULT_LIMITS, room: float = math.inf
    ) -> None:
        self.transport = FakeTransport()
        self.transport.room = room
        self.handler = RecordingHandler()
        self.session = Session(
            new_connection(Role.CLIENT, deflate=None),
            self.transport,
            self.handler,
            now=0.0,
            timeouts=Timeouts(handshake=5.0),
        )
        self.session.connect(Request("/ws", host="example.com"))
        self.tunnel = Tunnel(self.session, "example.com:80", parse_proxy(proxy), limits)
        self.transport.session = self.tunnel  # type: ignore[assignment]
        self.transport.write()
        self.server = new_connection(Role.SERVER, deflate=None)

    def raw(self) -> bytes:
        """The bytes written since the last call."""
        data = bytes(self.transport.wire)
        self.transport.wire.clear()
        return data

    def receives(self, data: bytes, now: float = 0.0) -> None:
        """Feed bytes, as long as the tunnel reads."""
        if self.tunnel.reading:
            self.tunnel.receive(data, now)
            self.transport.write()

    def serve(self) -> bytes:
        """Let the server answer the request that came through the tunnel."""
        (request,) = self.server.receive_data(self.raw())
        assert isinstance(request, Request)
        self.server.send(Accept())
        return self.server.data_to_send()

    @property
    def reason(self) -> str:
        """Why the only attempt failed."""
        (reject,) = self.handler.log
        assert isinstance(reject, Reject)
        assert reject.status == 0
        assert self.tunnel.over
        assert self.transport.asked[-1] == "abort"
        return reject.body.decode()


FIRST = b"what is to go first through the tunnel"


class Inner:
    """The inner layer; records what it is told."""

    def __init__(self) -> None:
        self.told: list[tuple[str, tuple[object, ...]]] = []
        self.outbox = new_outbox()
        self.outbox.append(FIRST)
        self.transport = FakeTransport()
        self.over, self.reading, self.pump_due, self.deadlines = map(str, range(4))

    def __getattr__(self, name: str) -> Callable[..., str]:
        def call(*arguments: object) -> str:
            self.told.append((name, arguments))
            if name == "written":
                self.outbox.advance(arguments[0])  # type: ignore[arg-type]
            return f"{name}'s answer"

        return call


def open_rig() -> Rig:
    rig = Rig()
    rig.raw()
    rig.receives(AGREED)
    return rig


Cut = Callable[[bytes], Iterable[bytes]]


def whole(data: bytes) -> Iterable[bytes]:
    return [data]


def singly(data: bytes) -> Iterable[bytes]:
    return [data[i : i + 1] for i in range(len(data))]


CUT = pytest.mark.parametrize("cut", [whole, singly])


# -- opening it -------------------------------------------------------------------------------


def test_the_proxy_is_asked_first_and_for_the_server_alone() -> None:
    assert Rig().raw() == CONNECT


def test_credentials_go_to_the_proxy_and_only_there() -> None:
    rig = Rig("http://user:secret@p:3128")
    assert b"\r\nProxy-Authorization: Basic dXNlcjpzZWNyZXQ=\r\n" in rig.raw()
    rig.receives(AGREED)
    sent = rig.raw()
    assert sent.startswith(b"GET /ws HTTP/1.1\r\n")
    assert b"uthorization" not in sent


@pytest.mark.parametrize(
    "answer",
    [
        AGREED,
        b"HTTP/1.0 200 OK\r\n\r\n",
        b"HTTP/1.1 200\r\n\r\n",
        b"HTTP/1.1 299 \xe9\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nVia: p\r\nX: \xe9\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n",  # has no meaning here
        b"HTTP/1.1 204 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: many\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nA: b\r\n folded\r\n\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\n" + AGREED,
        b"HTTP/1.1 102 Wait\r\nX: y\r\n\r\n" * 8 + AGREED,
    ],
)
@CUT
def test_2xx_opens_the_tunnel(answer: bytes, cut: Cut) -> None:
    rig = Rig()
    rig.raw()
    *first, last = cut(answer)
    for data in first:
        rig.receives(data)
    assert not rig.tunnel.opened
    assert not rig.transport.wire, "the request must wait for the proxy"
    rig.receives(last)
    assert rig.tunnel.opened
    assert rig.raw().startswith(b"GET /ws HTTP/1.1\r\n")


def test_when_it_is_open_the_transport_is_asked_to_write() -> None:
    rig = Rig()
    rig.transport.asked.clear()
    rig.tunnel.receive(AGREED, 0)
    assert rig.transport.asked == ["write_soon"]


def test_what_follows_the_response_belongs_to_the_inner_layer() -> None:
    rig = Rig()
    rig.raw()
    rig.receives(AGREED + b"HTTP/1.1 403 No\r\nContent-Length: 0\r\n\r\n")
    (reject,) = rig.handler.log
    assert isinstance(reject, Reject)
    assert reject.status == 403
    assert rig.tunnel.status is None


def test_messages_go_both_ways_and_the_end_comes_through() -> None:
    rig = open_rig()
    rig.receives(rig.serve())
    assert isinstance(rig.handler.log[0], Accept)
    rig.server.send(TextMessage("to the client"))
    rig.receives(rig.server.data_to_send())
    assert rig.handler.log[1:] == ["to the client"]
    assert rig.session.send(TextMessage("to the server"))
    rig.transport.write()
    assert list(rig.server.receive_data(rig.raw())) == [TextMessage("to the server")]
    rig.receives(b"")
    (close,) = rig.handler.closes
    assert close.code == 1006


@given(st.lists(st.integers(0, 400), max_size=6))
def test_any_chunking_gives_the_same(cuts: list[int]) -> None:
    rig = Rig()
    data = b"HTTP/1.1 103 Early\r\nA: b\r\n\r\n" + AGREED
    follows = open_rig().serve() + b"\x81\x02hi"  # its key is the same: the randomness repeats
    data += follows
    bounds = sorted({0, len(data), *(cut for cut in cuts if cut < len(data))})
    for start, end in itertools.pairwise(bounds):
        rig.receives(data[start:end])
    assert isinstance(rig.handler.log[0], Accept)
    assert rig.handler.log[1:] == ["hi"]


# -- refusals ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answer", "status", "reason"),
    [
        (b"407 Who are you\r\nProxy-Authenticate: Basic", 407, "407: Who are you"),
        (b"403 Forbidden\r\nContent-Length: 3", 403, "403: Forbidden"),
        (b"502", 502, "502"),
        (b"302 Found\r\nLocation: http://evil/", 302, "302: Found"),
    ],
)
@CUT
def test_a_refusal_is_told_with_its_status(
    answer: bytes, status: int, reason: str, cut: Cut
) -> None:
    rig = Rig()
    rig.raw()
    for data in cut(b"HTTP/1.1 " + answer + b"\r\n\r\nbody"):
        rig.receives(data)
    assert rig.reason == f"proxy p:3128: refused with status {reason}"
    assert rig.tunnel.status == status
    assert len(rig.tunnel.headers) == (b": " in answer)
    assert rig.raw() == b"", "nothing may leave for the server"


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (b"SSH-2.0-OpenSSH_9\r\n\r\n", "malformed response"),
        (b"HTTP/0.1 200 OK\r\n\r\n", "the response is not HTTP/1"),
        (b"HTTP/5.1 200 OK\r\n\r\n", "the response is not HTTP/1"),
        (b"HTTP/1.1 200 OK\n\n", "a line does not end with CRLF"),
        (b"HTTP/1.1 200 OK\r\nA: \x00\r\n\r\n", "control character in the head"),
        (b"HTTP/1.1 200 OK\r\n folded\r\n\r\n", "folded header field"),
        (b"HTTP/1.1 200 OK\r\nno colon\r\n\r\n", "malformed response"),
        (b"HTTP/1.1 101 Switching Protocols\r\n\r\n", "malformed response"),
        (b"\x15\x03\x01\x00\x02\x02\x0a", "the peer speaks TLS: use https://"),
        (b"\x16\x03\x01", "the peer speaks TLS: use https://"),
        (b"\x17\x03\x01", "the head begins with a space or a control character"),
        (b"HTTP/1.1 200 " + b"x" * 9000, "the head or a line of it is too long"),
        (b"HTTP/1.1 200 OK\r\n" + b"a: b\r\n" * 65, "too many header fields"),
        (b"HTTP/1.1 100 Continue\r\n\r\n" * 9, "too many interim responses"),
    ],
)
@CUT
def test_what_is_no_acceptable_response_ends_the_attempt(
    answer: bytes, reason: str, cut: Cut
) -> None:
    rig = Rig()
    rig.raw()
    for data in cut(answer):
        rig.receives(data)
    assert rig.reason == f"proxy p:3128: {reason}"
    assert rig.tunnel.status is None
    assert rig.raw() == b""


def test_limits_bound_the_response() -> None:
    rig = Rig(limits=Limits(max_head=64))
    rig.receives(b"HTTP/1.1 200 OK\r\n" + b"a: b\r\n" * 10)
    assert "too long" in rig.reason


@given(st.lists(st.binary(max_size=20) | st.sampled_from(AGREED.splitlines(keepends=True))))
def test_no_bytes_of_a_proxy_raise(pieces: Iterable[bytes]) -> None:
    rig = Rig()
    for data in filter(None, pieces):
        rig.receives(data)
    assert len(rig.handler.log) <= 1


# -- the end of the stream and of the time ----------------------------------------------------


@pytest.mark.parametrize("before", [b"", b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 100 Go on\r\n\r\n"])
def test_a_proxy_that_ends_the_stream_is_named(before: bytes) -> None:
    rig = Rig()
    if before:
        rig.receives(before)
    rig.receives(b"")
    assert rig.reason == "proxy p:3128: ended the connection before the tunnel was open"


def test_when_the_stream_breaks_its_reason_is_told() -> None:
    rig = Rig()
    rig.tunnel.lost(reason="Connection reset by peer")
    assert rig.reason == "proxy p:3128: Connection reset by peer"


def test_a_refusal_that_could_still_be_read_is_told() -> None:
    rig = Rig()
    rig.tunnel.lost(b"HTTP/1.1 403 Forbidden\r\n\r\n")
    assert rig.reason == "proxy p:3128: refused with status 403: Forbidden"


def test_an_agreement_that_could_still_be_read_is_of_no_use() -> None:
    rig = Rig()
    rig.tunnel.lost(AGREED)
    assert rig.reason == "proxy p:3128: ended the connection before the tunnel was open"


def test_a_stream_that_breaks_later_is_the_inner_layers_matter() -> None:
    rig = open_rig()
    rig.tunnel.lost(b"HTTP/1.1 403 No\r\nContent-Length: 0\r\n\r\n")
    (reject,) = rig.handler.log
    assert isinstance(reject, Reject)
    assert reject.status == 403


def test_one_deadline_counts_for_the_proxy_and_the_server() -> None:
    rig = Rig()
    assert rig.tunnel.deadlines.next == 5.0
    rig.receives(b"HTTP/1.1 100 Go on\r\n\r\n", now=4.0)
    rig.tunnel.tick(4.9)
    assert not rig.tunnel.over
    rig.tunnel.tick(5.0)
    assert rig.reason == "proxy p:3128: took too long to open the tunnel"


def test_the_servers_part_of_the_time_is_what_the_proxy_left() -> None:
    rig = Rig()
    rig.receives(AGREED, now=4.0)
    assert rig.tunnel.deadlines.next == 5.0
    rig.tunnel.tick(5.0)
    assert rig.reason == "the handshake took too long"


# -- the inner layer ----------------------------------------------------------------------------


def test_the_outbox_is_one_and_the_same_object_all_the_time() -> None:
    rig = Rig()
    rig.raw()
    assert rig.tunnel.outbox is rig.session.outbox
    rig.receives(AGREED)
    assert rig.tunnel.outbox is rig.session.outbox
    rig.receives(rig.serve())
    assert rig.tunnel.outbox is rig.session.outbox


@pytest.mark.parametrize("step", [1, 7, len(CONNECT) + 1])
def test_the_inner_layer_is_told_of_its_own_bytes_alone(step: int) -> None:
    inner = Inner()
    tunnel = Tunnel(inner, "example.com:80", parse_proxy("p"))  # type: ignore[arg-type]
    tunnel.receive(AGREED, 0)  # from a proxy that has not read all of the request
    wire = b""
    while tunnel.outbox.size:
        size = min(step, len(tunnel.outbox.peek()))
        wire += tunnel.outbox.peek()[:size]
        tunnel.written(size, 0)
    assert wire == CONNECT + FIRST
    assert sum(size for name, (size, _) in inner.told if name == "written") == len(FIRST)


def test_a_proxy_that_takes_nothing_has_the_handshakes_time_and_no_other() -> None:
    rig = Rig(room=0)
    assert rig.tunnel.outbox.size == len(CONNECT)
    assert Deadline.STALL not in rig.tunnel.deadlines
    rig.receives(AGREED)
    assert Deadline.STALL in rig.tunnel.deadlines


def test_an_open_tunnel_passes_every_call_on() -> None:
    inner = Inner()
    tunnel = Tunnel(inner, "example.com:80", parse_proxy("p"))  # type: ignore[arg-type]
    tunnel.written(len(CONNECT), 0)
    tunnel.receive(AGREED, 0)
    assert inner.told == []
    for name in ("outbox", "deadlines", "over", "reading", "pump_due", "transport"):
        assert getattr(tunnel, name) is getattr(inner, name)
    calls: list[tuple[str, tuple[object, ...]]] = [
        ("fast_path", ()),
        ("receive", (b"x", 1)),
        ("pump", (2, 3, 4)),
        ("written", (len(FIRST), 6)),
        ("blocked", (7,)),
        ("tick", (8,)),
        ("go_away", (1001, "bye", 9)),
        ("lost", (b"y", "z")),
    ]
    assert tunnel.fast_path() == "fast_path's answer"  # type: ignore[comparison-overlap]
    for name, arguments in calls[1:]:
        getattr(tunnel, name)(*arguments)
    assert inner.told == calls


def test_what_feeds_the_fast_path_finds_there_what_it_finds_on_a_session() -> None:
    rig = open_rig()
    rig.receives(rig.serve())
    assert rig.tunnel.fast_path() is rig.session.connection.reader
    assert rig.tunnel.handler is rig.handler
    rig.tunnel.last_received = 7.0
    assert rig.tunnel.last_received == rig.session.last_received == 7.0
    error = RuntimeError("in a handler")
    rig.tunnel.failed(error, 7.0)
    assert rig.handler.errors == [error]
    assert not rig.session.open


def test_a_layer_below_may_take_the_transports_place() -> None:
    rig = Rig()
    other = FakeTransport()
    assert rig.tunnel.transport is rig.transport
    rig.tunnel.transport = other
    other.session = rig.tunnel  # type: ignore[assignment]
    rig.tunnel.receive(AGREED, 0)
    assert rig.session.transport is other
    assert other.asked == ["write_soon"]
