"""Bad input of clients that speak `sono.v2`: each has an answer, and harms nobody else."""

from __future__ import annotations

import json
import time
from typing import Any

import msgspec
import pytest

from sono_core.limits import DEFAULT_LIMITS
from tests.hostile.conftest import MIB, Victim
from tests.lossless_wire import Speaker

JOINED = DEFAULT_LIMITS.max_joined


def speaker(victim: Victim, target: str = "/lossless", **hello: Any) -> Speaker:
    return Speaker(victim.address, hello, target=target)


def again(victim: Victim, key: str, target: str = "/lossless", **hello: Any) -> Speaker:
    return speaker(victim, target, key=key, **hello)


def begun(one: Speaker, stream: str) -> Any:
    """How a client follows a stream."""
    (found,) = [each for each in one.welcome["streams"] if each["stream"] == stream]
    return found


# -- keys -----------------------------------------------------------------------------------------

WRONG_KEYS = {
    "empty": "",
    "dot": ".",
    "no secret": "{id}.",
    "wrong secret": "{id}.AAAAAAAAAAAAAAAAAAAAAAAA",
    "half a secret": "{half}",
    "no id": ".{secret}",
    "a surrogate's neighbour": "{id}.\ud7ff\U0010ffff",
    "a megabyte": "{id}." + "x" * 900_000,
}


@pytest.mark.parametrize("key", WRONG_KEYS.values(), ids=WRONG_KEYS)
def test_a_wrong_key_is_as_a_session_that_is_gone(victim: Victim, key: str) -> None:
    with speaker(victim) as owner:
        id, _, secret = owner.welcome["key"].partition(".")
        given = key.format(id=id, secret=secret, half=owner.welcome["key"][:-1])
        with again(victim, given) as thief:
            assert thief.welcome["resumed"] is False
            assert thief.id != owner.id
        owner.beat()


def test_an_old_key_is_as_a_session_that_is_gone(victim: Victim) -> None:
    with speaker(victim) as first:
        old = first.welcome["key"]
        with again(victim, old) as second:
            assert second.welcome["resumed"] is True
            second.beat()  # the new key has arrived
            with again(victim, old) as third:
                assert third.welcome["resumed"] is False
            second.beat()


def test_a_key_of_somebody_else_is_refused(victim: Victim) -> None:
    with speaker(victim, "/named", token="ann") as ann:
        thief = Speaker(victim.address, target="/named")
        with thief:
            thief.say("hello", key=ann.welcome["key"], token="bob")
            assert thief.wire.closed().code == 4011
        ann.beat()
        nobody = Speaker(victim.address, target="/named")
        with nobody:
            nobody.say("hello", key=ann.welcome["key"])
            assert nobody.wire.closed().code == 4011


def test_of_two_that_resume_at_once_the_newer_wins(victim: Victim) -> None:
    with speaker(victim) as first:
        key = first.welcome["key"]
        racers = [Speaker(victim.address, target="/lossless") for _ in range(5)]
        for racer in racers:
            racer.say("hello", key=key)
        ends = []
        for racer in racers:
            try:
                racer.welcome = racer.wait_for("welcome")
                ends.append(racer)
            except AssertionError:  # it was closed before
                pass
        assert first.wire.closed().code == 4012
        winner = ends[-1]
        assert winner.welcome["resumed"] is True
        assert winner.id == first.id
        winner.beat()
        for racer in racers:
            racer.wire.close()


# -- positions ------------------------------------------------------------------------------------

HALVES = [
    [],
    ["e"],
    [None, 1],
    ["e", None],
    ["e", -1],
    ["e", 1.5],
    ["", 1],
    ["e", 1, 1],
    {},
    "e",
    1,
]


@pytest.mark.parametrize("half", HALVES, ids=map(json.dumps, HALVES))
def test_half_a_position_is_refused(victim: Victim, half: object) -> None:
    with Speaker(victim.address, target="/lossless") as one:
        one.say("hello", streams={"*": half})
        assert one.wait_for("error")["code"] == "invalid-packet"
        assert one.hello()["resumed"] is False
        one.say("read", stream="*", at=half)
        assert one.wait_for("error")["code"] == "invalid-packet"
        assert one.refused("join", channel="c", at=half) == "invalid-packet"


@pytest.mark.parametrize("ahead", [1, 2**31, 2**52])
def test_a_position_of_the_future_is_not_recovered(victim: Victim, ahead: int) -> None:
    with speaker(victim, joined=["future"]) as one:
        at = begun(one, "#future")["at"]
        one.do("publish", channel="future", event="e", data=1)
        one.lose()
        future = [at[0], at[1] + ahead + 1]
        with again(victim, one.welcome["key"], streams={"#future": future}) as back:
            found = begun(back, "#future")
            assert found["recovered"] is False
            assert found["at"][0] == at[0]
            assert found["at"][1] <= at[1] + 1


def test_an_epoch_of_another_server_is_not_recovered(victim: Victim) -> None:
    with speaker(victim, joined=["c"], streams={"#c": ["elsewhere", 5], "*": ["x" * 64, 1]}) as one:
        assert not begun(one, "#c")["recovered"]
        assert not begun(one, "*")["recovered"]
        assert begun(one, "#c")["at"][0] != "elsewhere"
    with Speaker(victim.address, target="/lossless") as one:
        one.say("hello", streams={"*": ["x" * 65, 1]})
        assert one.wait_for("error")["code"] == "invalid-packet"


def test_positions_in_ten_thousand_streams_of_others_are_ignored(victim: Victim) -> None:
    streams = {f"#s{number}": ["e", number] for number in range(10_000)}
    with speaker(victim, streams=streams) as one:
        assert {each["stream"] for each in one.welcome["streams"]} == {"@", "*", "#Home"}
        one.say("read", stream="#s1", at=["e", 1])
        assert one.wait_for("error")["code"] == "not-a-member"


# -- numbers --------------------------------------------------------------------------------------


def test_numbers_that_go_back_are_answered_once_more_and_leaps_are_refused(victim: Victim) -> None:
    with speaker(victim) as one:
        first = one.do("request", name="echo", data="first")
        for _ in range(3):
            one.say("request", seq=1, name="echo", data="other")
            assert one.wait_for("result", re=1) == first
        for seq in (3, 100, 2**53 - 1):
            one.say("publish", seq=seq, channel="Home", event="e", data=1)
            assert one.wait_for("error")["code"] == "bad-seq"
        for illegal in (0, -1, 2**53, 1.5, "2", None, True):
            one.say("join", seq=illegal, channel="c")
            assert one.wait_for("error")["code"] == "invalid-packet"
        assert one.do("request", name="echo", data=2)["data"] == 2


def test_what_was_never_sent_cannot_be_acknowledged(victim: Victim) -> None:
    with speaker(victim) as one:
        one.say("ack")
        assert one.wait_for("error")["code"] == "unknown-type"
        for seq in (99, 2**53 - 1):
            one.say("ack", seq=seq)
            assert one.wait_for("error")["code"] == "bad-seq"
        assert one.refused("ack") == "unknown-type"
        assert one.do("request", name="echo", data="still")["data"] == "still"


@pytest.mark.parametrize("re", [0, 1, -1, 99, 2**53, 2**63 - 1])
def test_a_reply_that_nobody_waits_for_is_harmless(victim: Victim, re: int) -> None:
    with speaker(victim) as one:
        assert one.refused("reply", re=re, data=1) == "no-such-request"
        assert one.refused("reply", re=re, error={"code": "x", "message": "y"}) == "no-such-request"


# -- much -----------------------------------------------------------------------------------------


@pytest.mark.slow
def test_ten_thousand_joins(victim: Victim) -> None:
    with victim.growing_less_than(40 * MIB), speaker(victim) as one:
        number = 10_000
        for n in range(number):
            one.number("join", channel=f"c{n}")
            if n % 500 == 499:
                results = [one.wait_for("result", re=seq) for seq in range(n - 498, n + 2)]
                refused = [each["error"]["code"] for each in results if "error" in each]
                assert set(refused) <= {"too-many-channels"}
                assert len(refused) == (500 - JOINED if n < 500 else 500)


def test_ten_thousand_channels_in_a_hello(victim: Victim) -> None:
    with speaker(victim, joined=[f"c{n}" for n in range(10_000)]) as one:
        assert len(one.welcome["streams"]) <= JOINED + 4
        one.beat()


@pytest.mark.slow
def test_ten_thousand_beats_are_answered_at_the_rate_of_packets(victim: Victim) -> None:
    number = 5000
    with speaker(victim) as one, victim.wire() as bystander:
        began = time.monotonic()
        for _ in range(number):
            one.say("beat")
        bystander.send("quick?")
        assert bystander.message() == "quick?"
        for _ in range(number):
            one.wait_for("beat")
        owed = number - 2 * DEFAULT_LIMITS.packet_rate
        assert time.monotonic() - began >= owed / DEFAULT_LIMITS.packet_rate * 0.9


def test_who_never_says_a_beat_stays(victim: Victim) -> None:
    """Pings of the protocol tell who is there; a beat is for browsers, and nobody owes one."""
    with speaker(victim) as one:
        for _ in range(3):
            assert one.do("request", name="echo", data=1)["data"] == 1


@pytest.mark.parametrize("seconds", [0.001, 1e300, 2**62])
def test_a_request_may_ask_for_any_time(victim: Victim, seconds: float) -> None:
    with speaker(victim) as one:
        assert one.do("request", name="echo", data=1, timeout=seconds)["data"] == 1
        for illegal in (0, -1, "1"):
            code = one.refused("request", name="echo", data=1, timeout=illegal)
            assert code == "invalid-packet"


# -- payloads -------------------------------------------------------------------------------------


@pytest.mark.parametrize("bad", [{}, {"text": 1}, {"text": "x" * 501}, [], None, "text", 7])
def test_a_payload_that_does_not_fit_is_named(victim: Victim, bad: object) -> None:
    with speaker(victim) as one:
        for kind, packet in (("publish", {"channel": "Home", "event": "typed"}), ("request", {})):
            fields = {"name": "typed"} if kind == "request" else packet
            error = one.do(kind, data=bad, **fields)["error"]
            assert error["code"] == "invalid-packet"
            assert ("text" in error["message"]) or "object" in error["message"]
        fits = {"text": "x" * 500}
        assert one.do("request", name="typed", data=fits)["data"] == fits


PACKED = {
    "an array of 4 G elements": b"\xdd\xff\xff\xff\xff",
    "a map of 4 G pairs": b"\xdf\xff\xff\xff\xff",
    "a string of 4 GB": b"\xdb\xff\xff\xff\xff",
    "binary of 4 GB": b"\xc6\xff\xff\xff\xff",
    "an extension of 4 GB": b"\xc9\xff\xff\xff\xff\x01",
    "deep arrays": b"\x91" * 900_000,
    "deep maps": b"\x81\xa1x" * 300_000,
    "many arrays": b"\xdd\x00\x0d\x00\x00" + b"\x90" * (0x0D0000),
    "a timestamp": b"\xd6\xff\x00\x00\x00\x00",
    "an extension": b"\xd4\x01\x00",
    "a key that is no string": b"\x81\x01\x01",
    "a key that is a map": b"\x81\x80\x01",
    "not a number": b"\xcb\x7f\xf8\x00\x00\x00\x00\x00\x00",
    "infinity": b"\xcb\x7f\xf0\x00\x00\x00\x00\x00\x00",
    "an integer of 64 bits without sign": b"\xcf\xff\xff\xff\xff\xff\xff\xff\xff",
    "never used": b"\xc1",
    "nothing": b"",
    "a lone surrogate": b"\xa3\xed\xa0\x80",
}


@pytest.mark.parametrize("bomb", PACKED.values(), ids=PACKED)
def test_a_bomb_of_messagepack_is_refused(victim: Victim, bomb: bytes) -> None:
    begins = b"\x84\xa4type\xa7publish\xa7channel\xa4Home\xa5event\xa1e\xa4data"
    with (
        victim.growing_less_than(20 * MIB),
        Speaker(victim.address, {}, "sono.v2.msgpack", "/lossless") as one,
    ):
        for message in (bomb, begins + bomb):
            one.wire.send(message)
            assert one.wait_for("error")["code"] == "invalid-packet"
        assert one.do("request", name="echo", data=b"bytes")["data"] == b"bytes"


def test_trailing_bytes_and_several_packets_in_a_message_are_refused(victim: Victim) -> None:
    beat = msgspec.msgpack.encode({"type": "beat"})
    with Speaker(victim.address, {}, "sono.v2.msgpack", "/lossless") as one:
        for message in (beat + beat, beat + b"\x00"):
            one.wire.send(message)
            assert one.wait_for("error")["code"] == "invalid-packet"
        one.beat()
