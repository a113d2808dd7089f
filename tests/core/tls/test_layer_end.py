"""The end of a stream in TLS: clean, cut off or lost; nothing stays behind."""

from __future__ import annotations

import gc
import ssl
import weakref
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest

from sono_core import BinaryMessage, Close, Reject, Role, State, TextMessage
from tests.certificates import client_side, server_side
from tests.secure import CUTS, VERSIONS, Pair

KIB = 1024


# -- the end of the stream --------------------------------------------------------------------


@pytest.mark.parametrize("cut", CUTS)
@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("role", list(Role))
def test_a_close_is_clean_for_both(
    role: Role, version: ssl.TLSVersion, cut: Callable[[bytes], Iterator[bytes]]
) -> None:
    context = client_side()
    context.minimum_version = context.maximum_version = version
    pair = Pair(client=context, cut=cut).opened()
    first, second = pair.server, pair.client
    if role is Role.CLIENT:
        first, second = second, first
    first.session.send(BinaryMessage(bytes(100 * KIB)))
    first.session.close(1000, "bye", 0.0)
    pair.carry()
    assert second.log == [bytes(100 * KIB), Close(1000, "bye", True)]
    assert first.log == [Close(1000, "", True)]
    assert first.tls.over
    assert second.tls.over


def test_a_servers_end_says_that_it_is_one_and_a_clients_too() -> None:
    pair = Pair().opened()
    pair.client.session.close(1000, "", 0.0)
    pair.server.receive(pair.client.take())
    data = pair.server.take()
    assert "close" in pair.server.transport.asked
    pair.client.receive(data)  # the stream itself has not ended, but TLS has
    assert pair.client.tls.over
    assert "abort" in pair.client.transport.asked
    assert not pair.server.tls.over
    pair.server.receive(bytes(pair.client.transport.wire))
    assert pair.server.tls.over


def test_the_end_comes_after_everything_that_was_sent() -> None:
    pair = Pair().opened()
    pair.server.transport.room = 70 * KIB
    pair.server.session.send(BinaryMessage(bytes(200 * KIB)))
    pair.server.session.close(1000, "", 0.0)
    pair.client.session.close(1000, "", 0.0)
    pair.carry()
    assert "close" not in pair.server.transport.asked
    pair.server.transport.room = 10**9
    pair.carry()
    assert pair.client.handler.closes == [Close(1000, "", True)]
    assert pair.client.tls.over
    assert pair.server.tls.over


@pytest.mark.parametrize("role", list(Role))
def test_a_stream_that_is_cut_off_ends_with_1006(role: Role) -> None:
    pair = Pair().opened()
    end, other = pair.server, pair.client
    if role is Role.CLIENT:
        end, other = other, end
    other.session.send(TextMessage("last"))
    end.receive(other.take())
    end.receive(b"")
    assert end.log == ["last", Close(1006, "the connection ended", False)]
    assert end.tls.over
    assert end.transport.asked[-1] == "abort"


def test_a_cut_between_close_frame_and_end_is_no_matter() -> None:
    pair = Pair().opened()
    pair.client.session.close(1000, "", 0.0)
    pair.server.receive(pair.client.take())
    pair.server.take()
    pair.server.receive(b"")
    assert pair.server.log == [Close(1000, "", True)]
    assert pair.server.tls.over


@pytest.mark.parametrize("role", list(Role))
def test_an_end_of_tls_alone_is_no_close_of_a_websocket(role: Role) -> None:
    pair = Pair().opened()
    end, other = pair.server, pair.client
    if role is Role.CLIENT:
        end, other = other, end
    other.tls.close()
    end.receive(other.take())
    assert end.log == [Close(1006, "the connection ended", False)]


def test_what_follows_the_end_is_ignored() -> None:
    pair = Pair().opened()
    pair.client.tls.close()
    pair.server.receive(pair.client.take())
    pair.server.receive(b"whatever")
    pair.server.receive(b"")
    assert len(pair.server.log) == 1


@pytest.mark.parametrize("role", list(Role))
def test_an_end_in_the_handshake_is_told_as_that(role: Role) -> None:
    pair = Pair()
    if role is Role.CLIENT:
        pair.client.take()
        pair.client.receive(b"")
        pair.client.tick(0.0)
        assert pair.client.log == [Reject(0, body=b"the connection ended in the TLS handshake")]
        assert pair.client.tls.over
    else:
        pair.server.receive(pair.client.take())
        pair.server.receive(b"")
        pair.server.tick(0.0)
        assert pair.server.log == []
        assert pair.server.tls.over


def test_a_response_that_is_cut_off_is_no_connection() -> None:
    pair = Pair()
    pair.server.handler.reactions.clear()
    pair.carry()
    assert pair.client.tls.reading
    pair.client.receive(b"")
    (reject,) = pair.client.log
    assert isinstance(reject, Reject)
    assert reject.status == 0


@pytest.mark.parametrize("orderly", [True, False])
def test_an_end_waits_while_the_session_reads_nothing(orderly: bool) -> None:
    pair = Pair().opened()
    pair.client.session.send(TextMessage("one"))
    pair.client.session.send(TextMessage("two"))
    hold = partial(pair.server.session.hold, ahead=False)
    pair.server.handler.reactions["on_message"] = hold
    if orderly:
        pair.client.tls.close()
    pair.server.receive(pair.client.take())
    if not orderly:
        pair.server.receive(b"")
    assert pair.server.log == ["one"]
    assert not pair.server.tls.reading
    assert not pair.server.tls.pump_due
    pair.server.handler.reactions.clear()
    pair.server.session.release()
    while pair.server.tls.pump_due:
        pair.server.tls.pump(0.0)
    assert pair.server.log == ["one", "two", Close(1006, "the connection ended", False)]


@pytest.mark.parametrize("orderly", [True, False])
def test_an_end_is_seen_though_the_session_holds(orderly: bool) -> None:
    pair = Pair().opened()
    pair.server.session.hold()
    pair.client.session.send(TextMessage("one"))
    if orderly:
        pair.client.tls.close()
    pair.server.receive(pair.client.take())
    if not orderly:
        pair.server.receive(b"")
    while pair.server.tls.pump_due:
        pair.server.tls.pump(0.0)
    assert pair.server.log == ["one", Close(1006, "the connection ended", False)]


# -- lost -------------------------------------------------------------------------------------


def test_the_rest_of_a_lost_stream_is_read() -> None:
    pair = Pair().opened()
    pair.client.session.send(TextMessage("last"))
    pair.client.session.close(1000, "bye", 0.0)
    pair.server.tls.lost(pair.client.take())
    assert pair.server.log == ["last", Close(1000, "bye", True)]
    assert pair.server.transport.asked[-1] == "abort"


def test_an_alert_in_the_rest_of_a_lost_stream_is_the_reason() -> None:
    context = server_side()
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    mine = client_side()
    mine.maximum_version = ssl.TLSVersion.TLSv1_2
    pair = Pair(server=context, client=mine)
    pair.server.receive(pair.client.take())
    pair.client.tls.lost(bytes(pair.server.transport.wire))
    assert pair.client.log == [Reject(0, body=b"the peer refused TLS: protocol version")]


def test_a_reason_is_passed_on() -> None:
    pair = Pair()
    pair.client.tls.lost(reason="unplugged")
    assert pair.client.log == [Reject(0, body=b"unplugged")]
    pair.client.tls.lost(b"once is enough")
    assert len(pair.client.log) == 1


def test_a_lost_stream_is_not_written_to() -> None:
    pair = Pair().opened()
    pair.client.tls.close()
    pair.server.tls.lost(pair.client.take())
    assert pair.server.take() == b""
    assert "write_now" not in pair.server.transport.asked


# -- what is left -----------------------------------------------------------------------------


def end_cleanly(pair: Pair) -> None:
    pair.client.session.close(1000, "", 0.0)
    pair.carry()


def cut_off(pair: Pair) -> None:
    pair.server.receive(b"")
    pair.client.receive(b"")


def spoil(pair: Pair) -> None:
    for end in (pair.client, pair.server):
        end.receive(b"\x17\x03\x03\x00\x40" + bytes(64))
        end.tick(0.0)


@pytest.mark.parametrize("finish", [end_cleanly, cut_off, spoil])
def test_many_connections_leave_nothing_to_the_garbage_collector(
    finish: Callable[[Pair], None],
) -> None:
    client, server = client_side(), server_side()
    left: list[weakref.ref[Any]] = []
    gc.collect()
    gc.disable()
    try:
        for _ in range(334):  # of both sides, and in three ways
            pair = Pair(client=client, server=server).opened()
            finish(pair)
            for end in (pair.client, pair.server):
                assert end.tls.over
                assert end.tls.tls is None
                left += [weakref.ref(end.transport), weakref.ref(end.handler)]
                end.handler.reactions.clear()  # which refer to the handler's own side
        del pair, end
        assert not any(reference() for reference in left)
    finally:
        gc.enable()


def test_after_the_end_calls_do_no_harm() -> None:
    pair = Pair().opened()
    end = pair.server
    end.tls.lost()
    asked = list(end.transport.asked)
    end.tls.receive(b"late", 1.0)
    end.tls.pump(1.0)
    end.tls.tick(1.0)
    end.tls.blocked(1.0)
    end.tls.write_soon()
    end.tls.write_now()
    end.tls.close()
    end.tls.abort()
    end.tls.lost(b"late")
    assert not end.tls.reading
    assert end.tls.outbox.size == 0
    assert end.transport.asked == asked
    assert end.session.connection.state in (State.OPEN, State.CLOSED)
