"""The grammar of the header fields that the opening handshake uses; pure functions on text.

RFC 9110, sections 5.5 and 5.6 (field values, tokens, lists, quoted strings); RFC 6455, section
9.1 (extensions). Every pattern runs in linear time.
"""

import re
from collections.abc import Iterable, Iterator

_QUOTED = r'"(?P<quoted>(?:[^"\\\x00-\x08\x0a-\x1f\x7f]|\\[\t -~])*)"'

_TOKEN = r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"

_is_token = re.compile(_TOKEN).fullmatch

_is_value = re.compile(r"[\t\x20-\x7e\x80-\xff]*").fullmatch

# uri-host [":" port] of RFC 3986, section 3.2.2: a registered name, an IPv4 or an IPv6 literal
_is_host = re.compile(
    r"(?:(?:[A-Za-z0-9._~!$&'()*+,;=-]|%[0-9A-Fa-f]{2})+|\[[0-9A-Fa-f:.]+\])(?::(?P<port>[0-9]{0,5}))?"
).fullmatch


# The alternatives of each pattern begin with different characters, so no pattern backtracks.
_extension_part = re.compile(
    rf"[ \t]*(?P<name>{_TOKEN})"
    rf"(?:[ \t]*=[ \t]*(?:(?P<token>{_TOKEN})|{_QUOTED}))?"
    r"[ \t]*(?P<end>;|,[ \t,]*|$)"
).match


_unescape = re.compile(r"\\(.)")

Extension = tuple[str, list[tuple[str, str | None]]]
"""An extension's name with its parameters in order; a flag's value is None."""


def is_token(text: str) -> bool:
    """Whether `text` is a token of RFC 9110, section 5.6.2."""
    return _is_token(text) is not None


def is_field_value(text: str) -> bool:
    """Whether `text` may be a header's value: latin-1, no control character but the tab."""
    return _is_value(text) is not None


def is_host(text: str) -> bool:
    """Whether `text` is a host with an optional port (RFC 9110, section 7.2)."""
    match = _is_host(text)
    return match is not None and int(match["port"] or 0) <= 65535


def parse_list(values: Iterable[str]) -> list[str]:
    """The elements of a comma-separated list that may span several fields.

    Empty elements are ignored (RFC 9110, section 5.6.1.2).
    """
    return [
        element
        for value in values
        for padded in value.split(",")
        if (element := padded.strip(" \t"))
    ]


def parse_tokens(values: Iterable[str]) -> list[str]:
    """The tokens of a comma-separated list that may span several fields.

    Raises:
        ValueError: an element is not a token.
    """
    tokens = parse_list(values)
    if not all(map(_is_token, tokens)):
        raise ValueError("an element of the list is not a token")
    return tokens


def parse_extensions(values: Iterable[str]) -> list[Extension]:
    """The extensions of Sec-WebSocket-Extensions fields (RFC 6455, section 9.1), in order.

    Raises:
        ValueError: the grammar is broken, or a quoted value is not a token when unquoted.
    """
    return [extension for value in values for extension in _parse_extension_list(value)]


def _parse_extension_list(value: str) -> Iterator[Extension]:
    extension: Extension | None = None
    value = value.lstrip(" \t,")  # empty elements are ignored (RFC 9110, section 5.6.1.2)
    position = 0
    while position < len(value):
        part = _extension_part(value, position)
        if part is None:
            raise ValueError("malformed extension")
        token, quoted = part["token"], part["quoted"]
        if quoted is not None:
            token = _unescape.sub(r"\1", quoted)
            if not _is_token(token):
                raise ValueError("a quoted parameter is not a token")
        if extension is None:
            if token is not None:
                raise ValueError("an extension's name has a value")
            extension = (part["name"], [])
        else:
            extension[1].append((part["name"], token))
        position = part.end()
        if part["end"] != ";":
            yield extension
            extension = None
        elif position == len(value):
            raise ValueError("malformed extension")
