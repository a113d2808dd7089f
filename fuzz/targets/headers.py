"""Any text as a header's value: read in linear time, or refused with a ValueError.

An accepted value is written again, and reads the same. Clients agree to what a server answers to
an offer of permessage-deflate, and both ends understand each other. The text is one value; split
at a space, it is also an origin and a host.
"""

from __future__ import annotations

import re

from sono_core import Request, Role
from sono_core.http.grammar import (
    Extension,
    is_field_value,
    is_host,
    is_token,
    parse_extensions,
    parse_list,
    parse_tokens,
)
from sono_core.websocket.deflate import NAME, Deflate, agree, answer
from sono_core.websocket.origin import AllowedHosts, origin_allowed

from .checks import Target

OPTIONS = (Deflate(), Deflate(context_takeover=True, max_window_bits=10))
_LETTERS = "!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
_tokens = re.compile(f"[{re.escape(_LETTERS)}]+").findall
_DEFAULT_PORTS = {"http": 80, "ws": 80, "https": 443, "wss": 443}
_SAMPLE = b'{"protocol": "message"}' * 30
_port = re.compile(r"(.*?)(?::([0-9]*))?").fullmatch


def _check_token(text: str) -> None:
    assert text, "a token is empty"
    assert not text.strip(_LETTERS), f"{text!r} is no token"


def written(extensions: list[Extension]) -> str:
    """Extensions as the value of a header."""
    return ", ".join(
        "; ".join(
            [name, *(key if value is None else f"{key}={value}" for key, value in parameters)]
        )
        for name, parameters in extensions
    )


def _check_extensions(text: str) -> None:
    try:
        extensions = parse_extensions([text])
    except ValueError:
        return
    for name, parameters in extensions:
        _check_token(name)
        for key, value in parameters:
            _check_token(key)
            if value is not None:
                _check_token(value)
    assert parse_extensions([written(extensions)]) == extensions, "it does not come back"
    twice = parse_extensions([text, text])
    assert twice == extensions * 2, "two fields are not as one after the other"
    for options in OPTIONS:
        _check_negotiation(extensions, options)
        for _, parameters in extensions:
            try:
                agree(parameters, options)
            except ValueError:
                pass


def _check_tokens_of(text: str) -> None:
    """Whatever tokens the text contains, a legal value made of them is read."""
    tokens = _tokens(text)[:20]
    legal = ", ".join(f'{token} ;\t{token}="\\{token}"; {token}' for token in tokens)
    wanted = [(token, [(token, token), (token, None)]) for token in tokens]
    assert parse_extensions([legal]) == wanted, f"refused or misread: {legal!r}"


def _check_negotiation(extensions: list[Extension], options: Deflate) -> None:
    agreed = answer(extensions, options)
    if agreed is None:
        return
    (name, parameters), *others = parse_extensions([agreed.header()])
    assert [name, *others] == [NAME], f"the answer is {agreed.header()!r}"
    keys = [key for extension, offered in extensions if extension == NAME for key, _ in offered]
    narrowed = agreed.client_max_window_bits is None or "client_max_window_bits" in keys
    assert narrowed, "the client's window is narrowed, who has not offered it"
    client = agree(parameters, options)
    assert client.header() == agreed.header() or options.context_takeover, f"agreed on {client}"
    deflater, inflater = agreed.deflater(Role.SERVER, options, None), client.inflater(Role.CLIENT)
    back = inflater.inflate(deflater.deflate(_SAMPLE), len(_SAMPLE), True)
    assert b"".join(back) == _SAMPLE, "the client does not understand the server"


def _check_lists(text: str) -> None:
    for element in parse_list([text]):
        assert element, "an element is empty"
        assert "," not in element, f"an element is {element!r}"
    try:
        tokens = parse_tokens([text])
    except ValueError:
        return
    for token in tokens:
        _check_token(token)
    assert parse_tokens([", ".join(tokens)]) == tokens, "a list does not come back"


def _check_words(text: str) -> None:
    if is_token(text):
        _check_token(text)
    if is_field_value(text):
        for letter in text:
            legal = letter == "\t" or " " <= letter <= "~" or "\x80" <= letter <= "\xff"
            assert legal, f"a value has {letter!r}"


def _place(text: str, default: int) -> tuple[str, int]:
    match = _port(text)
    assert match, f"{text!r} has a line feed"
    return match[1].lower(), int(match[2] or default)


def _check_origin(origin: str, host: str) -> None:
    if not is_host(host):
        return
    for letter in host:
        assert letter not in "/?#@\\ \t\r\n", f"a host has {letter!r}"
    if not origin_allowed(origin, host, ()):
        return
    scheme, _, place = origin.partition("://")
    default = _DEFAULT_PORTS[scheme] if scheme in ("http", "https") else None
    assert default, f"{origin!r} is no origin"
    secure = origin_allowed(origin, host, (), "https")
    assert secure == (scheme == "https"), f"{origin!r} on a server of https"
    assert _place(place, default) == _place(host, default), f"{origin!r} on {host!r}"


def _check(data: bytes) -> None:
    text = data.decode("latin-1")
    _check_extensions(text)
    _check_tokens_of(text)
    _check_lists(text)
    _check_words(text)
    origin, _, host = text.partition(" ")
    AllowedHosts().allow(Request("/", host=host))
    _check_origin(origin, host)
    for scheme in _DEFAULT_PORTS:
        _check_origin(f"{scheme}://{origin}", host)


WORDS = (
    b"permessage-deflate",
    b"server_no_context_takeover",
    b"client_no_context_takeover",
    b"server_max_window_bits",
    b"client_max_window_bits",
    *(f"={bits}".encode() for bits in (8, 9, 15, 16, "08")),
    b"; ",
    b", ",
    b'"',
    b'\\"',
    b'="15"',
    b"\t",
    b"http://",
    b":80",
    b":443",
    b"[::1]",
    b" [::1]",
    b" host",
    b"%41",
    b"null",
)
TARGET = Target("headers", _check, WORDS, longest=16_000, per_byte=10e-6)
