"""Records of TLS that cost much and bring little: KeyUpdates, and many small ones."""

from __future__ import annotations

import ctypes
import itertools
import ssl
from typing import Any

import pytest

from sono_core import TextMessage
from sono_core.lifecycle import Deadline
from tests.fakes import CountedTurn
from tests.secure import Pair

_SSL_OF_OBJECT = 3 * ctypes.sizeof(ctypes.c_void_p)  # where CPython keeps OpenSSL's object


def key_updates(tls: Any, count: int) -> bytes:
    """So many KeyUpdates; Python has no function for them."""
    import _ssl

    try:
        library = ctypes.CDLL(_ssl.__file__)
        update, handshake = library.SSL_key_update, library.SSL_do_handshake
    except (AttributeError, OSError):
        pytest.skip("OpenSSL is not a library of its own here")
    if not hasattr(ssl.SSLContext, "_msg_callback") or tls.tls.version() != "TLSv1.3":
        pytest.skip("needs CPython and TLS 1.3")
    address = ctypes.c_void_p.from_address(id(tls.tls._sslobj) + _SSL_OF_OBJECT).value
    update.argtypes, handshake.argtypes = [ctypes.c_void_p, ctypes.c_int], [ctypes.c_void_p]
    parts = []
    for _ in range(count):
        assert update(address, 0) == 1
        assert handshake(address) == 1
        parts.append(tls._outgoing.read())
    return b"".join(parts)


class Reads:
    """Counts how often OpenSSL gets records."""

    def __init__(self, tls: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        self.count = 0
        original = type(tls)._read

        def counted(layer: Any, plain: list[bytes]) -> None:
            self.count += layer is tls
            original(layer, plain)

        monkeypatch.setattr(type(tls), "_read", counted)


def test_a_few_key_updates_are_nothing_special() -> None:
    pair = Pair().opened()
    pair.server.receive(key_updates(pair.client.tls, 2))
    assert pair.server.tls.reading
    assert Deadline.PAUSE not in pair.server.session.deadlines
    pair.client.session.send(TextMessage("after them"))
    pair.carry()
    assert pair.server.log[-1] == "after them"


def test_key_updates_are_taken_a_few_at_a_time_and_charged(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pair = Pair().opened()
    flood = key_updates(pair.client.tls, 320)
    pair.client.session.send(TextMessage("last"))
    last = pair.client.take()
    reads = Reads(pair.server.tls, monkeypatch)
    pair.server.receive(flood + last)
    assert reads.count == 1  # 32 of them
    server = pair.server
    turns = 0
    while reads.count < 10:  # 62 are free, and then each costs 0.032 seconds
        assert not server.tls.reading
        if server.tls.pump_due:
            server.tls.pump(server.transport.now)
            turns += 1
        else:
            server.tick(server.tls.deadlines.next)
    assert turns == 9
    assert server.transport.now == pytest.approx((9 * 32 * 32 - 2000) / 1000, abs=0.01)
    assert server.log[-1:] != ["last"]
    while server.log[-1:] != ["last"]:
        server.tick(server.tls.deadlines.next)
        if server.tls.pump_due:
            server.tls.pump(server.transport.now)
    assert server.tls.reading


def test_small_records_with_data_are_not_charged_and_many_take_several_turns() -> None:
    pair = Pair().opened()
    server = pair.server
    parts = []
    for number in range(1500):
        pair.client.session.send(TextMessage(str(number)))
        parts.append(pair.client.take())
    server.receive(b"".join(parts))
    handled = [len(server.log)]
    assert not server.tls.reading
    while server.tls.pump_due:
        server.tls.pump(0.0)
        handled.append(len(server.log))
    assert Deadline.PAUSE not in server.session.deadlines
    assert server.log[-1500:] == [str(number) for number in range(1500)]
    assert handled[0] < 600
    assert len(handled) >= 3
    assert server.tls.reading


def test_when_the_time_of_a_turn_is_over_few_records_are_decrypted() -> None:
    pair = Pair().opened()
    server: Any = pair.server
    server.tls._turn = turn = CountedTurn()
    turn.spent = True
    parts = []
    for number in range(400):
        pair.client.session.send(TextMessage(str(number) * 20))
        parts.append(pair.client.take())
    server.receive(b"".join(parts))
    handled = [len(server.log)]
    assert not server.tls.reading
    while server.tls.pump_due:
        server.tls.pump(0.0)
        handled.append(len(server.log))
    assert max(after - before for before, after in itertools.pairwise(handled)) <= 48
    assert server.log[-1] == "399" * 20
    assert server.tls.reading


def test_when_the_time_of_a_turn_is_over_few_key_updates_are_taken() -> None:
    pair = Pair().opened()
    server: Any = pair.server
    server.tls._turn = turn = CountedTurn()
    turn.spent = True
    flood = key_updates(pair.client.tls, 12)
    pair.client.session.send(TextMessage("last"))
    server.receive(flood + pair.client.take())
    pumps = 0
    while server.tls.pump_due:
        server.tls.pump(0.0)
        pumps += 1
    assert pumps == 3  # after 4 of them each
    assert server.log[-1] == "last"


def test_what_was_kept_is_heard_although_the_stream_is_lost() -> None:
    pair = Pair().opened()
    parts = []
    for number in range(600):
        pair.client.session.send(TextMessage(str(number)))
        parts.append(pair.client.take())
    pair.server.receive(b"".join(parts))
    assert pair.server.tls.pump_due
    pair.server.tls.lost()
    assert "599" in pair.server.log
