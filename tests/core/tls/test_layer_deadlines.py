"""TLS around sessions: bytes in any chunking, every way to fail and to end, back-pressure."""

from __future__ import annotations

import contextlib
import gc
import random
import shutil
import socket
import ssl
import subprocess
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from sono_core import (
    BinaryMessage,
    Close,
    Limits,
    Reject,
    Request,
    Role,
    State,
    TextMessage,
    Timeouts,
)
from sono_core.connect.proxy import parse_proxy
from sono_core.connect.tunnel import Tunnel
from sono_core.lifecycle.deadlines import Deadline
from sono_core.tls.layer import SecureSession
from tests import certificates
from tests.certificates import client_side, server_side
from tests.conftest import require
from tests.secure import CUTS, End, Pair, random_cuts

KIB = 1024
VERSIONS = [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3]


# -- bytes ------------------------------------------------------------------------------------


@pytest.mark.parametrize("cut", CUTS)
@pytest.mark.parametrize("version", VERSIONS)
def test_any_chunking_carries_the_same(
    cut: Callable[[bytes], Iterator[bytes]], version: ssl.TLSVersion
) -> None:
    context = client_side()
    context.minimum_version = context.maximum_version = version
    pair = Pair(client=context, cut=cut).opened()
    messages: list[str | bytes] = ["small", b"", "é" * 9000, b"x" * 16384, b"y" * 40000]
    for message in messages:
        event = TextMessage(message) if isinstance(message, str) else BinaryMessage(message)
        assert pair.client.session.send(event)
        assert pair.server.session.send(event)
    pair.carry()
    assert pair.client.log == messages
    assert pair.server.log == messages


def test_nothing_is_sent_in_the_clear() -> None:
    pair = Pair()
    seen = b""
    for _ in range(5):
        for end, other in ((pair.client, pair.server), (pair.server, pair.client)):
            seen += (data := end.take())
            if data:
                other.receive(data)
    assert pair.client.session.open
    assert pair.client.session.send(TextMessage("a secret"))
    seen += pair.client.take()
    assert b"HTTP" not in seen
    assert b"secret" not in seen


def test_what_comes_with_the_end_of_the_handshake_is_read_at_once() -> None:
    pair = Pair()
    pair.server.receive(pair.client.take())  # ClientHello
    pair.client.receive(pair.server.take())  # everything of the server's
    pair.server.receive(pair.client.take())  # Finished, and the request in the same segment
    assert isinstance(pair.server.log[0], Request)


def test_a_flight_of_records_in_one_read_is_dealt_with_at_once() -> None:
    pair = Pair().opened()
    for number in range(100):
        pair.client.session.send(TextMessage(str(number)))
        pair.client.transport.write()  # each in a record of its own
    pair.server.receive(pair.client.take())
    assert pair.server.log == [str(number) for number in range(100)]


def test_a_record_that_has_not_come_whole_waits_for_its_rest() -> None:
    pair = Pair().opened()
    pair.client.session.send(TextMessage("one"))
    data = pair.client.take()
    pair.server.receive(data[:-1])
    assert pair.server.log == []
    assert pair.server.tls.reading
    pair.server.receive(data[-1:])
    assert pair.server.log == ["one"]


@pytest.mark.parametrize("hostname", ["localhost", "127.0.0.1", "::1"])
def test_names_and_addresses_are_verified(hostname: str) -> None:
    Pair(hostname=hostname).opened()


def test_the_servers_name_is_told_to_the_server() -> None:
    names: list[str | None] = []
    context = server_side()
    context.sni_callback = lambda tls, name, context: names.append(name)
    Pair(server=context).opened()
    Pair(server=context, hostname="127.0.0.1").opened()
    assert names == ["localhost", None]


def test_http_1_1_is_agreed_on() -> None:
    pair = Pair().opened()
    for end in (pair.client, pair.server):
        assert end.tls.tls is not None
        assert end.tls.tls.selected_alpn_protocol() == "http/1.1"


def test_there_is_no_path_around_tls() -> None:
    pair = Pair().opened()
    assert pair.server.session.fast_path() is not None
    assert pair.server.tls.fast_path() is None


def test_the_outbox_is_always_the_same() -> None:
    pair = Pair()
    outboxes = [end.tls.outbox for end in (pair.client, pair.server)]
    pair.opened().client.session.close(1000, "", 0.0)
    pair.carry()
    assert [end.tls.outbox for end in (pair.client, pair.server)] == outboxes


# -- certificates -----------------------------------------------------------------------------


REFUSED = {
    "wrong name": (
        certificates.wrong_name,
        "Hostname mismatch, certificate is not valid for 'localhost'.",
    ),
    "self-signed": (certificates.self_signed, "self-signed certificate"),
    "expired": (certificates.expired, "certificate has expired"),
}


@pytest.mark.parametrize("fault", REFUSED)
def test_a_bad_certificate_is_refused(fault: str) -> None:
    make, reason = REFUSED[fault]
    told = Pair(server=server_side(make())).refusal()
    assert told.replace("self signed", "self-signed") == f"certificate verify failed: {reason}"


def test_a_certificate_for_another_address_is_refused() -> None:
    reason = Pair(hostname="127.0.0.2").refusal()
    assert reason.startswith("certificate verify failed: IP address mismatch")


def test_an_authority_that_is_not_known_is_refused() -> None:
    reason = Pair(client=client_side(trusting=False)).refusal()
    assert reason == "certificate verify failed: unable to get local issuer certificate"


def test_the_server_sees_why_it_was_refused() -> None:
    pair = Pair(server=server_side(certificates.expired()))
    pair.server.receive(pair.client.take())
    pair.client.receive(pair.server.take())
    assert not pair.client.tls.over  # the alert first
    pair.server.receive(pair.client.take())
    assert pair.server.tls._failure == "the peer refused TLS: certificate expired"


def test_a_client_without_the_certificate_that_is_wanted_is_told() -> None:
    context = server_side()
    context.verify_mode = ssl.CERT_REQUIRED
    certificates.authority().configure_trust(context)
    pair = Pair(server=context)
    reason = pair.refusal()
    assert reason in (
        "the peer refused TLS: certificate required",  # RFC 8446, section 6.2
        "the peer refused TLS: handshake failure",
    )


def test_a_clients_certificate_can_be_asked_for() -> None:
    context = server_side()
    context.verify_mode = ssl.CERT_REQUIRED
    certificates.authority().configure_trust(context)
    mine = client_side()
    certificates.of_client().configure_cert(mine)
    pair = Pair(server=context, client=mine).opened()
    assert pair.server.tls.tls is not None
    assert pair.server.tls.tls.getpeercert()


def test_a_version_that_the_server_does_not_speak_is_told() -> None:
    context = server_side()
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    mine = client_side()
    mine.maximum_version = ssl.TLSVersion.TLSv1_2
    assert Pair(server=context, client=mine).refusal() == "the peer refused TLS: protocol version"


# -- who does not speak TLS -------------------------------------------------------------------


@pytest.mark.parametrize("cut", CUTS)
@pytest.mark.parametrize(
    "data",
    [
        b"GET /ws HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"CONNECT localhost:443 HTTP/1.1\r\n\r\n",
        b"SSH-2.0-OpenSSH\r\n",
        bytes(100),
        b"\xff" * 100,
        b"\x16\x03\x01\xff\xff" + b"a" * 100,
        b"\x16\x03\x01\x00\x64" + b"a" * 100,
    ],
)
def test_a_server_tells_who_speaks_no_tls_so_and_ends(
    data: bytes, cut: Callable[[bytes], Iterator[bytes]]
) -> None:
    end = End(Role.SERVER, server_side())
    for piece in cut(data):
        if end.tls.reading:
            end.receive(piece)
    answer = end.take()
    assert answer[0] == 21  # an alert (RFC 8446, section 5.1)
    assert answer[1] == 3
    assert answer[3:6] == b"\x00\x02\x02"  # fatal
    assert len(answer) == 7
    assert not end.tls.wants_data
    end.tick(0.0)
    assert end.tls.over
    assert end.transport.asked[-1] == "abort"
    assert end.log == []


@pytest.mark.parametrize("cut", CUTS)
def test_a_client_tells_that_the_server_speaks_no_tls(
    cut: Callable[[bytes], Iterator[bytes]],
) -> None:
    end = End(Role.CLIENT, client_side(), "localhost")
    end.take()
    for piece in cut(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n"):
        if end.tls.reading:
            end.receive(piece)
    end.tick(0.0)
    assert end.log == [Reject(0, body=b"the peer does not speak TLS")]
    assert end.tls.over


@pytest.mark.parametrize("role", list(Role))
def test_a_spoiled_record_ends_an_open_connection(role: Role) -> None:
    pair = Pair().opened()
    good, bad = (pair.server, pair.client)
    if role is Role.CLIENT:
        good, bad = bad, good
    bad.session.send(TextMessage("before"))
    first = bad.take()
    bad.session.send(TextMessage("spoiled"))
    second = bytearray(bad.take())
    second[-1] ^= 1
    good.receive(first + bytes(second))
    assert good.log == ["before"]
    assert good.take()  # an alert
    good.tick(0.0)
    assert good.log == ["before", Close(1006, "the connection ended", False)]
    assert good.transport.asked[-1] == "abort"


@pytest.mark.parametrize("seed", range(20))
def test_no_garbage_raises(seed: int) -> None:
    source = random.Random(seed)
    pair = Pair()
    pair.server.receive(pair.client.take())
    data = bytearray(pair.server.take())
    for _ in range(1 + seed % 5):
        data[source.randrange(len(data))] = source.randrange(256)
    for piece in random_cuts(bytes(data)):
        if pair.client.tls.reading:
            pair.client.receive(piece)
    pair.client.take()
    pair.client.tick(100.0)
    pair.client.tick(100.0)
    assert pair.client.tls.over
    assert all(isinstance(entry, Reject) for entry in pair.client.log)
    assert not pair.client.handler.errors


# -- failing politely -------------------------------------------------------------------------


def failed(room: float) -> End:
    """A server whose client speaks no TLS, and reads so many bytes."""
    end = End(Role.SERVER, server_side())
    end.transport.room = room
    end.receive(b"GET / HTTP/1.1\r\n\r\n")
    return end


def test_an_alert_that_cannot_be_written_holds_nothing_up() -> None:
    end = failed(room=3)
    assert not end.tls.over
    end.tick(0.0)
    assert end.tls.over


def test_an_alert_that_nobody_tries_to_write_is_given_up_in_time() -> None:
    end = End(Role.SERVER, server_side())
    end.tls.receive(b"GET / HTTP/1.1\r\n\r\n", 0.0)
    end.tls.tick(0.5)
    assert not end.tls.over
    end.tls.tick(1.0)
    assert end.tls.over


def test_after_a_failure_nothing_is_heard_and_nothing_sent() -> None:
    pair = Pair().opened()
    end = pair.server
    end.transport.room = 0
    end.tls.receive(b"\x17\x03\x03\x00\x40" + bytes(64), 0.0)
    assert not end.tls.wants_data
    assert not end.tls.reading
    assert not end.tls.pump_due
    waiting = end.tls.outbox.size
    end.session.send(TextMessage("unheard"))
    assert end.tls.outbox.size == waiting
    end.tls.receive(b"more", 0.0)
    end.tls.go_away(1001, "", 0.0)
    assert end.handler.closes == [Close(1006, "the connection ended", False)]


def test_a_failure_is_no_call_in_the_middle_of_another() -> None:
    pair = Pair().opened()
    end = pair.server
    # The handler's answer is written at once, in the middle of its call, and the alert later.
    end.handler.reactions["on_message"] = lambda: (
        end.session.send(BinaryMessage(bytes(100 * KIB))),
        end.session.send(BinaryMessage(bytes(100 * KIB))),
    )
    pair.client.session.send(TextMessage("ask"))
    end.tls.receive(pair.client.take() + b"\x17\x03\x03\x00\x40" + bytes(64), 0.0)
    end.transport.write()
    end.tick(0.0)
    assert end.log == ["ask", Close(1006, "the connection ended", False)]
    assert not end.handler.errors


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
def test_an_end_waits_while_the_session_holds(orderly: bool) -> None:
    pair = Pair().opened()
    pair.client.session.send(TextMessage("one"))
    pair.client.session.send(TextMessage("two"))
    pair.server.handler.reactions["on_message"] = pair.server.session.hold
    if orderly:
        pair.client.tls.close()
    pair.server.receive(pair.client.take())
    if not orderly:
        pair.server.receive(b"")
    assert pair.server.log == ["one"]
    assert not pair.server.tls.wants_data
    assert not pair.server.tls.pump_due
    pair.server.handler.reactions.clear()
    pair.server.session.release()
    while pair.server.tls.pump_due:
        pair.server.tls.pump(0.0)
    assert pair.server.log == ["one", "two", Close(1006, "the connection ended", False)]


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


# -- deadlines --------------------------------------------------------------------------------


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


# -- back-pressure ----------------------------------------------------------------------------


def test_what_a_slow_reader_leaves_stays_in_the_sessions_outbox() -> None:
    pair = Pair().opened()
    end = pair.server
    end.transport.room = 0
    for _ in range(100):
        assert end.session.send(BinaryMessage(bytes(10 * KIB)))
        end.transport.write()
    assert end.session.outbox.size > 1000 * KIB
    assert end.tls.outbox.size < 66 * KIB
    assert not end.tls.reading
    assert not end.tls.wants_data
    assert end.tls.pump_due is False


def test_a_peer_that_reads_too_slowly_is_given_up() -> None:
    pair = Pair(limits=Limits(max_queue=300 * KIB)).opened()
    end = pair.server
    end.transport.room = 100 * KIB
    sent = 0
    while end.session.send(BinaryMessage(bytes(10 * KIB))):
        end.transport.write()
        sent += 1
    assert 39 <= sent <= 41  # 100 KiB written, 300 KiB waiting
    end.tick(0.0)
    assert end.handler.closes == [Close(4008, "the peer reads too slowly", False)]


def test_any_byte_that_moves_shows_that_the_peer_reads() -> None:
    pair = Pair(timeouts=Timeouts(write_stall=20.0, ping_interval=10000)).opened()
    end = pair.server
    end.transport.room = 0
    end.session.send(BinaryMessage(bytes(200 * KIB)))
    end.transport.write()
    for now in range(10, 300, 10):
        end.tick(now)
        assert not end.tls.over
        end.transport.room = 1
        end.transport.write()
    end.tick(now + 20.0)
    assert end.handler.closes == [Close(4008, "nothing could be written in time", False)]


def test_what_has_been_written_is_taken_off_bit_by_bit() -> None:
    pair = Pair().opened()
    end = pair.server
    end.transport.room = 0
    end.session.send(BinaryMessage(bytes(32 * KIB)))
    end.transport.write()
    before = end.session.outbox.size
    end.transport.room = 16 * KIB
    end.transport.write()
    assert 0 <= end.session.outbox.size - (before - 16 * KIB) < 100


def test_both_send_much_at_once() -> None:
    pair = Pair(limits=Limits(max_queue=64 << 20)).opened()
    messages = [bytes([number]) * (300 * KIB) for number in range(10)]
    ends = (pair.client, pair.server)
    for end in ends:
        end.transport.room = 0
        for message in messages:
            assert end.session.send(BinaryMessage(message))
    while any(end.session.outbox.size for end in ends):
        for end in ends:
            end.transport.room += 50_000
        pair.carry()
    assert pair.client.log == messages
    assert pair.server.log == messages


def test_an_echo_of_everything_waits_for_who_reads_slowly() -> None:
    limits = Limits(pause_reading_at=8 * KIB)
    pair = Pair(limits=limits).opened()
    server = pair.server
    server.handler.reactions["on_message"] = lambda: server.session.send(
        TextMessage(str(server.log[-1]))
    )
    texts = [f"{number}" * 300 for number in range(200)]
    for text in texts:
        assert pair.client.session.send(TextMessage(text))
    server.transport.room = 0
    pair.carry()
    assert server.session.outbox.size < 16 * KIB
    assert len(server.log) < 100
    for _ in range(100):
        server.transport.room += 3000
        pair.carry()
    assert pair.client.log == texts


def test_a_turn_is_a_fair_share_under_tls_too() -> None:
    pair = Pair(limits=Limits(max_turn_messages=10)).opened()
    for number in range(25):
        pair.client.session.send(TextMessage(str(number)))
    pair.server.receive(pair.client.take())
    assert len(pair.server.log) == 10
    assert pair.server.tls.wants_data
    assert not pair.server.tls.reading
    assert pair.server.tls.pump_due
    pair.server.tls.pump(0.0, messages=5)
    assert len(pair.server.log) == 15
    pair.server.tls.pump(0.0)
    assert len(pair.server.log) == 25


def test_a_request_above_the_pause_does_not_stop_tls() -> None:
    pair = Pair(limits=Limits(pause_reading_at=10))
    pair.carry()
    assert pair.client.session.open


def test_tls_in_memory_holds_no_more_than_a_record() -> None:
    pair = Pair().opened()
    pair.client.session.send(BinaryMessage(bytes(1000 * KIB)))
    data = pair.client.take()
    for start in range(0, len(data), 10_000):
        pair.server.receive(data[start : start + 10_000])
        assert pair.server.tls._incoming.pending < 17 * KIB
        assert pair.server.tls._outgoing.pending == 0
    assert pair.server.log == [bytes(1000 * KIB)]


def test_who_makes_tls_answer_and_reads_nothing_is_not_read_from() -> None:
    pair = Pair().opened()
    end = pair.server
    end.tls.outbox.append(bytes(64 * KIB))  # answers of OpenSSL's own
    assert end.tls.reading
    end.tls.outbox.append(b"1")
    assert not end.tls.wants_data
    assert not end.tls.reading
    end.tls.blocked(0.0)
    assert Deadline.STALL not in end.session.deadlines  # there is nothing of the session's
    end.take()
    assert end.tls.reading


# -- layers -----------------------------------------------------------------------------------


class TLSProxy:
    """A proxy's end of TLS, as OpenSSL has it."""

    def __init__(self) -> None:
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._tls = server_side().wrap_bio(self._incoming, self._outgoing, server_side=True)

    def decrypted(self, data: bytes) -> bytes:
        self._incoming.write(data)
        plain = b""
        with contextlib.suppress(ssl.SSLWantReadError):
            self._tls.do_handshake()
            while piece := self._tls.read():
                plain += piece
        return plain

    def encrypted(self, plain: bytes) -> bytes:
        """This, and whatever TLS has to say itself."""
        if plain:
            self._tls.write(plain)
        return self._outgoing.read()


def test_tls_goes_through_a_tunnel_that_is_in_tls_itself() -> None:
    server, proxy = End(Role.SERVER, server_side()), TLSProxy()
    client = End(Role.CLIENT, client_side(), "localhost")
    client.session.connect(Request("/ws", host="localhost"))
    tunnel = Tunnel(client.tls, "localhost:443", parse_proxy("http://127.0.0.1"))
    client.tls = SecureSession(tunnel, client_side(), server_hostname="127.0.0.1")
    client.transport.session = client.tls  # type: ignore[assignment]
    for _ in range(6):
        if data := proxy.decrypted(client.take()):
            if data.startswith(b"CONNECT localhost:443 "):
                client.receive(proxy.encrypted(b"HTTP/1.1 200 OK\r\n\r\n"))
            else:
                server.receive(data)
        if data := proxy.encrypted(server.take()):
            client.receive(data)
    assert client.session.open
    server.session.send(BinaryMessage(bytes(300 * KIB)))
    server.session.close(1000, "bye", 0.0)
    client.receive(proxy.encrypted(server.take()))
    while client.tls.pump_due:
        client.tls.pump(0.0)
    assert client.log[1:] == [bytes(300 * KIB), Close(1000, "bye", True)]


# -- what TLS may ask for in between ----------------------------------------------------------


def test_keys_may_be_exchanged_under_way() -> None:
    openssl = shutil.which("openssl")
    require("openssl", openssl is not None, "install the command that comes with OpenSSL")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = f"127.0.0.1:{listener.getsockname()[1]}"
        process = subprocess.Popen(
            [str(openssl), "s_client", "-connect", address, "-tls1_3"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        try:
            listener.settimeout(20)
            sock, _ = listener.accept()
            with sock:
                said = talk(sock, process)
        finally:
            process.kill()
            said += process.communicate(timeout=20)[0]
    assert said.count(b"KEYUPDATE") == 3
    assert b"HTTP/1.1 400 " in said  # to be read with the new keys


def talk(sock: socket.socket, process: subprocess.Popen[bytes]) -> bytes:
    """Let s_client change its keys and ask for ours, and then send a request; what it says."""
    end = End(Role.SERVER, server_side())
    sock.settimeout(20)
    assert process.stdin is not None
    assert process.stdout is not None

    def answer() -> None:
        end.receive(sock.recv(65536))
        sock.sendall(end.take())

    while not end.tls._established:
        answer()
    for letter in (b"k", b"K", b"K"):  # K asks for an update of the other side's keys too
        process.stdin.write(letter + b"\n")
        process.stdin.flush()
        answer()
    process.stdin.write(b"GET / HTTP/1.1\r\n\r\n")
    process.stdin.flush()
    while not end.ends:
        answer()
    said = b""
    while b"HTTP/1.1 " not in said:
        said += (line := process.stdout.readline())
        assert line
    return said


class Stub:
    """An `SSLContext` of which one method of its objects fails when it is told to."""

    def __init__(self, context: ssl.SSLContext) -> None:
        self._context = context
        self.errors: list[Exception] = []
        """What the next calls of `write` raise."""

    def wrap_bio(self, *arguments: Any, **options: Any) -> Stub:
        self._object = self._context.wrap_bio(*arguments, **options)
        return self

    def write(self, data: memoryview) -> int:
        if self.errors:
            raise self.errors.pop(0)
        return self._object.write(data)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._object, name)


def test_a_write_that_must_wait_for_the_peer_is_repeated_later() -> None:
    stub = Stub(client_side())
    pair = Pair(client=stub).opened()
    stub.errors = [ssl.SSLWantReadError()] * 2
    pair.client.session.send(TextMessage("one"))
    pair.client.session.send(TextMessage("two"))
    assert pair.client.tls.outbox.size == 0
    assert pair.client.session.outbox.size > 0
    pair.client.tls.close()
    pair.carry()
    assert pair.server.log[:2] == ["one", "two"]


def test_a_write_that_fails_ends_the_connection_at_the_next_tick() -> None:
    stub = Stub(client_side())
    pair = Pair(client=stub).opened()
    error = ssl.SSLError("unheard of")
    error.reason = None  # type: ignore[assignment]  # as OpenSSL's own sometimes have it
    stub.errors = [error]
    pair.client.session.send(TextMessage("one"))
    assert pair.client.take() == b""
    assert pair.client.log == []
    pair.client.tick(0.0)
    assert pair.client.log == [Close(1006, "the connection ended", False)]


def test_a_failure_before_the_first_byte_is_told_too() -> None:
    context = client_side()
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    end = End(Role.CLIENT, context, "localhost")
    end.tick(0.0)
    assert end.log == [Reject(0, body=b"TLS failed: no protocols available")]


def test_a_context_of_the_other_side_is_refused() -> None:
    with pytest.raises(ssl.SSLError):
        End(Role.SERVER, ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT))


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
    assert not end.tls.wants_data
    assert end.tls.outbox.size == 0
    assert end.transport.asked == asked
    assert end.session.connection.state in (State.OPEN, State.CLOSED)
