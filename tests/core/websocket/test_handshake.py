"""handshake.py: both roles, without a connection. The rules are in rules/."""

import pytest

from sono_core import Accept, Deflate, Limits, Reject, Request
from sono_core.errors import HandshakeFailure
from sono_core.websocket.handshake import ClientHandshake, ServerHandshake


def client(options: Deflate | None = None) -> ClientHandshake:
    return ClientHandshake(Limits(), options, bytes)


def server(options: Deflate | None = None, limits: Limits | None = None) -> ServerHandshake:
    return ServerHandshake(limits or Limits(), options, ())


def test_the_two_roles_understand_each_other() -> None:
    for options in (None, Deflate(), Deflate(context_takeover=True)):
        ours, theirs = client(options), server(options)
        request = theirs.feed(ours.request(Request("/a", host="h", subprotocols=("p",))))
        assert request is not None
        assert (request.target, request.host, request.subprotocols) == ("/a", "h", ("p",))
        answer = ours.feed(theirs.accept(Accept("p")) + b"rest")
        assert isinstance(answer, Accept)
        assert answer.subprotocol == "p"
        assert ours.rest == b"rest"
        assert (ours.agreement is None) == (theirs.agreement is None) == (options is None)


def test_a_refusal_is_read_as_it_was_written() -> None:
    ours, theirs = client(), server()
    theirs.feed(ours.request(Request("/", host="h")))
    answer = ours.feed(theirs.reject(Reject(503, body=b"later")))
    assert isinstance(answer, Reject)
    assert (answer.status, answer.body) == (503, b"later")


def test_a_request_can_be_refused_before_it_is_whole() -> None:
    theirs = server()
    assert theirs.feed(b"GET") is None
    assert theirs.reject(Reject(408)).startswith(b"HTTP/1.1 408 ")


def test_what_follows_the_request_is_put_by_up_to_its_cap() -> None:
    theirs = server(limits=Limits(max_early_data=4))
    assert theirs.feed(client().request(Request("/", host="h")) + b"ab")
    assert theirs.feed(b"cd") is None
    assert theirs.rest == b"abcd"
    assert theirs.feed(b"e") is None
    assert theirs.feed(b"f") is None
    assert theirs.rest == b""
    with pytest.raises(HandshakeFailure) as failure:
        theirs.accept(Accept())
    assert failure.value.status == 400
