"""A server's answer to a request, and the bytes that follow the request meanwhile."""

import pytest

from sono_core import (
    Accept,
    BinaryMessage,
    Close,
    Headers,
    Limits,
    Reject,
    Request,
    Role,
    State,
    TextMessage,
)
from tests.rules.peers import (
    BINARY,
    CLOSE,
    FIN,
    RSV2,
    TEXT,
    arrivals,
    connecting,
    frames,
    outcome,
    raw,
    request,
)

# -- what follows the request -----------------------------------------------------------------


def test_frames_behind_the_request_are_told_after_accept() -> None:
    data = request() + frames(Role.SERVER, (FIN | TEXT, b"a"), (FIN | BINARY, b"b"))
    result = outcome(lambda: connecting(Role.SERVER), data)
    first, *events = result.events
    assert isinstance(first, Request)
    assert events == [TextMessage("a"), BinaryMessage(b"b")]


def test_frames_behind_the_request_are_never_processed_before_the_101() -> None:
    data = request() + frames(Role.SERVER, (FIN | TEXT, b"a"))
    for pieces in arrivals(data):
        server = connecting(Role.SERVER)
        events = [event for piece in pieces for event in server.receive_data(piece)]
        (event,) = events
        assert isinstance(event, Request)
        assert server.data_to_send() == b""
        server.send(Accept())
        assert list(server.receive_data(frames(Role.SERVER, (FIN | TEXT, b"b")))) == [
            TextMessage("a"),
            TextMessage("b"),
        ]


def test_frames_that_nobody_asked_for_before_accept_are_not_lost() -> None:
    server = connecting(Role.SERVER)
    events = server.receive_data(request())
    next(events)
    server.receive_data(frames(Role.SERVER, (FIN | TEXT, b"a")))
    server.receive_data(frames(Role.SERVER, (FIN | TEXT, b"b")))
    server.send(Accept())
    assert list(events) == [TextMessage("a"), TextMessage("b")]


def test_a_bad_frame_in_the_segment_of_the_request_is_1002_after_the_101() -> None:
    data = request() + raw(FIN | RSV2 | TEXT)
    result = outcome(lambda: connecting(Role.SERVER), data)
    first, close = result.events
    assert isinstance(first, Request)
    assert isinstance(close, Close)
    assert close.code == 1002
    assert result.sent.startswith(b"HTTP/1.1 101 ")


@pytest.mark.parametrize("extra", [0, 1])
@pytest.mark.parametrize("pulled", [True, False])
def test_more_than_max_early_data_before_the_answer_is_400(extra: int, pulled: bool) -> None:
    early = frames(Role.SERVER, (FIN | BINARY, b"x" * 1000))
    limits = Limits(max_early_data=len(early))
    data = early + b"\x81" * extra
    for cut in (0, 1, 500, len(data)):
        server = connecting(Role.SERVER, limits=limits)
        list(server.receive_data(request() + data[:cut]))
        if data[cut:]:
            events = server.receive_data(data[cut:])
            if pulled:
                assert list(events) == []
        if extra:
            list(server.receive_data(early))  # nothing counts after the limit
        server.send(Accept())
        status = server.data_to_send()[9:12]
        assert status == (b"400" if extra else b"101")
        if not extra:
            assert list(server.receive_data(b"\x81")) == [BinaryMessage(b"x" * 1000)]


def test_by_default_64_kib_may_follow_the_request() -> None:
    assert Limits().max_early_data == 64 * 1024
    server = connecting(Role.SERVER)
    (event,) = server.receive_data(request() + bytes(64 * 1024 + 1))
    assert isinstance(event, Request)
    server.send(Accept())
    assert server.data_to_send().startswith(b"HTTP/1.1 400 ")


# -- answers ----------------------------------------------------------------------------------


def test_a_request_that_is_no_upgrade_is_told_and_may_be_answered() -> None:
    for data in (
        b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
        b"POST /form HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc",
    ):
        server = connecting(Role.SERVER)
        (event,) = server.receive_data(data)
        assert isinstance(event, Request)
        server.send(Reject(200, Headers({"X-Name": "v"}), b"hello"))
        assert server.data_to_send() == (
            b"HTTP/1.1 200 OK\r\nX-Name: v\r\nConnection: close\r\nContent-Length: 5\r\n\r\nhello"
        )
        assert server.state is State.CLOSED
        assert list(server.receive_data(data)) == []


def test_the_end_of_the_stream_before_a_request_gives_no_event() -> None:
    for cut in range(len(request()) - 1):
        server = connecting(Role.SERVER)
        assert list(server.receive_data(request()[:cut] or b"G")) == []
        assert list(server.receive_data(b"")) == []
        assert server.state is State.CLOSED
        assert server.data_to_send() == b""


def test_the_end_of_the_stream_behind_a_request_does_not_forbid_its_answer() -> None:
    for answer in (Accept(), Reject(404)):
        server = connecting(Role.SERVER)
        (event,) = [*server.receive_data(request()), *server.receive_data(b"")]
        assert isinstance(event, Request)
        server.send(answer)
        assert server.data_to_send().startswith(b"HTTP/1.1 ")
        closes = list(server.receive_data(b""))
        assert [type(close) for close in closes] == ([Close] if answer == Accept() else [])
        assert server.state is State.CLOSED


def test_a_close_in_the_segment_of_the_request_is_echoed_after_the_101() -> None:
    result = outcome(
        lambda: connecting(Role.SERVER), request() + frames(Role.SERVER, (FIN | CLOSE, b""))
    )
    assert result.events[1:] == [Close(1005, "", True)]
    assert result.sent.endswith(b"\r\n\r\n\x88\x00")
