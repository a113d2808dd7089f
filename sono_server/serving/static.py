"""Answers from files, which a browser may keep. RFC 9110, sections 8.8.3, 9.3 and 13.1.2."""

import hashlib
import re
from collections.abc import Mapping

from sono_core import Headers, Reject

_tags = re.compile(r'"[^"]*"').findall
READABLE: dict[str, str] = {"allow": "GET, HEAD, OPTIONS"}
"""The header of an answer that says how something can only be read."""


def static_answer(method: str, headers: Headers, body: bytes, fields: Mapping[str, str]) -> Reject:
    """The answer to a request for a file: 200, 304 if the client has it, 204 to OPTIONS, or 405.

    Args:
        headers: of the request.
        body: what is in the file.
        fields: Content-Type and others.
    """
    if method == "OPTIONS":
        return Reject(204, Headers(READABLE))
    if method not in ("GET", "HEAD"):
        text = {**READABLE, "content-type": "text/plain; charset=utf-8"}
        return Reject(405, Headers(text), b"only GET is allowed here\n")
    tag = f'"{hashlib.sha256(body).hexdigest()[:32]}"'
    known = headers.get("if-none-match", "")
    fields = {**fields, "etag": tag}
    if known.strip() == "*" or tag in _tags(known):
        kept = {name: value for name, value in fields.items() if name != "content-type"}
        return Reject(304, Headers(kept))
    return Reject(200, Headers(fields), body)
