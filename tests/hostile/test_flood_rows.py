"""Floods of frames that are no messages, and of packets that reach many, on running servers."""

from __future__ import annotations

import json
import socket
import threading
import time

import pytest

from sono_core import Accept, Deflate, TextMessage
from sono_core.limits import DEFAULT_LIMITS
from sono_core.websocket.frames import encode_frame
from sono_core.websocket.opcodes import BINARY, CONTINUATION, PING, PONG
from tests.hostile.conftest import LATENCY, Victim
from tests.servers import Wire

MASK = b"\x01\x02\x03\x04"
RATE = DEFAULT_LIMITS.control_rate
TURN = DEFAULT_LIMITS.max_turn_messages


def frame(opcode: int, payload: bytes = b"", *, fin: bool = True, rsv1: bool = False) -> bytes:
    return encode_frame(opcode, payload, fin=fin, rsv1=rsv1, mask=MASK)


def fragments(count: int) -> bytes:
    """One message in that many frames, all but the last of them empty."""
    middle = frame(CONTINUATION, fin=False) * (count - 2)
    return frame(BINARY, fin=False) + middle + frame(CONTINUATION, b"end")


def compressed_fragments() -> bytes:
    """A compressed message, a byte in each frame."""
    data = b"\x00\x00\x00\xff\xff" * 200 + b"\x00"  # empty blocks
    middle = b"".join(frame(CONTINUATION, data[at : at + 1], fin=False) for at in range(1, 1000))
    return frame(BINARY, data[:1], fin=False, rsv1=True) + middle + frame(CONTINUATION, data[-1:])


FLOODS = {
    "pings": (frame(PING, b"x"), 1),
    "pongs and pings": (frame(PONG) * 9 + frame(PING, b"x"), 10),
    "empty fragments": (fragments(1000), 1000),
    "compressed fragments": (compressed_fragments(), 1001),
    "final blocks": (frame(BINARY, b"\x03\x00" * 1000, rsv1=True), 1000),
}
"""What is sent over and over, and the frames or blocks in it that are charged: it ends with an
answer."""


class Flood:
    """A client that sends as fast as it is read from, and counts the answers."""

    def __init__(self, wire: Wire, data: bytes) -> None:
        self.answers = 0
        self._wire = wire
        self._data = data
        self._threads = [threading.Thread(target=run) for run in (self._send, self._count)]
        for thread in self._threads:
            thread.start()

    def _send(self) -> None:
        try:
            while self._data:
                self._wire.sock.sendall(self._data * 20)
        except OSError:
            pass

    def _count(self) -> None:
        try:
            while self._wire.next():
                self.answers += 1
        except (AssertionError, OSError):
            pass

    def end(self) -> None:
        self._wire.sock.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join()
        self._wire.close()


@pytest.mark.parametrize("kind", FLOODS)
def test_frames_that_are_no_messages_are_taken_at_their_rate(victim: Victim, kind: str) -> None:
    data, frames = FLOODS[kind]
    floods = 5
    began = time.monotonic()
    running = [Flood(victim.wire(deflate=Deflate()), data) for _ in range(floods)]
    with victim.wire() as bystander:
        for number in range(20):
            bystander.send(str(number))
            assert bystander.message() == str(number)
            time.sleep(0.05)
    for flood in running:
        flood.end()
    seconds = time.monotonic() - began
    answered = [flood.answers for flood in running]
    most = RATE * (2 + seconds) + TURN + 2 * frames  # twice the rate at once, and a turn above it
    assert max(answered) * frames <= most
    assert min(answered) > 0


def test_what_one_client_has_delivered_is_bounded(victim: Victim) -> None:
    """Packets of 100 KB to 40 members: more than the bytes a second that one client may cause."""
    text = "x" * 100_000
    packet = json.dumps({"protocol": "message", "event": "x", "payload": {"message": text}})
    members = [victim.wire("/loud") for _ in range(40)]
    began = time.monotonic()
    received = [0] * len(members)

    def read(number: int) -> None:
        try:
            while data := members[number].sock.recv(1 << 20):
                received[number] += len(data)
        except OSError:
            pass

    threads = [threading.Thread(target=read, args=(number,)) for number in range(len(members))]
    for thread in threads:
        thread.start()
    sender = victim.wire("/loud")
    sending = Flood(sender, sender.encoded(TextMessage(packet)))
    with victim.wire() as bystander:
        for number in range(20):
            bystander.send(str(number))
            assert bystander.message() == str(number)
            time.sleep(0.05)
    sending.end()
    for member in members:
        member.sock.shutdown(socket.SHUT_RDWR)
    for thread in threads:
        thread.join()
    for member in members:
        member.close()
    seconds = time.monotonic() - began
    limits = DEFAULT_LIMITS
    assert sum(received) <= limits.delivery_rate * (2 + seconds) + 41 * 2 * len(text)
    # Beside what the rate lets through: one packet too many, and what was read ahead at the end.
    assert max(received) <= limits.byte_rate * (2 + seconds) + 4 * len(text)
    assert min(received) > 0


def test_while_pings_flood_newcomers_are_let_in(victim: Victim) -> None:
    running = [Flood(victim.wire(), frame(PING, b"x")) for _ in range(5)]
    newcomers = [victim.wire("/echo", upgrade=False) for _ in range(100)]
    for newcomer in newcomers:
        newcomer.flush()
    for newcomer in newcomers:  # well within the deadline of a handshake, which is two seconds
        assert isinstance(newcomer.next(), Accept)
        newcomer.close()
    for flood in running:
        flood.end()


def test_while_many_send_to_many_others_are_answered(victim: Victim) -> None:
    """Ten members of a channel send as fast as they are read, and twenty receive it all."""
    packet = json.dumps({"protocol": "message", "event": "x", "payload": {"message": 1}})
    to_quiet = {"protocol": "changeChannel", "payload": {"message": None, "to": "quiet"}}
    asking = json.dumps({"protocol": "grab", "event": "grab", "payload": {"message": "mychannel"}})
    with victim.wire("/loud") as other:
        other.send(json.dumps(to_quiet))
        running = []
        for number in range(20):
            member = victim.wire("/loud")
            data = member.encoded(TextMessage(packet)) if number < 10 else b""
            running.append(Flood(member, data))
        for _ in range(10):
            asked = time.monotonic()
            other.send(asking)
            while "quiet" not in str(other.message()):
                pass
            assert time.monotonic() - asked < LATENCY
            time.sleep(0.05)
    for flood in running:
        flood.end()
    assert min(flood.answers for flood in running) > 0
