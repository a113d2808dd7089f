"""Packets of the classic dialect: what is accepted, what is refused, and what is written."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sono_core import Limits, LocalProtocolError
from sono_core.messaging.classic import packets
from sono_core.messaging.classic.packets import (
    Broadcast,
    ChangeChannel,
    ChannelPayload,
    DirectMessage,
    DirectPayload,
    Grab,
    GrabPayload,
    Message,
    MessagePayload,
    Packet,
    PacketError,
)

LIMITS = Limits()


def parse(text: str) -> Packet:
    return packets.parse(text, LIMITS)


def refusal(text: str) -> PacketError:
    """Why the text is refused."""
    with pytest.raises(PacketError) as caught:
        parse(text)
    # the reason fits in a packet, and does not grow with the refused packet
    assert len(packets.error(caught.value.code, caught.value.text)) < 400 or "\\u" in text
    return caught.value


def with_message(value: str) -> str:
    return f'{{"protocol":"message","payload":{{"message":{value}}}}}'


def with_to(value: str) -> str:
    return f'{{"protocol":"directmessage","payload":{{"message":1,"to":{value}}}}}'


def with_event(value: str, protocol: str = "message") -> str:
    return f'{{"protocol":"{protocol}","event":{value},"payload":{{"message":"myid","to":"a"}}}}'


def message_in(text: str) -> Any:
    packet = parse(text)
    assert isinstance(packet, Message)
    return packet.payload.message


# -- the five packets -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "packet"),
    [
        (
            '{"protocol":"message","event":"e","payload":{"message":[1]}}',
            Message(MessagePayload([1]), "e"),
        ),
        (
            '{"protocol":"broadcast","event":"e","payload":{"message":null}}',
            Broadcast(MessagePayload(None), "e"),
        ),
        (
            '{"protocol":"directmessage","event":"e","payload":{"message":"m","to":"1001"}}',
            DirectMessage(DirectPayload("m", "1001"), "e"),
        ),
        (
            '{"protocol":"directmessage","payload":{"message":"m","to":1001}}',
            DirectMessage(DirectPayload("m", 1001), "message"),
        ),
        (
            '{"protocol":"changeChannel","payload":{"to":"news"}}',
            ChangeChannel(ChannelPayload("news")),
        ),
        (
            '{"protocol":"grab","event":"grab","payload":{"message":"myid"}}',
            Grab(GrabPayload("myid"), "grab"),
        ),
        ('{"protocol":"grab","payload":{"message":"myid"}}', Grab(GrabPayload("myid"), "grab")),
        ('{"protocol":"grab","payload":{"message":[]}}', Grab(GrabPayload([]), "grab")),
    ],
)
def test_a_packet_of_each_kind(text: str, packet: Packet) -> None:
    assert parse(text) == packet


@pytest.mark.parametrize("protocol", ["message", "broadcast", "directmessage"])
def test_the_default_event_is_message(protocol: str) -> None:
    packet = parse(f'{{"protocol":"{protocol}","payload":{{"message":1,"to":"a"}}}}')
    assert not isinstance(packet, ChangeChannel)
    assert packet.event == "message"


def test_keys_that_nobody_knows_are_ignored() -> None:
    text = '{"id":[{}],"protocol":"changeChannel","event":"e","payload":{"message":1,"to":"x"}}'
    assert parse(text) == ChangeChannel(ChannelPayload("x"))


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("null", None),
        ("true", True),
        ("-1.5e3", -1500.0),
        ('"\\ud83d\\ude00"', "😀"),
        ('{"a":[{"b":[]}]}', {"a": [{"b": []}]}),
        ('"\\u0000"', "\0"),
    ],
)
def test_a_message_is_any_json_value(value: str, message: object) -> None:
    assert message_in(with_message(value)) == message


# -- what is refused --------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "null",
        "true",
        "1",
        '"message"',
        "[]",
        "{}",
        "{",
        "\ufeff{}",
        "nonsense",
        with_message("1") + "x",
        with_message("1") + "\0",
        with_message('"\x01"'),
        "{'protocol':'message'}",
        '{"protocol":"message"}',
        '{"protocol":"message","payload":null}',
        '{"protocol":"message","payload":[]}',
        '{"protocol":"message","payload":{}}',
        '{"protocol":"broadcast","payload":{"to":1}}',
        '{"protocol":"directmessage","payload":{"message":1}}',
        '{"protocol":"directmessage","payload":{"to":"a"}}',
        '{"protocol":"changeChannel","payload":{"message":"x"}}',
        '{"protocol":"changeChannel","payload":{"to":5}}',
        '{"protocol":"changeChannel","payload":{"to":null}}',
        '{"protocol":"grab","payload":{}}',
        '{"payload":{"message":1}}',
        '{"protocol":null,"payload":{"message":1}}',
        '{"protocol":1,"payload":{"message":1}}',
        '{"protocol":"","payload":{"message":1}}',
        '{"protocol":"Message","payload":{"message":1}}',
        '{"protocol":"__proto__","payload":{"message":1}}',
        '{"protocol":"error","payload":{"message":1}}',
    ],
)
def test_what_is_no_packet_is_refused(text: str) -> None:
    assert refusal(text).code == "invalid-packet"


@pytest.mark.parametrize(
    "value", ["true", "false", "null", "1.5", "1.0", "1e3", "1e300", "[]", "{}", '["a"]']
)
def test_to_is_a_string_or_an_integer(value: str) -> None:
    assert refusal(with_to(value)).code == "invalid-packet"


def test_a_refusal_does_not_grow_with_what_it_refuses() -> None:
    refusal('{"protocol":"%s","payload":{"message":1}}' % ("x" * 1_000_000))
    refusal(with_event('"%s"' % ("e" * 1_000_000)))
    assert len(PacketError("code", "t" * 1_000_000).text) == 256


# -- JSON -------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["[" * 200_000, '{"a":' * 200_000])
def test_200_000_brackets_are_refused(text: str) -> None:
    for hostile in (text, with_message(text), f'{{"payload":{text}'):
        assert refusal(hostile).text == "nested deeper than 64 levels"


def test_200_000_brackets_are_refused_where_a_limit_allows_them() -> None:
    with pytest.raises(PacketError) as caught:
        packets.parse(
            with_message("[" * 200_000), Limits(max_depth=1_000_000, max_containers=1_000_000)
        )
    assert caught.value.code == "invalid-packet"


@pytest.mark.parametrize(("opening", "closing"), [("[", "]"), ('{"a":', "}")])
def test_depth_64_is_allowed_and_65_is_not(opening: str, closing: str) -> None:
    def nested(levels: int) -> str:
        inner = levels - 2  # the packet and its payload are levels too
        return with_message(opening * inner + "0" + closing * inner)

    assert isinstance(parse(nested(64)), Message)
    assert refusal(nested(65)).text == "nested deeper than 64 levels"


def test_depth_is_that_of_the_deepest_place() -> None:
    assert len(message_in(with_message("[" + ",".join(["[]"] * 1000) + "]"))) == 1000


@pytest.mark.parametrize("text", ["[" * 100, "{" * 100 + "]" * 3, '\\"[' * 100, '\\\\"' + "[" * 99])
def test_brackets_in_strings_do_not_count(text: str) -> None:
    assert message_in(with_message(json.dumps(text))) == text
    assert message_in(with_message(json.dumps({text: [text]}))) == {text: [text]}


def test_brackets_after_strings_count() -> None:
    deep = "[" * 63
    for string in ('"\\""', '"\\\\"', '"]]]]"', '"\\\\\\""'):
        assert "nested" in refusal(with_message(f"[{string},{deep}")).text
        assert "nested" in refusal(with_message(f"{{{string}:{deep}")).text


@pytest.mark.parametrize("piece", ['\\"', "\\\\", '"', "[", "{}", '"["', "\\"])
def test_depth_is_found_in_linear_time(piece: str) -> None:
    """The parser does not scan an unterminated string again from each of its quotes."""
    text = "[]" * 40 + '["' + piece * 400_000  # beyond no limit, unless the piece is a bracket
    before = time.process_time()
    refusal(text)
    assert time.process_time() - before < 3


@pytest.mark.parametrize("digits", [5000, 100_000])
@pytest.mark.parametrize("sign", ["", "-"])
def test_integers_of_thousands_of_digits_are_refused(digits: int, sign: str) -> None:
    number = sign + "9" * digits
    for text in (with_message(number), with_message(f'[{{"a":{number}}}]'), with_to(number)):
        assert refusal(text).code == "invalid-packet"


FITTING = [2**63 - 1, -(2**63), 10**18, 2**53 + 1, -1, 0]
TOO_BIG = [2**63, -(2**63) - 1, 2**64 - 1, 2**64, 10**30, -(10**400)]


@pytest.mark.parametrize("number", FITTING)
def test_integers_within_64_bits_are_exact(number: int) -> None:
    assert message_in(with_message(str(number))) == number
    assert message_in(with_message(f'{{"a":[{number}]}}')) == {"a": [number]}
    packet = parse(with_to(str(number)))
    assert isinstance(packet, DirectMessage)
    assert packet.payload.to == number


@pytest.mark.parametrize("number", TOO_BIG)
def test_integers_beyond_64_bits_are_refused(number: int) -> None:
    for text in (
        with_message(str(number)),
        with_message(f"[1,{number}]"),
        with_message(f'{{"a":{{"b":[{number}]}}}}'),
        with_to(str(number)),
        with_message(str(number)).replace('"message"', '"broadcast"', 1),
        with_message(str(number)).replace('"message"', '"grab"', 1),
    ):
        assert refusal(text).code == "invalid-packet"


def test_long_digits_that_are_no_integers_are_allowed() -> None:
    assert message_in(with_message("1.0000000000000000000001")) == 1.0
    assert message_in(with_message("0." + "3" * 1000)) == pytest.approx(1 / 3)
    assert message_in(with_message("1e30")) == 1e30
    assert message_in(with_message('"99999999999999999999999"')) == "9" * 23
    assert message_in(with_message('{"99999999999999999999999":1}')) == {"9" * 23: 1}
    packet = parse(with_to('"99999999999999999999999"'))
    assert isinstance(packet, DirectMessage)
    assert packet.payload.to == "9" * 23


@pytest.mark.parametrize("value", ["NaN", "Infinity", "-Infinity", "1e999", "-1e999", "1E400"])
def test_numbers_that_json_does_not_know_are_refused(value: str) -> None:
    for text in (with_message(value), with_message(f"[{value}]"), with_to(value)):
        assert refusal(text).code == "invalid-packet"


@pytest.mark.parametrize("escape", ["\\ud800", "\\udfff", "\\ud800\\u0041", "\\ude00\\ud83d"])
def test_lone_surrogates_are_refused(escape: str) -> None:
    for text in (
        with_message(f'"{escape}"'),
        with_message(f'{{"{escape}":1}}'),
        with_to(f'"{escape}"'),
        with_event(f'"{escape}"'),
        f'{{"protocol":"changeChannel","payload":{{"to":"{escape}"}}}}',
        f'{{"protocol":"grab","payload":{{"message":"{escape}"}}}}',
    ):
        assert refusal(text).code == "invalid-packet"


def test_a_lone_surrogate_in_the_text_itself_is_refused() -> None:
    """A WebSocket never delivers these; but a caller of the core may pass any str."""
    assert refusal(with_message('"\ud800"')).code == "invalid-packet"


def test_of_duplicate_keys_the_last_wins() -> None:
    text = (
        '{"protocol":"message","event":"a","payload":{"message":0},'
        '"event":"b","payload":{"message":1,"message":{"x":1,"x":2}}}'
    )
    assert parse(text) == Message(MessagePayload({"x": 2}), "b")


def test_a_protocol_that_contradicts_itself_is_refused() -> None:
    text = '{"protocol":"message","protocol":"broadcast","payload":{"message":1}}'
    assert refusal(text).code == "invalid-packet"
    assert isinstance(parse(text.replace("broadcast", "message")), Message)


def test_a_reserved_event_cannot_hide_behind_a_duplicate() -> None:
    assert (
        refusal('{"protocol":"message","event":"a","event":"grab","payload":{"message":1}}').code
        == "reserved-event"
    )


# -- names ------------------------------------------------------------------------------------


@pytest.mark.parametrize("protocol", ["message", "broadcast", "directmessage", "grab"])
@pytest.mark.parametrize(
    "value", ["null", "1", "{}", "[]", "true", '""', '"' + "e" * 1_000_000 + '"', '"a\\nb"']
)
def test_an_event_is_a_short_string(protocol: str, value: str) -> None:
    assert refusal(with_event(value, protocol)).code == "invalid-packet"


@pytest.mark.parametrize("protocol", ["message", "broadcast", "directmessage"])
@pytest.mark.parametrize("event", ["grab", "error", "gr\\u0061b", "\\u0065rror"])
def test_reserved_events_are_refused(protocol: str, event: str) -> None:
    assert refusal(with_event(f'"{event}"', protocol)).code == "reserved-event"


def test_a_grab_is_answered_under_any_name_that_the_asker_chooses() -> None:
    for event in ("grab", "error", "mine"):
        assert parse(with_event(f'"{event}"', "grab")) == Grab(GrabPayload("myid"), event)


def with_name(name: str, what: str) -> str:
    if what == "event":
        return with_event(json.dumps(name))
    return json.dumps({"protocol": "changeChannel", "payload": {"to": name}})


@pytest.mark.parametrize("what", ["event", "channel"])
@pytest.mark.parametrize(
    "name",
    ["x" * 128, "é" * 128, "😀" * 128, " ", "\xa0", "__proto__", "constructor", "toString", "Grab"],
)
def test_a_name_has_up_to_128_characters_of_any_script(name: str, what: str) -> None:
    packet = parse(with_name(name, what))
    assert name == (packet.payload.to if isinstance(packet, ChangeChannel) else packet.event)


@pytest.mark.parametrize("what", ["event", "channel"])
@pytest.mark.parametrize("name", ["", "x" * 129, "😀" * 129])
def test_a_name_is_neither_empty_nor_longer(name: str, what: str) -> None:
    error = refusal(with_name(name, what))
    assert (error.code, error.text) == ("invalid-packet", f"{what}: 1 to 128 characters")


@pytest.mark.parametrize("what", ["event", "channel"])
@pytest.mark.parametrize("character", [*map(chr, range(32)), *map(chr, range(0x7F, 0xA0))])
def test_a_name_holds_no_control_character(character: str, what: str) -> None:
    error = refusal(with_name(f"a{character}", what))
    assert (error.code, error.text) == (
        "invalid-packet",
        f"{what}: control characters are not allowed",
    )


# -- what the server writes -------------------------------------------------------------------


def test_what_is_relayed() -> None:
    text = packets.relayed("e", {"a": 1}, "id")
    assert json.loads(text) == {"protocol": "e", "payload": {"message": {"a": 1}, "from": "id"}}


def test_what_the_server_says() -> None:
    text = packets.from_server("message", "hello")
    assert json.loads(text) == {
        "protocol": "message",
        "payload": {"message": "hello"},
        "message": "hello",
    }


def test_a_listing() -> None:
    text = packets.listing("grab", "clients", '["a","b"]')
    payload = {"message": ["a", "b"], "type": "clients"}
    assert json.loads(text) == {"protocol": "grab", "payload": payload}
    cut = packets.listing("grab", "clients", '["a","b"]', truncated=True)
    assert json.loads(cut) == {"protocol": "grab", "payload": {**payload, "truncated": True}}


@pytest.mark.parametrize("name", ["a", "\x00", '"', "é", "😀", "日本"])
@pytest.mark.parametrize("number", [0, 1, 2, 5])
def test_names_are_cut_at_a_whole_one(name: str, number: int) -> None:
    names = [name] * number
    whole = json.dumps(names, ensure_ascii=False, separators=(",", ":"))
    size = len(whole.encode())
    for room in (size, size + 1):
        assert packets.names_within(names, room) == (whole, number, False)
    for room in range(-1, size):
        text, fitting, truncated = packets.names_within(names, room)
        assert json.loads(text) == names[:fitting]
        assert len(text.encode()) <= max(room, 2)
        assert (fitting < number) is truncated
        assert fitting == 0 or len(f"{text},{json.dumps(name, ensure_ascii=False)}".encode()) > room


def test_no_more_names_are_looked_at_than_fit() -> None:
    looked = iter(["a"] * 1000)
    assert packets.names_within(looked, 41) == ('["a",' + '"a",' * 8 + '"a"]', 10, True)
    assert len(list(looked)) == 1000 - 11


def test_an_error() -> None:
    text = packets.error("invalid-packet", 'not "JSON"')
    assert json.loads(text) == {
        "protocol": "error",
        "payload": {"code": "invalid-packet", "message": 'not "JSON"'},
    }


class Cyclic(list[Any]):
    def __init__(self) -> None:
        super().__init__()
        self.append(self)


@pytest.mark.parametrize("message", [object(), Cyclic(), [object()], {(1, 2): 3}])
def test_what_json_cannot_express_is_the_callers_mistake(message: object) -> None:
    with pytest.raises(TypeError, match="cannot be written as JSON"):
        packets.from_server("message", message)


@pytest.mark.parametrize("message", ["\ud800", ["\udfff"], {"\ud800": 1}])
def test_a_lone_surrogate_is_the_callers_mistake(message: object) -> None:
    with pytest.raises(LocalProtocolError, match="lone surrogate"):
        packets.from_server("message", message)


# -- properties -------------------------------------------------------------------------------

json_values = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(-(2**63), 2**63 - 1),
        st.floats(allow_nan=False, allow_infinity=False),
        st.text(max_size=8),
        st.sampled_from(["__proto__", "[" * 70, '"', "\\", "\u2028"]),
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=4), inner, max_size=3)
    ),
    max_leaves=10,
)


@given(json_values, st.booleans())
def test_any_json_value_is_relayed_as_it_is(value: object, ascii_only: bool) -> None:
    text = with_message(json.dumps(value, ensure_ascii=ascii_only))
    relayed = packets.relayed("message", message_in(text), "id")
    assert json.loads(relayed)["payload"]["message"] == value


pieces = st.sampled_from(
    [
        *("{", "}", "}}", "[", "]", ":", ",", '"', "\\", "1", "1e9", "null", "\\ud800"),
        *('"protocol"', '"message"', '"payload"', '"to"', '"event"'),
        '{"protocol":"message","payload":{"message":',
    ]
)


@given(st.one_of(st.text(max_size=30), st.lists(pieces, max_size=12).map("".join)))
def test_any_text_is_a_packet_or_refused(text: str) -> None:
    refused = None
    try:
        packet = parse(text)
    except PacketError as error:
        refused = error
    if refused:
        assert refused.code in ("invalid-packet", "reserved-event")
        assert packets.error(refused.code, refused.text)
    else:
        assert isinstance(packet, (Message, Broadcast, DirectMessage, ChangeChannel, Grab))


@given(json_values)
def test_depth_is_counted_as_the_parser_would(value: object) -> None:
    def depth(inner: object) -> int:
        if isinstance(inner, dict):
            return 1 + max(map(depth, inner.values()), default=0)
        return 1 + max(map(depth, inner), default=0) if isinstance(inner, list) else 0

    limits = Limits(max_depth=3)
    text = with_message(json.dumps(value))
    if depth(value) + 2 <= 3:
        packets.parse(text, limits)
    else:
        with pytest.raises(PacketError, match="nested deeper than 3 levels"):
            packets.parse(text, limits)


def test_what_cannot_be_written_at_all() -> None:
    """The caller is told at the call, and nothing is written."""
    packet = {"payload": {"message": {"x": None}}}
    with pytest.raises(LocalProtocolError, match="NaN"):
        packets.dump(packet, {"x": float("nan")})
    with pytest.raises(LocalProtocolError, match="has more than 5 bytes"):
        packets.dump("12345", "12345", Limits(max_message=5))
    with pytest.raises(LocalProtocolError, match="message: "):
        packets.dump([[1]], [[1]], Limits(max_depth=1))
    with pytest.raises(LocalProtocolError, match="surrogate"):
        packets.dump("\ud800", "\ud800")
    with pytest.raises(TypeError, match="cannot be written as JSON"):
        packets.dump(object(), object())
    deep: list[Any] = []
    for _ in range(100_000):
        deep = [deep]
    with pytest.raises((TypeError, LocalProtocolError)):
        packets.dump("null", deep)
