"""TLS in C: what it takes by itself, and what it leaves to the layer, over a socket pair."""

from __future__ import annotations

import contextlib
import math
import re
import ssl
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sono_core import BinaryMessage, Event, Ping, Pong, TextMessage
from sono_core.lifecycle import Deadline, ForwardingLayer
from sono_core.tls import layer
from sono_core.websocket.frames import encode_frame
from sono_server.selector.transport import READ
from tests.core.tls.test_layer_floods import key_updates
from tests.io.wired import MASK, MIB, SecureWired, Stop, echo, native
from tests.secure import VERSIONS

KIB = 1024
RECORD = 16 * KIB


@pytest.fixture
def one() -> Iterator[SecureWired]:
    made = SecureWired(echo)
    yield made
    made.close()


class Counts:
    """What C did alone, and what it asked Python about, since this was made."""

    def __init__(self, one: SecureWired) -> None:
        self.context: Any = one.loop.context
        self.before = self._now()

    def _now(self) -> tuple[int, int]:
        return self.context.turns, self.context.detours

    def __call__(self) -> tuple[int, int]:
        turns, detours = self._now()
        return turns - self.before[0], detours - self.before[1]


def frame(message: str | bytes) -> bytes:
    if isinstance(message, str):
        return encode_frame(1, message.encode(), mask=MASK)
    return encode_frame(2, message, mask=MASK)


def step(one: SecureWired, data: bytes) -> list[Event]:
    """Let the server read exactly these bytes of the wire; what it answers."""
    one.put(data)
    one.turn()
    return one.read()


def data_of(events: list[Event]) -> list[str | bytes]:
    return [event.text if isinstance(event, TextMessage) else event.data for event in events]  # type: ignore[union-attr]


def hears(one: SecureWired, then: Callable[[str], object] = lambda message: None) -> list[str]:
    """What the handler hears from now on; `then` is what it does."""
    heard: list[str] = []

    def on_message(message: str | bytes) -> None:
        heard.append(str(message))
        then(str(message))

    one.session.handler.on_message = on_message  # type: ignore[method-assign]
    one.transport.flush(0.0)
    return heard


# -- what is ordinary ---------------------------------------------------------------------------


@native
def test_ordinary_records_take_no_detour(one: SecureWired) -> None:
    """Small and large ones, cut anywhere, several in a read."""
    counts = Counts(one)
    expected = 0
    for message in ("", "x", "y" * 64, "ü" * 5000, b"z" * 40_000):
        whole = one.encrypted(frame(message))
        for cut in (0, 1, 4, 5, 6, len(whole) // 2, len(whole) - 1):
            got = step(one, whole[:cut]) if cut else []
            got += step(one, whole[cut:])
            assert data_of(got) == [message]
            expected += 1
            whole = one.encrypted(frame(message))
        assert data_of(step(one, whole)) == [message]
    step(one, b"".join(one.encrypted(frame(str(number))) for number in range(100)))
    turns, detours = counts()
    assert detours == 0
    assert turns >= expected


@native
def test_a_large_message_is_decrypted_into_its_place(one: SecureWired) -> None:
    """In the middle of it nothing is held but itself."""
    message = bytes(range(256)) * (MIB // 256)
    records = one.encrypted(frame(message))
    counts = Counts(one)
    for start in range(0, len(records) - RECORD, 50_000):
        one.put(records[start : start + 50_000])
        one.turn()
        left = start + 50_000
        held = one.session.connection.reader.held  # type: ignore[union-attr]
        assert held < MIB + RECORD + 64 * KIB
    assert counts()[1] == 0
    got = step(one, records[left:])
    for _ in range(20):
        one.turn()
        got += one.read()
    assert data_of(got) == [message]


@pytest.mark.parametrize("version", VERSIONS)
@settings(max_examples=min(settings().max_examples, 250))  # each begins with a TLS handshake
@given(
    messages=st.lists(
        st.one_of(
            st.text(max_size=70),
            st.binary(max_size=70),
            st.sampled_from(
                [b"a" * 16_384, b"b" * 16_370, b"c" * 16_378, b"d" * 70_000, "e" * 9000]
            ),
        ),
        max_size=8,
    ),
    joined=st.booleans(),
    cuts=st.lists(st.integers(1, 40_000), max_size=12),
    pings=st.booleans(),
)
def test_all_arrives_in_order_however_it_is_cut(
    version: ssl.TLSVersion,
    messages: list[str | bytes],
    joined: bool,
    cuts: list[int],
    pings: bool,
) -> None:
    class Versioned(SecureWired):
        pass

    Versioned.version = version
    one = Versioned(echo)
    try:
        frames = [frame(message) for message in messages]
        if pings:
            frames = [part for each in frames for part in (each, encode_frame(9, b"?", mask=MASK))]
        if joined:
            wire = one.encrypted(b"".join(frames))
        else:
            wire = b"".join(map(one.encrypted, frames))
        got: list[Event] = []
        for size in cuts:
            got += step(one, wire[:size])
            wire = wire[size:]
        one.put(wire)
        got += one.exchange()
    finally:
        one.close()
    assert data_of([each for each in got if not isinstance(each, Pong)]) == messages
    assert len([each for each in got if isinstance(each, Pong)]) == (len(messages) if pings else 0)


# -- what is left to the layer --------------------------------------------------------------------


def test_a_record_without_data_is_charged_and_what_follows_is_read(
    one: SecureWired, monkeypatch: pytest.MonkeyPatch
) -> None:
    charged: list[int] = []
    monkeypatch.setattr(
        layer.SecureSession, "charge", lambda self, number, now: charged.append(number)
    )

    before = one.encrypted(frame("before"))
    updates = key_updates(SimpleNamespace(tls=one.secret, _outgoing=one.to_server), 2)
    got = step(one, before + updates + one.encrypted(frame("after")))
    got += one.exchange()
    assert data_of(got) == ["before", "after"]
    assert sum(charged) == 2 * layer._IDLE
    assert data_of(step(one, one.encrypted(frame("again")))) == ["again"]


@native
def test_c_and_the_layer_have_the_same_numbers() -> None:
    """It is the layer's that count, in the slow path too."""
    folder = Path(layer.__file__).parents[2] / "sono_io" / "native"
    text = (folder / "loop.h").read_text() + (folder / "secure.c").read_text()
    found = {
        name: math.prod(map(int, value.split("*")))
        for name, value in re.findall(r"^ +([A-Z_]+) = ([0-9 *]+),", text, re.MULTILINE)
    }
    assert found["RECORD"] == layer._RECORD
    assert found["CHUNK"] == layer._CHUNK
    assert found["HEADER"] == layer._HEADER
    assert found["MANY"] == layer._MAX_RECORDS
    assert found["FEW"] == layer._FEW_RECORDS


@pytest.mark.parametrize("cut", [1, 4, 5, 6, 20, -1])
def test_a_record_without_data_is_charged_if_it_comes_in_two_reads(
    one: SecureWired, cut: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    charged: list[int] = []
    monkeypatch.setattr(
        layer.SecureSession, "charge", lambda self, number, now: charged.append(number)
    )
    for _ in range(3):
        update = key_updates(SimpleNamespace(tls=one.secret, _outgoing=one.to_server), 1)
        step(one, update[:cut])
        step(one, update[cut:])
    assert sum(charged) == 3 * layer._IDLE


def test_the_peers_orderly_end_comes_after_what_it_said(one: SecureWired) -> None:
    last = one.encrypted(frame("last"))
    with pytest.raises(ssl.SSLWantReadError):
        one.secret.unwrap()
    one.put(last + one.to_server.read())
    assert data_of(one.exchange()) == ["last"]
    assert [close.code for close in one.closes] == [1006]
    assert one.session.over


@pytest.mark.parametrize("size", [5, 100, 20_000])
def test_rubbish_ends_the_connection_after_what_came_before_it(one: SecureWired, size: int) -> None:
    heard = hears(one)
    one.put(one.encrypted(frame("last")) + b"\x17\x03\x03\x00\x40" + b"?" * (64 + size))
    one.exchange()
    assert heard == ["last"]
    one.transport.tick(10.0)
    assert [close.code for close in one.closes] == [1006]


def test_many_records_are_read_in_turns(one: SecureWired) -> None:
    """And all of them come, before what is received later."""
    number = layer._MAX_RECORDS + 100
    one.put(b"".join(one.encrypted(frame(str(each))) for each in range(number)))
    one.turn()
    got = one.read()
    assert 0 < len(got) < number
    one.put(one.encrypted(frame("later")))
    got += one.exchange()
    assert data_of(got) == [*map(str, range(number)), "later"]


def test_a_handler_that_holds_keeps_the_rest_for_later(one: SecureWired) -> None:
    heard = hears(one, lambda message: message == "a" and one.session.hold(ahead=False))
    step(one, b"".join(one.encrypted(frame(each)) for each in "abc"))
    assert heard == ["a"]
    assert not one.loop.events & READ
    one.session.release()
    one.exchange()
    assert heard == ["a", "b", "c"]


def test_a_handler_that_closes_hears_no_more(one: SecureWired) -> None:
    heard = hears(one, lambda message: one.ws.close(4000, "enough"))
    step(one, b"".join(one.encrypted(frame(each)) for each in "abc"))
    one.exchange()
    assert heard == ["a"]


def test_a_handler_that_aborts_in_the_middle_of_a_read(one: SecureWired) -> None:
    heard = hears(one, lambda message: one.session.abort())
    one.put(b"".join(one.encrypted(frame(each)) for each in "abc"))
    one.turn()
    one.transport.tick(0.0)
    assert one.session.over
    assert one.loop.forgotten
    assert heard == ["a"]


def test_a_handlers_exit_loses_no_record(one: SecureWired) -> None:
    def stop(message: str) -> None:
        if message == "b":
            raise Stop

    heard = hears(one, stop)
    with pytest.raises(Stop):
        step(one, b"".join(one.encrypted(frame(each)) for each in "abc"))
    one.put(one.encrypted(frame("d")))
    one.exchange()
    assert heard == ["a", "b", "c", "d"]


# -- out ------------------------------------------------------------------------------------------


def test_what_the_socket_does_not_take_follows_in_order(one: SecureWired) -> None:
    messages: list[str | bytes] = []
    for number in range(60):
        message = bytes([number]) * (number * 997 % 30_000)
        messages.append(message)
        assert one.ws.send(message)
        if number % 7 == 0:
            one.turn()
    assert one.tls._plain or one.session.outbox.size  # it has not taken all
    assert data_of(one.exchange()) == messages
    assert not one.session.outbox.size


def test_a_peer_that_reads_nothing_has_a_deadline(one: SecureWired) -> None:
    assert one.ws.send(bytes(MIB))
    one.turn()
    assert Deadline.STALL in one.session.deadlines
    assert one.transport.reader is None
    assert data_of(one.exchange()) == [bytes(MIB)]
    assert Deadline.STALL not in one.session.deadlines
    assert data_of(step(one, one.encrypted(frame("and on")))) == ["and on"]


def test_messages_of_one_turn_share_records(one: SecureWired) -> None:
    for number in range(50):
        one.ws.send(str(number))
    one.turn()
    wire = one.got()
    records = 0
    at = 0
    while at < len(wire):
        at += 5 + int.from_bytes(wire[at + 3 : at + 5], "big")
        records += 1
    assert records == 1
    one.from_server.write(wire)
    assert data_of(one.read()) == [*map(str, range(50))]


def test_a_ping_is_answered_in_its_place(one: SecureWired) -> None:
    one.write(TextMessage("a"), Ping(b"?"), BinaryMessage(b"b"))
    one.turn()
    assert one.read() == [TextMessage("a"), Pong(b"?"), BinaryMessage(b"b")]


def test_a_peer_that_is_gone_while_it_is_written_to(one: SecureWired) -> None:
    one.here.close()
    one.ws.send("to nobody")
    one.turn()
    assert one.session.over
    assert [close.code for close in one.closes] == [1006]


@native
@pytest.mark.parametrize("method", ["take", "read", "write", "pending", "give"])
def test_a_method_that_fails_ends_one_connection(one: SecureWired, method: str) -> None:
    """As memory may run out anywhere."""

    def fails(*_: object) -> None:
        raise MemoryError

    assert one.tls.engine is not None
    one.tls._engine = one.tls.engine._replace(**{method: fails})
    one.transport.layer = one.tls
    one.transport.flush(0.0)
    large = frame(bytes(100_000))  # the last record fills the room that there is
    for part in (large[: -2 * RECORD], large[-2 * RECORD :]):
        with contextlib.suppress(OSError):
            one.put(one.encrypted(part))
            one.exchange()
    assert one.session.over
    assert one.loop.forgotten


@native
@pytest.mark.parametrize("method", ["write", "give"])
@pytest.mark.parametrize("error", [MemoryError, KeyboardInterrupt, SystemExit])
def test_nothing_is_sent_twice_if_a_call_fails_after_its_work(
    one: SecureWired, method: str, error: type[BaseException], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The stream ends, as nobody knows whether the records have been made."""
    unraisable: list[Any] = []
    monkeypatch.setattr(sys, "unraisablehook", unraisable.append)
    engine = one.tls.engine
    assert engine is not None
    work = getattr(engine, method)

    def late(*arguments: Any) -> None:
        work(*arguments)
        raise error

    one.tls._engine = engine._replace(**{method: late})
    one.transport.layer = one.tls
    one.transport.flush(0.0)
    assert one.ws.send("once")
    interrupted = error is KeyboardInterrupt
    with pytest.raises(KeyboardInterrupt) if interrupted else contextlib.nullcontext():
        one.loop.context.flush(0.0)
        for _ in range(100):
            pass
    one.turn()
    assert one.read() == []
    assert one.session.over
    assert len(unraisable) == (error is SystemExit)


@native
@pytest.mark.parametrize(
    ("method", "under_way"),
    [
        ("take", False),
        ("take", True),
        ("read", False),
        ("read", True),
        ("write", False),
        ("give", False),
    ],
)
def test_a_transport_that_is_closed_in_a_call(
    one: SecureWired, method: str, under_way: bool
) -> None:
    """By a finaliser or a signal's handler, which run anywhere; in a large message too."""
    engine = one.tls.engine
    assert engine is not None
    work = getattr(engine, method)

    def closes(*arguments: Any) -> Any:
        found = work(*arguments)
        one.tls.lost()
        return found

    if under_way:
        step(one, one.encrypted(frame(bytes(100_000))[:50_000]))
    one.tls._engine = engine._replace(**{method: closes})
    one.transport.layer = one.tls
    one.transport.flush(0.0)
    with contextlib.suppress(OSError):
        step(one, one.encrypted(frame("a")) + one.encrypted(frame("b")))
    assert one.session.over
    assert one.loop.forgotten


@native
@pytest.mark.parametrize("writes", [False, True])
def test_what_is_sent_while_a_record_is_made(one: SecureWired, writes: bool) -> None:
    """It follows; if something was written meanwhile, the stream has to end."""
    engine = one.tls.engine
    assert engine is not None

    def sends(data: memoryview) -> int:
        if not seen:
            seen.append(1)
            for _ in range(50):
                one.ws.send("x" * 500)
            if writes:
                one.transport.write_now()
        return engine.write(data)

    seen: list[int] = []
    one.tls._engine = engine._replace(write=sends)
    one.transport.layer = one.tls
    one.transport.flush(0.0)
    one.ws.send("y" * 20_000)
    one.loop.context.flush(0.0)
    if writes:
        one.exchange()
        assert one.session.over
    else:
        assert data_of(one.exchange()) == ["y" * 20_000, *["x" * 500] * 50]


def test_a_record_of_length_0_is_refused_however_it_is_cut(one: SecureWired) -> None:
    empty = b"\x17\x03\x03\x00\x00"
    step(one, empty[:3])
    step(one, empty[3:])
    assert one.tls._failure is not None


class Unchanged(ForwardingLayer):
    """As a tunnel that has been dug."""

    @property
    def transport(self) -> Any:  # type: ignore[override]
        return None


def test_a_layer_around_it_changes_nothing(one: SecureWired) -> None:
    one.transport.layer = Unchanged(one.tls)
    one.transport.flush(0.0)
    counts = Counts(one) if one.transport.reader else None
    whole = one.encrypted(frame("a" * 100))
    got = step(one, whole[:3]) + step(one, whole[3:50]) + step(one, whole[50:])
    assert data_of(got) == ["a" * 100]
    assert counts is None or counts()[1] == 0
    messages = [bytes([number]) * 30_000 for number in range(30)]
    for message in messages:
        one.ws.send(message)
    assert data_of(one.exchange()) == messages


@native
def test_what_cannot_be_kept_ends_the_stream(
    one: SecureWired, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Records that the socket took a part of cannot be made again."""

    def fails(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr(layer.SecureSession, "half_written", fails)
    one.ws.send(bytes(MIB))
    one.turn()
    assert one.session.over


@pytest.mark.parametrize("error", [ValueError("unforeseen"), MemoryError()])
def test_what_is_no_error_of_tls_is_raised(one: SecureWired, error: Exception) -> None:
    with pytest.raises(type(error)):
        one.tls.halted(b"", error, False, 100)


@native
@pytest.mark.parametrize("engine", [(), (1, 2, 3, 4, 5, 6, 7), "engine"])
def test_an_engine_must_be_one(one: SecureWired, engine: Any) -> None:
    one.tls._engine = engine
    with pytest.raises(TypeError, match="engine"):
        one.transport.layer = one.tls
