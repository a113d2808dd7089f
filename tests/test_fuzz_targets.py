"""The fuzz targets: each holds for its corpus, and none misses the defects that it is for."""

from __future__ import annotations

import contextlib
import json
import re
import time
from collections import Counter
from pathlib import Path
from typing import Any, get_args

import pytest

from fuzz import driving, make_corpus
from fuzz.driving import SETTINGS, outcome
from fuzz.make_corpus import CORPUS, ROLES
from fuzz.targets import TARGETS, Target, packets, request, response, v2
from sono_core import Accept, Close, Limits, Reject, TextMessage, native_available
from sono_core.errors import ProtocolFailure
from sono_core.http.head import HeadReader
from sono_core.messaging.lossless import packets as lossless
from sono_core.messaging.v2 import PacketError
from sono_core.websocket.asgi import ASGIConnection
from sono_core.websocket.deflate import Inflater
from sono_core.websocket.reader import MessageReader
from tests.conftest import require


def corpus_of(target: str) -> list[Path]:
    return sorted((CORPUS / target).glob("*.bin"))


def seed(target: str, name: str) -> bytes:
    return (CORPUS / target / f"{name}.bin").read_bytes()


@pytest.mark.parametrize(
    "path",
    [
        pytest.param(path, id=f"{target}-{path.stem}")
        for target in TARGETS
        for path in corpus_of(target)
    ],
)
def test_a_file_of_the_corpus_holds(path: Path) -> None:
    TARGETS[path.parent.name].run(path.read_bytes())


def test_the_corpus_is_what_its_tables_make() -> None:
    there = {f"{path.parent.name}/{path.name}" for path in CORPUS.glob("*/*")}
    assert there == set(make_corpus.corpus())
    assert {name.partition("/")[0] for name in there} == set(TARGETS)


# -- the corpus gets everywhere -------------------------------------------------------------------


@pytest.mark.parametrize("role", ROLES)
def test_frames_end_in_every_way(role: str) -> None:
    ends: Counter[int] = Counter()
    for path in corpus_of(role):
        for setting in SETTINGS:
            if setting.role.value == role:
                end = outcome(setting, [path.read_bytes()], "next").events[-1]
                assert isinstance(end, Close)
                ends[0 if end.clean else end.code] += 1
    assert {0, 1002, 1006, 1007, 1008, 1009} == set(ends)


def test_requests_are_answered_in_every_way() -> None:
    answers = {
        request.answered([path.read_bytes()], limits).answer[9:12]
        for path in corpus_of("request")
        for limits in request.LIMITS
    }
    assert answers == {b"", *b"101 400 403 405 414 426 431 501 505".split()}


def test_responses_open_refuse_and_fail() -> None:
    found = [response.answered([p.read_bytes()], Limits()).events[0] for p in corpus_of("response")]
    kinds = Counter(type(event) for event in found)
    assert kinds[Accept] >= 5
    assert {event.status > 0 for event in found if isinstance(event, Reject)} == {True, False}


def test_packets_of_every_protocol_are_accepted_and_refused() -> None:
    found = [packets.parsed(p.read_bytes().decode(), Limits()) for p in corpus_of("packets")]
    kinds = {type(packet).__name__ for packet in found}
    protocols = {"Message", "Broadcast", "DirectMessage", "ChangeChannel", "Grab"}
    assert kinds == {*protocols, "PacketError"}


def test_packets_of_v2_of_every_type_are_read_in_both_forms() -> None:
    seeds = [path.read_bytes() for path in corpus_of("v2")]
    messages: dict[v2.Codec, list[str | bytes]] = {
        v2.JSON: [seed.decode(errors="ignore") for seed in seeds],
        v2.MSGPACK: [*seeds],
    }
    for codec, said in messages.items():
        found = {type(v2.parsed(codec, message, Limits())) for message in said}
        assert found == {PacketError, *get_args(lossless.FromClient)}
        taken = {type(codec.from_server(message)) for message in said}
        assert taken == {type(None), *get_args(lossless.FromServer)}


# -- what every target checks ---------------------------------------------------------------------


def test_an_exception_breaks_the_rule() -> None:
    def check(data: bytes) -> None:
        raise IndexError("beyond")

    with pytest.raises(AssertionError, match="IndexError"):
        Target("t", check).run(b"")


def test_what_takes_too_long_each_time_breaks_the_rule() -> None:
    def burn(data: bytes) -> None:
        until = time.thread_time() + 0.003
        while time.thread_time() < until:
            pass

    with pytest.raises(AssertionError, match="took longer"):
        Target("t", burn, once=0.001).run(b"")
    Target("t", burn, once=0.001, per_byte=1.0).run(b"x")


def test_what_is_slow_once_is_forgiven() -> None:
    delays = [0.003, 0.0]

    def burn(data: bytes) -> None:
        until = time.thread_time() + delays.pop(0)
        while time.thread_time() < until:
            pass

    Target("t", burn, once=0.001).run(b"")
    assert not delays


# -- planted defects: the target, a file of its corpus, what to replace and by what ----------------


def broken(*_: object, **__: object) -> Any:
    raise IndexError("planted")


def nothing(*_: object, **__: object) -> None:
    return None


def anything(*_: object, **__: object) -> bool:
    return True


_feed = HeadReader.feed


def _only_whole(reader: HeadReader, data: bytes) -> tuple[bytes, bytes] | None:
    """Loses what arrives byte by byte."""
    return _feed(reader, data) if len(data) > 1 else None


def _twice(connection: object, *_: object) -> list[TextMessage]:
    return [TextMessage("one"), TextMessage("two")]


_inflate = Inflater.inflate


def _without_limit(inflater: Inflater, data: bytes, room: int, final: bool) -> list[bytes]:
    return _inflate(inflater, data, 1 << 30, final)


def _shortened(inflater: Inflater, data: bytes, room: int, final: bool) -> list[bytes]:
    return _inflate(inflater, data, room, final)[:-1]


def _with_empty_pieces(inflater: Inflater, data: bytes, room: int, final: bool) -> list[bytes]:
    return [*_inflate(inflater, data, room, final), b""]


def _uncounted(inflater: Inflater, data: bytes, room: int, final: bool) -> list[bytes]:
    return [piece for piece in _inflate(inflater, data, room, final) if piece]


def _without_end(inflater: Inflater, data: bytes, room: int, final: bool) -> list[bytes]:
    with contextlib.suppress(Exception):
        return _inflate(inflater, data, room, final)
    return []


def _found_harmless(*_: object) -> int:
    return 1 << 20


def _refused(*_: object) -> None:
    raise ProtocolFailure(1007, "planted")


_TEXT_UNBOUNDED = {
    **ASGIConnection._TAKERS,
    "websocket.receive": lambda _, received: TextMessage(received.get("text") or ""),
}

DEFECTS: list[tuple[str, str, str, object]] = [
    ("server", "close-3000", "sono_core.websocket.connection.Connection._finish", nothing),
    ("server", "rsv2-text", "sono_core.websocket.connection.Connection.fail", broken),
    ("server", "close-empty", "sono_core.websocket.connection.decode_close", broken),
    ("client", "close-3000", "sono_core.websocket.connection.Connection._finish", nothing),
    ("client", "rsv2-text", "sono_core.websocket.connection.Connection.fail", broken),
    ("client", "deflate", "sono_core.websocket.deflate.Inflater.inflate", broken),
    ("request", "upgrade", "fuzz.targets.request._parsed", lambda head: b"GET"),
    ("request", "get", "sono_core.websocket.handshake.parse_request", broken),
    ("request", "upgrade", "sono_core.http.head.HeadReader.feed", _only_whole),
    (
        "request",
        "upgrade",
        "sono_core.websocket.handshake.accept_response",
        lambda *_: b"HTTP/1.1 101 \r\n",
    ),
    ("request", "upgrade", "sono_core.websocket.upgrade.accept_key", lambda _: "x" * 28),
    ("request", "upgrade", "sono_core.websocket.connection.Connection.receive_data", _twice),
    ("request", "upgrade-key-short", "sono_core.websocket.upgrade._is_key", anything),
    ("request", "upgrade-key-not-canonical", "sono_core.websocket.upgrade._is_key", anything),
    ("request", "upgrade-bare-line-feed", "sono_core.http.head.HeadReader._check_line", nothing),
    ("request", "upgrade-some-fields", "sono_core.http.head.HeadReader._is_good", anything),
    (
        "request",
        "upgrade-http-1.0",
        "sono_core.websocket.connection.refusal",
        lambda _: Reject(200),
    ),
    (
        "request",
        "upgrade-http-1.0",
        "sono_core.websocket.handshake.reject_response",
        lambda *_: b"",
    ),
    ("request", "upgrade-frames", "sono_core.websocket.connection.Connection._finish", nothing),
    ("response", "nothing", "sono_core.http.responses.UpgradeResponseReader.feed", nothing),
    ("response", "refusal", "sono_core.http.responses.UpgradeResponseReader.feed", broken),
    ("response", "switching", "sono_core.http.head.HeadReader.feed", _only_whole),
    ("response", "switching", "sono_core.websocket.connection.Connection._finish", nothing),
    (
        "response",
        "switching-wrong-accept",
        "sono_core.websocket.handshake.accept_key",
        lambda _: "x" * 28,
    ),
    (
        "response",
        "switching-no-upgrade",
        "sono_core.websocket.handshake.upgrade_protocols",
        lambda _: ("websocket",),
    ),
    (
        "response",
        "refusal-long-body",
        "sono_core.http.responses.UpgradeResponseReader._read_body",
        lambda self: (403, self._headers, bytes(70_000)),
    ),
    ("deflate", "bomb-07", "sono_core.websocket.deflate.Inflater.inflate", _without_limit),
    ("deflate", "json-19", "sono_core.websocket.deflate.Inflater.inflate", _shortened),
    ("deflate", "json-19", "sono_core.websocket.deflate.Inflater.inflate", _with_empty_pieces),
    ("deflate", "final-19", "sono_core.websocket.deflate.Inflater.inflate", _with_empty_pieces),
    ("deflate", "final-19", "sono_core.websocket.deflate.Inflater.inflate", _uncounted),
    ("deflate", "wrong-19", "sono_core.websocket.deflate.Inflater.inflate", _without_end),
    ("deflate", "json-19", "sono_core.websocket.deflate.Inflater.inflate", _refused),
    ("deflate", "final-19", "sono_core.websocket.deflate.Inflater._next_stream", broken),
    ("deflate", "json-3f", "sono_core.websocket.deflate.Deflater.deflate", lambda _, data: data),
    ("packets", "integer-too-large", "sono_core.messaging.classic.packets.scan_json", lambda *_: 0),
    ("packets", "too-deep", "sono_core.messaging.classic.packets.scan_json", lambda *_: 0),
    ("packets", "too-many", "sono_core.messaging.classic.packets.scan_json", lambda *_: 0),
    ("packets", "message", "fuzz.targets.packets.pure_scan_json", lambda *_: 0),
    ("packets", "channel-long", "sono_core.messaging.classic.packets.check_name", nothing),
    ("packets", "channel-control", "sono_core.messaging.classic.packets.check_name", nothing),
    (
        "packets",
        "event-reserved",
        "sono_core.messaging.classic.packets.RESERVED_EVENTS",
        frozenset(),
    ),
    ("packets", "surrogate", "sono_core.messaging.classic.packets._BAD_JSON", ()),
    ("packets", "protocol-long", "sono_core.messaging.hub._MAX_TEXT", 1000),
    ("packets", "message", "fuzz.targets.packets.relayed", lambda *_: json.dumps({"protocol": ""})),
    ("v2", "nan", "sono_core.messaging.v2.codec.scan_msgpack", _found_harmless),
    ("v2", "infinity-float32", "sono_core.messaging.v2.codec.scan_msgpack", _found_harmless),
    ("v2", "key-number", "sono_core.messaging.v2.codec.scan_msgpack", _found_harmless),
    ("v2", "key-binary", "sono_core.messaging.v2.codec.scan_msgpack", _found_harmless),
    ("v2", "extension", "sono_core.messaging.v2.codec.scan_msgpack", _found_harmless),
    ("v2", "timestamp", "sono_core.messaging.v2.codec.scan_msgpack", _found_harmless),
    ("v2", "too-deep", "sono_core.messaging.v2.codec.scan_msgpack", _found_harmless),
    (
        "v2",
        "integer-too-large-msgpack",
        "sono_core.messaging.v2.codec.scan_msgpack",
        _found_harmless,
    ),
    ("v2", "too-many-msgpack", "sono_core.messaging.v2.codec.scan_msgpack", _found_harmless),
    ("v2", "beat-msgpack", "sono_core.messaging.v2.codec.scan_msgpack", lambda *_: 1),
    ("v2", "too-deep-json", "sono_core.messaging.v2.codec.JSON._scan", _found_harmless),
    ("v2", "integer-too-large-json", "sono_core.messaging.v2.codec.JSON._scan", _found_harmless),
    ("v2", "announced", "fuzz.targets.v2.pure_scan_msgpack", _found_harmless),
    ("v2", "channel-long-json", "sono_core.messaging.v2.codec.check_name", nothing),
    ("v2", "channel-control-msgpack", "sono_core.messaging.v2.codec.check_name", nothing),
    (
        "v2",
        "event-reserved-msgpack",
        "sono_core.messaging.v2.codec.RESERVED_EVENTS",
        frozenset(),
    ),
    ("v2", "surrogate", "sono_core.messaging.v2.codec._BAD", ()),
    ("v2", "type-long-json", "sono_core.messaging.hub._MAX_TEXT", 1000),
    ("v2", "publish-json", "sono_core.messaging.v2.codec._write_json", lambda _: b"{}"),
    ("v2", "event-msgpack", "sono_core.messaging.v2.codec._write_json", lambda _: b"{}"),
    ("v2", "binary", "sono_core.messaging.lossless.data._without_binary", lambda value: value),
    (
        "v2",
        "duplicate-keys-json",
        "sono_core.messaging.v2.codec.JSON._read_client",
        lambda _: lossless.Publish(channel="c", event="e", data={"a": 2}),
    ),
    ("v2", "publish-json", "sono_core.messaging.lossless.data._read_json", lambda _: None),
    ("headers", "quoted-no-token", "sono_core.http.grammar._is_token", anything),
    ("headers", "quoted", "sono_core.http.grammar._unescape", re.compile("()")),
    ("headers", "spaces", "fuzz.targets.headers.parse_list", lambda values: [""]),
    ("headers", "offer", "sono_core.websocket.deflate.Agreement.header", lambda _: "x"),
    ("headers", "offer", "sono_core.websocket.deflate._narrowed", lambda *_: 9),
    ("headers", "origin-suffix", "fuzz.targets.headers.origin_allowed", anything),
    ("headers", "origin-ipv6-port", "sono_core.websocket.origin._port", lambda *_: 1),
    ("headers", "not-ascii", "fuzz.targets.headers.is_token", anything),
    ("tunnel", "opened", "sono_core.http.responses.FinalHeadReader._parsed", broken),
    ("tunnel", "opened", "sono_core.http.responses.HeadReader.feed", _only_whole),
    ("tunnel", "opened", "sono_core.connect.tunnel.Tunnel._open", nothing),
    ("tunnel", "refused", "sono_core.connect.tunnel.Tunnel._fail", nothing),
    ("tunnel", "interim-too-many", "sono_core.http.responses._MAX_INTERIM", 100),
    ("asgi", "messages", "sono_core.websocket.asgi.ASGIConnection._end", nothing),
    ("asgi", "messages", "sono_core.websocket.asgi.ASGIConnection.verify", broken),
    ("asgi", "too-big", "sono_core.websocket.asgi.ASGIConnection._TAKERS", _TEXT_UNBOUNDED),
]


@pytest.mark.parametrize(("target", "name", "where", "defect"), DEFECTS)
def test_a_target_finds_a_planted_defect(
    monkeypatch: pytest.MonkeyPatch, target: str, name: str, where: str, defect: object
) -> None:
    data = seed(target, name)
    TARGETS[target].run(data)
    monkeypatch.setattr(where, defect)
    with pytest.raises(AssertionError):
        TARGETS[target].run(data)


def test_defects_are_planted_for_every_target() -> None:
    assert {target for target, *_ in DEFECTS} == set(TARGETS)


@pytest.mark.native
def test_frames_find_where_the_native_path_differs(monkeypatch: pytest.MonkeyPatch) -> None:
    require("native", native_available, "build it with a C compiler, and do not set SONO_PURE")
    data = seed("server", "many-messages")
    unmasked = [
        (module, name, (lambda data, mask: data) if name == "apply_mask" else pure)
        for module, name, pure in driving._PURE
    ]
    TARGETS["server"].run(data)
    monkeypatch.setattr(driving, "_PURE", unmasked)
    with pytest.raises(AssertionError):
        TARGETS["server"].run(data)


@pytest.mark.parametrize("role", ROLES)
def test_frames_find_where_a_way_to_cut_differs(monkeypatch: pytest.MonkeyPatch, role: str) -> None:
    feed = MessageReader.feed

    def only_pieces(reader: MessageReader, data: bytes) -> None:
        feed(reader, data if len(data) > 1 else b"")

    monkeypatch.setattr(MessageReader, "feed", only_pieces)
    with pytest.raises(AssertionError):
        TARGETS[role].run(seed(role, "many-messages"))
