"""errors.py: what exceptions carry, and what they say."""

from sono_core import LocalProtocolError, SonoError
from sono_core.errors import (
    ConnectError,
    ConnectionClosed,
    HandshakeFailure,
    ProtocolFailure,
    RequestFailed,
)


def test_every_exception_is_a_sono_error() -> None:
    for kind in (
        LocalProtocolError,
        ProtocolFailure,
        HandshakeFailure,
        ConnectError,
        ConnectionClosed,
    ):
        assert issubclass(kind, SonoError)


def test_failures_carry_what_the_answer_needs() -> None:
    failure = ProtocolFailure(1002, "reserved bit set")
    assert (failure.code, failure.reason, str(failure)) == (1002, *["reserved bit set"] * 2)
    refusal = HandshakeFailure(405, "use GET", (("allow", "GET"),))
    assert (refusal.status, refusal.reason, refusal.headers) == (
        405,
        "use GET",
        (("allow", "GET"),),
    )
    assert HandshakeFailure(400, "x").headers == ()


def test_what_users_see_says_what_happened() -> None:
    error = ConnectError("a:80: refused", 403)
    assert (str(error), error.status) == ("a:80: refused", 403)
    assert ConnectError("a:80: no answer").status is None
    closed = ConnectionClosed(1001, "bye")
    assert (closed.code, closed.reason, str(closed)) == (1001, "bye", "closed with 1001: bye")
    assert str(ConnectionClosed(1005, "")) == "closed with 1005"
    failed = RequestFailed("timeout", "too late", temporary=True)
    assert (failed.code, failed.text, failed.temporary) == ("timeout", "too late", True)
    assert str(failed) == "timeout: too late"
    assert not RequestFailed("forbidden", "no").temporary
