"""Hostile requests: rows 1 to 10 and 33 to 35 of the list, against running servers."""

from __future__ import annotations

import contextlib
import json
import socket
import time
from collections.abc import Callable

import pytest

from sono_core import Accept, Connection, Headers, LocalProtocolError, Reject, Request, Role
from sono_core.http.grammar import parse_extensions
from sono_core.websocket.frames import encode_frame
from sono_core.websocket.opcodes import TEXT
from tests.hostile.conftest import FULL, MIB, Victim, linux
from tests.proportion import assert_linear
from tests.rules.peers import connecting, request
from tests.server.selector_helpers import until
from tests.servers import ask, dial, get, read_all, status


def pour(sock: socket.socket, *parts: bytes) -> bytes:
    """Send the parts, as long as the server takes them; returns the answer."""
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        for part in parts:
            sock.sendall(part)
    with contextlib.suppress(ConnectionResetError):
        return read_all(sock)
    return b""


def first_line(victim: Victim, *parts: bytes) -> bytes:
    with dial(victim.address) as sock:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return pour(sock, *parts).partition(b"\r\n")[0]


@linux
def test_row_01_a_header_a_byte_at_a_time_then_without_end(victim: Victim) -> None:
    start = b"GET /echo HTTP/1.1\r\nHost: a\r\nX: "
    spent = victim.cpu()
    with victim.growing_less_than(2 * MIB):
        answer = first_line(
            victim, *(start[n : n + 1] for n in range(len(start))), *[b"x" * 1024] * 10_240
        )
    assert answer in (b"", b"HTTP/1.1 431 Request Header Fields Too Large")  # or a reset
    assert victim.cpu() - spent < 0.5
    short = start + b"x" * 9000 + b"\r\n\r\n"
    assert status(ask(victim.address, short)) == 431


@pytest.mark.parametrize("number", [2_000, 20_000])
@pytest.mark.parametrize("cut", [False, True], ids=["one segment", "split"])
def test_row_02_many_tiny_headers(victim: Victim, number: int, cut: bool) -> None:
    head = b"GET /echo HTTP/1.1\r\nHost: a\r\n" + b"a:\r\n" * number + b"\r\n"
    parts = [head[n : n + 1000] for n in range(0, len(head), 1000)] if cut else [head]
    assert first_line(victim, *parts).startswith((b"HTTP/1.1 431 ", b""))
    few = b"GET /echo HTTP/1.1\r\nHost: a\r\n" + b"a:\r\n" * 64 + b"\r\n"
    assert status(ask(victim.address, few)) == 431


def test_row_03_spaces_in_a_list(victim: Victim) -> None:
    value = "b" + " " * 7000 + "x"
    upgrade = request(("sec-websocket-protocol", value))
    spent = victim.cpu()
    assert status(ask(victim.address, upgrade)) in (400, 403)
    assert victim.cpu() - spent < 0.2
    huge = request(("sec-websocket-protocol", "b" + " " * 32_000 + "x"))
    assert status(ask(victim.address, huge)) == 431


@pytest.mark.parametrize("value", ['a; b="' + "\\c" * 3500, 'a; b="' + ";" * 7000 + '"'])
def test_row_04_quoted_strings(victim: Victim, value: str) -> None:
    spent = victim.cpu()
    answer = ask(victim.address, request(("sec-websocket-extensions", value)))
    assert status(answer) in (400, 403)  # a quoted value must be a token (section 9.1)
    assert victim.cpu() - spent < 0.2


@pytest.mark.parametrize(
    "make",
    [
        lambda size: 'a; b="' + "\\c" * size,
        lambda size: 'a; b="' + ";" * size,
        lambda size: "a" + "; " * size,
        lambda size: ", " * size,
    ],
)
def test_row_04_the_grammar_takes_linear_time(make: Callable[[int], str]) -> None:
    def work(size: int) -> Callable[[], None]:
        text = make(size)

        def parse() -> None:
            with contextlib.suppress(ValueError):
                parse_extensions([text])

        return parse

    assert_linear(work, 1 << 13)


def test_row_05_names_that_objects_have(victim: Victim) -> None:
    names = "constructor, __proto__; __class__=1, permessage-deflate; __proto__; constructor=2"
    raw = request(("sec-websocket-extensions", names))
    with dial(victim.address) as sock:
        sock.sendall(raw.replace(b"/ws", b"/echo", 1))
        head = sock.recv(4096)
    assert head.startswith(b"HTTP/1.1 101 ")
    assert b"xtensions" not in head


@pytest.mark.parametrize(
    "fields",
    [
        b"GET /\xff\xfe HTTP/1.1\r\nHost: a\r\n",
        b"GET / HTTP/1.1\r\nHost: \xff\xfe\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nOrigin: \xff\xfe\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nSec-WebSocket-Key: \xff\xfe\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nSec-WebSocket-Protocol: \xff\xfe\r\n",
    ],
)
def test_row_06_bytes_that_are_no_text(victim: Victim, fields: bytes) -> None:
    assert status(ask(victim.address, fields + b"\r\n")) == 400


def test_row_06_other_headers_are_latin_1(victim: Victim) -> None:
    answer = ask(victim.address, b"GET /name HTTP/1.1\r\nHost: a\r\nX-Name: \xff\xfe\r\n\r\n")
    assert answer.endswith(b"\r\n\r\n\xff\xfe")


@linux
@pytest.mark.parametrize(("target", "code"), [("/raise", 500), ("/refuse", 401)])
def test_row_07_a_hook_that_refuses_or_fails_leaks_nothing(
    victim: Victim, target: str, code: int
) -> None:
    def refused() -> None:
        with victim.wire(target) as wire:
            assert isinstance(wire.answer, Reject)
            assert wire.answer.status == code

    for _ in range(100):
        refused()
    before = len(list((victim.proc / "fd").iterdir()))
    with victim.growing_less_than(8 * MIB):  # 10,000 take no more than 3,000
        for _ in range(10_000 if FULL else 1_000):
            refused()
    time.sleep(0.1)
    assert len(list((victim.proc / "fd").iterdir())) <= before + 2


def test_row_08_targets_and_versions_that_are_never_upgraded(victim: Victim) -> None:
    absolute = request(line="GET http://example.com/echo HTTP/1.1")
    assert status(ask(victim.address, absolute)) == 400
    answer = ask(victim.address, request(line="GET /echo HTTP/1.1", sec_websocket_version="8"))
    assert status(answer) == 426
    assert b"\r\nSec-WebSocket-Version: 13\r\n" in answer


@pytest.mark.parametrize("bad", ["a\r\nX: y", "a\nb", "a\x00", "\x1b[2J"])
def test_row_09_control_characters_of_the_application_are_refused(bad: str) -> None:
    def requested() -> Connection:
        server = connecting(Role.SERVER)
        assert list(server.receive_data(request()))
        return server

    for answer in (
        Accept(bad),
        Accept(headers=Headers({"x-a": bad})),
        Accept(headers=Headers({bad: "x"})),
        Reject(403, Headers({"x-a": bad})),
    ):
        server = requested()
        with pytest.raises(LocalProtocolError):
            server.send(answer)
        assert server.data_to_send() == b""
    for asked in (
        Request(f"/{bad}", host="a"),
        Request("/", host=bad),
        Request("/", Headers({"x-a": bad}), host="a"),
        Request("/", host="a", subprotocols=(bad,)),
    ):
        client = connecting(Role.CLIENT)
        with pytest.raises(LocalProtocolError):
            client.send(asked)


def test_row_10_what_is_no_request(victim: Victim) -> None:
    assert status(ask(victim.address, b"\x00\x01GET / HTTP/1.1\r\nHost: a\r\n\r\n")) == 400


@pytest.mark.parametrize(
    "origin",
    ["https://evil.example", "null", "http://{host}.evil.example", "http://127.0.0.1:1", "{host}"],
)
def test_row_33_foreign_origins(victim: Victim, origin: str) -> None:
    host = "{}:{}".format(*victim.address)
    with victim.wire(headers=Headers({"origin": origin.format(host=host)})) as wire:
        assert isinstance(wire.answer, Reject)
        assert wire.answer.status == 403
    with victim.wire(headers=Headers({"origin": f"http://{host}"})) as wire:
        assert isinstance(wire.answer, Accept)


@pytest.mark.parametrize("scheme", ["http", "https", "ws"])
def test_a_name_that_was_rebound_to_this_address(victim: Victim, scheme: str) -> None:
    """The page's own name leads here now; its origin and the request's Host are the same."""
    origin = ("Origin", f"{scheme}://evil.example")
    assert status(ask(victim.address, request(origin, host="evil.example"))) == 403


@pytest.mark.parametrize("scheme", ["ws", "wss"])
def test_an_origin_whose_scheme_no_page_has(victim: Victim, scheme: str) -> None:
    origin = "{}://{}:{}".format(scheme, *victim.address)
    with victim.wire(headers=Headers({"origin": origin})) as wire:
        assert isinstance(wire.answer, Reject)
        assert wire.answer.status == 403


def test_who_asks_to_be_let_in_and_goes_is_forgotten(victim: Victim) -> None:
    """On asyncio, where an application's `authenticate` may take its time."""
    if "asyncio" not in victim.kind:
        pytest.skip("on selectors nothing is awaited")
    before = asked(victim)[1]
    for count in range(1, 21):
        wire = victim.wire("/slow", upgrade=False)
        wire.flush()
        until(lambda: asked(victim) == (1, before + count))  # noqa: B023
        wire.reset()
        until(lambda: asked(victim)[0] == 0)


def asked(victim: Victim) -> tuple[int, int]:
    """How many calls of `authenticate` run, and how many there were."""
    now, in_all = get(victim.address, "/asked").rpartition(b"\r\n\r\n")[2].split()
    return int(now), int(in_all)


@pytest.mark.parametrize("allowed", [True, False])
def test_row_34_what_comes_before_authorisation_waits_for_it(victim: Victim, allowed: bool) -> None:
    packet = '{{"protocol":"{}","event":"x","payload":{{"message":"{}"}}}}'.format
    early = [
        encode_frame(TEXT, text.encode(), mask=b"\x01\x02\x03\x04")
        for text in (packet("changeChannel", "Home"), packet("message", "early"))
    ]
    with victim.wire("/ws") as other, victim.wire("/wait", upgrade=False) as wire:

        def heard() -> str:
            text = "x"
            while text.startswith("x"):  # what a flood before this test has left is still delivered
                text = json.loads(other.message())["payload"]["message"]
            return text

        wire.sock.sendall(wire.connection.data_to_send() + b"".join(early))
        other.send(packet("message", "before"))
        assert heard() == "before"
        assert status(get(victim.address, "/allow" if allowed else "/forbid")) == 200
        assert isinstance(wire.next(), Accept if allowed else Reject)
        if allowed:
            assert heard() == "early"
        other.send(packet("message", "after"))
        assert heard() == "after"  # no packet of the refused client


def test_row_35_handshakes_that_interleave_share_nothing(victim: Victim) -> None:
    number = 300
    wires = [
        victim.wire("/guarded", upgrade=False, headers=Headers({"cookie": f"session=user-{n}"}))
        for n in range(number)
    ]
    requests = [wire.connection.data_to_send() for wire in wires]
    asking = '{"protocol":"message","event":"who","payload":{"message":""}}'
    try:
        for wire, upgrade in zip(wires, requests, strict=True):
            wire.sock.sendall(upgrade[:40])
        for wire, upgrade in zip(reversed(wires), reversed(requests), strict=True):
            wire.sock.sendall(upgrade[40:])
        for wire in wires:
            assert isinstance(wire.next(), Accept)
            wire.send(asking)
        for n, wire in enumerate(wires):
            assert json.loads(wire.message())["message"] == f"user-{n}"
    finally:
        for wire in wires:
            wire.close()
    with victim.wire("/guarded") as nobody:
        assert isinstance(nobody.answer, Reject)
