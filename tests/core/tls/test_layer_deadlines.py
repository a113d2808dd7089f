"""Deadlines of a session whose bytes go through TLS."""

from __future__ import annotations

import pytest

from sono_core import Close, Reject, Timeouts
from sono_core.lifecycle.deadlines import Deadline
from tests.secure import Pair


@pytest.mark.parametrize("begun", [True, False])
def test_a_server_cuts_off_who_is_late_with_tls(begun: bool) -> None:
    pair = Pair(timeouts=Timeouts(handshake=5.0))
    if begun:
        pair.server.receive(pair.client.take()[:-1])
    assert pair.server.tls.deadlines.next == 5.0
    pair.server.tick(4.9)
    assert not pair.server.tls.over
    pair.server.tls.tick(4.9)  # nothing is due
    assert not pair.server.tls.over
    pair.server.tick(5.0)
    assert pair.server.tls.over
    assert pair.server.take() == b""
    assert pair.server.log == []
    assert pair.server.transport.asked[-1] == "abort"


def test_a_client_is_told_that_tls_took_too_long() -> None:
    pair = Pair(timeouts=Timeouts(handshake=5.0))
    pair.client.tick(5.0)
    assert pair.client.log == [Reject(0, body=b"the TLS handshake took too long")]


def test_the_time_of_tls_counts_as_the_handshakes() -> None:
    pair = Pair(timeouts=Timeouts(handshake=5.0))
    pair.server.receive(pair.client.take())
    pair.server.transport.now = pair.client.transport.now = 4.0
    pair.client.session.outbox.clear()  # the request never comes
    pair.client.receive(pair.server.take())
    pair.server.receive(pair.client.take())
    pair.server.tick(5.0)
    assert not pair.server.tls.over
    data = pair.server.take()
    pair.client.receive(data)
    (refusal,) = pair.client.log
    assert isinstance(refusal, Reject)
    assert refusal.status == 408


def test_an_open_session_pings_through_tls() -> None:
    pair = Pair().opened()
    pair.server.tick(20.0)
    assert Deadline.PONG in pair.server.session.deadlines
    pair.client.receive(pair.server.take())
    pair.server.transport.now = 20.1
    pair.server.receive(pair.client.take())
    pair.server.tick(40.0)
    assert pair.server.session.open


def test_go_away_cuts_off_before_tls_and_closes_after() -> None:
    pair = Pair()
    pair.server.tls.go_away(1001, "stopping", 0.0)
    assert pair.server.tls.over
    assert pair.server.take() == b""
    pair = Pair().opened()
    pair.server.tls.go_away(1001, "stopping", 0.0)
    pair.carry()
    assert pair.client.log == [Close(1001, "stopping", True)]
