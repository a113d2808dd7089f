"""Transcripts as files: parsed, and refused if they mean nothing. docs/transcripts.md."""

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, get_args

import msgspec

from sono_core.errors import SonoError
from sono_core.messaging.lossless import packets

from . import matching

SIDES = ("server", "client")
LEVELS = ("core", "usual", "full")
"""What takes less is in those before."""
RUN = "{run}"
"""What each play has something of its own for, so that names are new to a server."""
DEFAULT_PROTOCOL = "sono.v2"
FIRST_CONNECTION = "a"

_file_name = re.compile(r"(\d+\.\d+)-[a-z0-9-]+\.jsonl").fullmatch
_clause = re.compile(r"\d+\.\d+").fullmatch


class TranscriptError(SonoError):
    """A transcript is not as docs/transcripts.md says; the text names the line."""


@dataclass(frozen=True)
class Step:
    """One line after the first."""

    line: int
    kind: str
    fields: Mapping[str, Any]

    @property
    def on(self) -> str:
        """The connection that it is about."""
        named = self.fields[self.kind] if self.kind in _NAMING else self.fields.get("on")
        return named if isinstance(named, str) else FIRST_CONNECTION


@dataclass(frozen=True)
class Transcript:
    """An exchange between clients and a server, and what must follow."""

    name: str
    title: str
    clauses: tuple[str, ...]
    """Those of docs/protocol.md that it shows; its name begins with the first."""
    subjects: tuple[str, ...]
    """Whom it tests: "server", "client" or both."""
    level: str
    values: Mapping[str, Any]
    """What placeholders stand for when the player is the server."""
    lines: tuple[str, ...] = field(repr=False)

    def steps(self, run: str = "run") -> list[Step]:
        """The steps for one play."""
        return [_step(number, line, run) for number, line in enumerate(self.lines[1:], 2)]


def load(folder: Path) -> list[Transcript]:
    """All transcripts of a folder, in the order of their clauses.

    Raises:
        TranscriptError: one is not valid.
        OSError: one cannot be read.
    """
    found = [parse(path.name, path.read_text("utf-8")) for path in folder.glob("*.jsonl")]
    return sorted(found, key=lambda transcript: (_numbers(transcript.clauses[0]), transcript.name))


def parse(name: str, text: str) -> Transcript:
    """A transcript from its file's name and text.

    Raises:
        TranscriptError: it is not valid.
    """
    lines = tuple(text.splitlines())
    try:
        head = _object(lines[0] if lines else "")
        transcript = Transcript(
            name,
            _text(head, "title"),
            tuple(head.pop("clauses", ())),
            tuple(head.pop("for", ())),
            _text(head, "level"),
            MappingProxyType(head.pop("values", {})),
            lines,
        )
        _check_head(transcript, head)
    except (TypeError, ValueError, TranscriptError) as error:
        raise TranscriptError(f"{name}, line 1: {error}") from None
    _check_steps(transcript)
    return transcript


def _numbers(clause: str) -> tuple[int, ...]:
    return tuple(map(int, clause.split(".")))


def _object(line: str) -> dict[str, Any]:
    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        if len(dict(pairs)) < len(pairs):
            raise TranscriptError("a key is there twice")
        return dict(pairs)

    value = json.loads(line, object_pairs_hook=once)
    if not isinstance(value, dict):
        raise TranscriptError("not an object")
    return value


def _text(head: dict[str, Any], key: str) -> str:
    value = head.pop(key, None)
    if not isinstance(value, str) or not value:
        raise TranscriptError(f"{key} is missing")
    return value


def _check_head(transcript: Transcript, rest: Mapping[str, Any]) -> None:
    named = _file_name(transcript.name)
    if not named:
        raise TranscriptError("its name is not CLAUSE-words-with-hyphens.jsonl")
    if not all(map(_clause, transcript.clauses)):
        raise TranscriptError("clauses is no list of numbers such as 5.6")
    if transcript.clauses[:1] != (named[1],):
        raise TranscriptError(f"its name says {named[1]}, and clauses does not begin with it")
    if not transcript.subjects or not set(transcript.subjects) <= set(SIDES):
        raise TranscriptError("for is no list of server, client or both")
    if transcript.level not in LEVELS:
        raise TranscriptError(f"level is neither {' nor '.join(LEVELS)}")
    if rest:
        raise TranscriptError(f"{min(rest)} is not known")


# -- steps ----------------------------------------------------------------------------------------

FIELDS: Mapping[str, frozenset[str]] = {
    kind: frozenset(fields.split())
    for kind, fields in {
        "open": "protocol offers",
        "refuse": "status headers",
        "client": "on odd",
        "server": "on odd",
        "raw": "on by",
        "close": "by code reason",
        "lose": "",
        "wait": "",
        "nothing": "on",
        "do": "as with",
        "tell": "with",
    }.items()
}
"""The kinds of steps, and what else they may have, beside `why`."""
_NAMING = frozenset(("open", "refuse", "close", "lose"))
"""Those whose value is the name of a connection."""
_FOR_CLIENTS = frozenset(("refuse", "do", "tell"))
WORDS = frozenset(
    (
        *("connect", "close", "join", "move", "leave", "publish", "send"),
        *("request", "reply", "present"),
    )
)
"""What an application says to a client."""
TELLS = frozenset(("event", "gap", "status", "outcome", "request", "joined", "left", "members"))
"""What a client tells its application."""


def _step(number: int, line: str, run: str) -> Step:
    fields = _object(line.replace(RUN, run))
    fields.pop("why", None)
    kinds = [kind for kind in fields if kind in FIELDS]
    if len(kinds) != 1:
        raise TranscriptError(f"not one of {', '.join(FIELDS)}")
    return Step(number, kinds[0], MappingProxyType(fields))


def _check_steps(transcript: Transcript) -> None:
    checks = _Checks(transcript)
    for number, line in enumerate(transcript.lines[1:], 2):
        try:
            checks.check(_step(number, line, "run"))
        except (TypeError, ValueError, TranscriptError) as error:
            raise TranscriptError(f"{transcript.name}, line {number}: {error}") from None
    checks.finish(transcript.name)


class _Checks:
    """Follows a transcript without playing it."""

    def __init__(self, transcript: Transcript) -> None:
        self._subjects = transcript.subjects
        self._for_server = "server" in transcript.subjects
        self._known: set[str] = set()  # placeholders that have a value
        self._values = set(transcript.values)
        self._open: set[str] = set()
        self._seen: set[str] = set()
        self._expected: set[str] = set()  # the subjects of whom something was expected

    def check(self, step: Step) -> None:
        kind, fields = step.kind, step.fields
        if others := fields.keys() - FIELDS[kind] - {kind}:
            raise TranscriptError(f"{min(others)} is not known")
        if found := next(filter(None, map(matching.flaw, fields.values())), None):
            raise TranscriptError(found)
        if kind in _FOR_CLIENTS and "client" not in self._subjects:
            raise TranscriptError(f"{kind} is for clients, and this is not for them")
        _CHECKS[kind](self, step)

    def finish(self, name: str) -> None:
        if missing := set(self._subjects) - self._expected:
            raise TranscriptError(f"{name}: nothing is expected of the {min(missing)}")

    def _begin(self, step: Step) -> None:
        name = step.on
        if name in self._seen:
            raise TranscriptError(f"connection {name} was there before")
        self._seen.add(name)

    def _must_be_open(self, step: Step) -> None:
        if step.on not in self._open:
            raise TranscriptError(f"connection {step.on} is not open")

    def _by(self, step: Step) -> str:
        by = step.fields.get("by", "client")
        if by not in SIDES:
            raise TranscriptError("by is neither server nor client")
        return str(by)

    def opens(self, step: Step) -> None:
        self._begin(step)
        self._open.add(step.on)
        self._expected.add("client")

    def refused(self, step: Step) -> None:
        self._begin(step)
        if not isinstance(step.fields.get("status"), int):
            raise TranscriptError("status is missing")
        self._expected.add("client")

    def says(self, step: Step) -> None:
        self._must_be_open(step)
        side = step.kind
        said = step.fields[side]
        for packet in said if isinstance(said, list) else [said]:
            if not step.fields.get("odd"):
                check_packet(packet, side)
        names = set(matching.names_in(said))
        if side == "client":
            unbound = names - self._known
            if self._for_server and unbound:
                raise TranscriptError(f"${min(unbound)} is not bound yet")
        self._known |= names
        self._expected.add(side)

    def says_raw(self, step: Step) -> None:
        self._must_be_open(step)
        if self._by(step) in self._subjects:
            raise TranscriptError("what is tested says no raw messages")
        raw = step.fields["raw"]
        if not isinstance(raw, str) and not (isinstance(raw, dict) and set(raw) == {"$bytes"}):
            raise TranscriptError("raw is neither a text nor $bytes")

    def closes(self, step: Step) -> None:
        self._must_be_open(step)
        self._open.discard(step.on)
        self._expected.add(self._by(step))

    def loses(self, step: Step) -> None:
        self._must_be_open(step)
        self._open.discard(step.on)

    def waits(self, step: Step) -> None:
        if unbound := set(matching.names_in(step.fields["wait"])) - self._known - self._values:
            raise TranscriptError(f"${min(unbound)} is not bound yet")

    def nothing(self, step: Step) -> None:
        if "on" in step.fields:
            self._must_be_open(step)
        if step.fields["nothing"] is not True:
            raise TranscriptError("nothing is not true")
        self._expected |= set(self._subjects)

    def does(self, step: Step) -> None:
        if step.fields["do"] not in WORDS:
            raise TranscriptError(f"{step.fields['do']!r} is no word of an application")

    def tells(self, step: Step) -> None:
        if step.fields["tell"] not in TELLS:
            raise TranscriptError(f"{step.fields['tell']!r} is nothing that a client tells")
        self._known |= set(matching.names_in(step.fields.get("with")))
        self._expected.add("client")


_CHECKS: Mapping[str, Callable[[_Checks, Step], None]] = {
    "open": _Checks.opens,
    "refuse": _Checks.refused,
    "client": _Checks.says,
    "server": _Checks.says,
    "raw": _Checks.says_raw,
    "close": _Checks.closes,
    "lose": _Checks.loses,
    "wait": _Checks.waits,
    "nothing": _Checks.nothing,
    "do": _Checks.does,
    "tell": _Checks.tells,
}


# -- packets --------------------------------------------------------------------------------------


def _shapes(union: Any) -> dict[str, dict[str, Any]]:
    """For each `type` its keys, with what they are if they are left out."""
    shapes: dict[str, dict[str, Any]] = {}
    for kind in get_args(union):
        shape: dict[str, Any] = {}
        for each in msgspec.structs.fields(kind):
            default: Any = each.default
            if each.default_factory is not msgspec.NODEFAULT:
                default = each.default_factory()
            shape[each.encode_name] = default
        shapes[kind.__struct_config__.tag] = shape
    return shapes


SHAPES = {"client": _shapes(packets.FromClient), "server": _shapes(packets.FromServer)}
_NONE = (msgspec.NODEFAULT, msgspec.UNSET, None)


def check_packet(packet: Any, side: str) -> None:
    """Compare the keys of a packet with docs/protocol.md.

    Raises:
        TranscriptError: there is no such packet, or its keys are not those.
    """
    if not isinstance(packet, dict):
        raise TranscriptError("a packet is no object")
    shape = SHAPES[side].get(packet.get("type", ""))
    if shape is None:
        raise TranscriptError(f"a {side} sends no packet of type {packet.get('type')!r}")
    if unknown := packet.keys() - shape.keys() - {"type", matching.MORE}:
        raise TranscriptError(f"{packet['type']} has no key {min(unknown)!r}")
    needed = {key for key, default in shape.items() if default is msgspec.NODEFAULT}
    if (missing := needed - packet.keys()) and matching.MORE not in packet:
        raise TranscriptError(f"{packet['type']} needs the key {min(missing)!r}")


def normal(packet: Any, side: str) -> Any:
    """A packet with the keys that it leaves out, and without those that receivers ignore."""
    shape = SHAPES[side].get(packet.get("type", "")) if isinstance(packet, dict) else None
    if shape is None:
        return packet
    filled = {} if matching.MORE in packet else shape
    whole = {key: default for key, default in filled.items() if not _is_none(default)}
    known = {key: packet[key] for key in packet if key in shape or key in ("type", matching.MORE)}
    return _with_temporary({**whole, **known})


def _is_none(default: Any) -> bool:
    return any(default is none for none in _NONE)


def _with_temporary(value: Any) -> Any:
    """Errors with their `temporary`, which may be left out."""
    if isinstance(value, list):
        return [_with_temporary(inner) for inner in value]
    if isinstance(value, dict):
        error = value.get("error")
        if isinstance(error, dict) and "code" in error:
            value = {**value, "error": {"temporary": False, **error}}
        denied = value.get("denied")
        if isinstance(denied, list):
            value = {**value, "denied": _with_temporary(denied)}
    return value
