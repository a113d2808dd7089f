"""Back-pressure through TLS: what waits, where, and when reading pauses."""

from __future__ import annotations

from sono_core import BinaryMessage, Close, Limits, TextMessage, Timeouts
from sono_core.lifecycle.deadlines import Deadline
from tests.secure import Pair

KIB = 1024


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
    assert not end.tls.reading
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
    assert not end.tls.reading
    assert not end.tls.reading
    end.tls.blocked(0.0)
    assert Deadline.STALL not in end.session.deadlines  # there is nothing of the session's
    end.take()
    assert end.tls.reading
