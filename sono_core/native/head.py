"""The head of an ordinary request, read without h11, as nearly all clients send it.

Of what is ordinary here h11 says the same; whatever is not is left to it. RFC 9112, sections 2 to
5.
"""

import re
from collections.abc import Callable

from .path import accelerator

Field = tuple[str, str]
OrdinaryHead = tuple[str, tuple[Field, ...]]
"""The target, and the fields in order with names in lower case."""

# An HTTP/1.1 GET in origin form, without a fragment, and fields of ASCII that are not empty.
_is_ordinary = re.compile(
    r"GET (/[!-\"$-~]*) HTTP/1\.1\r\n((?:[-0-9A-Za-z]{1,64}: ?[!-~](?:[ -~]*[!-~])?\r\n)+)\r\n"
).fullmatch
_fields = re.compile(r"([^:]+): ?([^\r]+)\r\n").findall
_OF_BODIES = {"content-length", "transfer-encoding"}


def pure_ordinary_head(head: bytes) -> OrdinaryHead | None:
    """Read a whole head with one Host, and nothing that announces a body; else None."""
    match = _is_ordinary(head.decode("ascii")) if head.isascii() else None
    if match is None:
        return None
    target, lines = match.groups()
    fields = tuple([(name.lower(), value) for name, value in _fields(lines)])
    names = [name for name, _ in fields]
    if names.count("host") != 1 or not _OF_BODIES.isdisjoint(names):
        return None
    return target, fields


ordinary_head: Callable[[bytes], OrdinaryHead | None] = (
    accelerator.ordinary_head if accelerator else pure_ordinary_head
)
