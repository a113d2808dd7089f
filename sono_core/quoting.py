"""What a log, an exception or a repr may quote of a request, a URL and a peer's text.

The scheme, host, port and path of a URL, the names of header fields, and the first line of a peer's
own words. Never a query, user information, the value of a header field, an offered subprotocol or
the payload of a packet: any of them may be a secret, and logs are read by many.
"""

import re
from collections.abc import Iterable
from typing import Any

import msgspec

_MOST = 200  # characters that one text quotes of another
_scheme = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://").match
_authority = re.compile(r"[^/?#\\]*").match
_is_plain = re.compile(r"(?:\[[0-9A-Fa-f:.%]+\]|[^:@\[\]]+)(?::[0-9]+)?").fullmatch
_token = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]*").match


def shown_url(url: str) -> str:
    """Scheme, host, port and path of a URL; it need not be a legal one.

    If it is not clear where a password ends, nothing but the scheme is shown.
    """
    scheme = found[0] if (found := _scheme(url)) else ""
    rest = url[len(scheme) :]
    found = _authority(rest)
    assert found  # it matches the empty string
    _, at, place = found[0].rpartition("@")
    beyond = rest[found.end() :]
    if "@" in beyond and (at or not _is_plain(place)):
        return f"{scheme}..."
    return shown_path(f"{scheme}{place}{beyond}")


def shown_path(target: str) -> str:
    """A URL or a request's target without query and fragment, in printable ASCII."""
    return _printable(re.split(r"[?#]", target, maxsplit=1)[0])


def shown_name(name: str) -> str:
    """The name of a header field, up to the first character that none may hold."""
    found = _token(name)
    assert found  # it matches the empty string
    return found[0][:_MOST]


def shown_text(text: str) -> str:
    """A peer's own words: their beginning, in one printable line."""
    first, *_ = text.strip()[:_MOST].splitlines() or [""]
    return "".join(character for character in first if character.isprintable())


def _printable(text: str) -> str:
    short = text if len(text) <= _MOST else f"{text[:_MOST]}..."
    return ascii(short)[1:-1]


class Discreet(msgspec.Struct, frozen=True):
    """Base of structs whose repr shows some fields only, given by `shown`."""

    def shown(self) -> Iterable[tuple[str, object]]:
        """The fields that a repr may show, and what it shows of them."""
        return ()

    def __repr__(self) -> str:
        fields = ", ".join(f"{name}={value!r}" for name, value in self.shown())
        return f"{type(self).__name__}({fields})"

    def __rich_repr__(self) -> list[tuple[str, Any]]:  # what the library rich asks for
        return list(self.shown())
