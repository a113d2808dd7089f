"""grammar.py: the grammar of header fields, RFC 9110, sections 5.5 and 5.6."""

import pytest

from sono_core.http.grammar import (
    is_field_value,
    is_host,
    is_token,
    parse_extensions,
    parse_list,
    parse_tokens,
)

TCHAR = "!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"


@pytest.mark.parametrize("character", [chr(code) for code in range(300)])
def test_tokens_and_values_are_of_their_characters(character: str) -> None:
    for text in (character, f"a{character}", f"{character}a"):
        assert is_token(text) == (character in TCHAR)
        code = ord(character)
        legal = code == 9 or 32 <= code < 127 or 128 <= code < 256
        assert is_field_value(text) == legal


def test_a_token_is_not_empty_and_a_value_may_be() -> None:
    assert not is_token("")
    assert is_field_value("")


@pytest.mark.parametrize(
    "host",
    ["a", "a.b", "a:80", "a:", "a:0", "a:65535", "1.2.3.4", "[::1]", "[::1.2.3.4]:1", "a%20b"],
)
def test_valid_hosts(host: str) -> None:
    assert is_host(host)


@pytest.mark.parametrize(
    "host",
    [
        "",
        ":1",
        "a:65536",
        "a:x",
        "a b",
        "a/",
        "a@b",
        "[",
        "[]",
        "[x]",
        "a\n",
        "é",
        "%",
        "%g0",
        "a:٣",
    ],
)
def test_invalid_hosts(host: str) -> None:
    assert not is_host(host)


@pytest.mark.parametrize(
    ("values", "elements"),
    [
        ([], []),
        ([""], []),
        ([",, ,\t,"], []),
        (["a"], ["a"]),
        ([" a ,\tb\t"], ["a", "b"]),
        (["a,b", "c"], ["a", "b", "c"]),
    ],
)
def test_lists_may_stand_in_several_fields_and_hold_empty_elements(
    values: list[str], elements: list[str]
) -> None:
    assert parse_list(values) == elements
    assert parse_tokens(values) == elements


@pytest.mark.parametrize("value", ["a b", "a;b", "a/b", '"a"', "é", "a,b c", "(", "a\x00"])
def test_what_is_no_token_is_refused(value: str) -> None:
    assert parse_list([value])
    with pytest.raises(ValueError):
        parse_tokens([value])


@pytest.mark.parametrize(
    ("values", "extensions"),
    [
        ([], []),
        (["", " ", ",,"], []),
        (["a"], [("a", [])]),
        (["a, b"], [("a", []), ("b", [])]),
        (["a", "b"], [("a", []), ("b", [])]),
        ([" a ; b ; c = d "], [("a", [("b", None), ("c", "d")])]),
        (['a;b="c"'], [("a", [("b", "c")])]),
        (['a;b="\\c\\d"'], [("a", [("b", "cd")])]),
        (["a;b=1;b=2"], [("a", [("b", "1"), ("b", "2")])]),
        ([",a;b,\t,c;d=e, "], [("a", [("b", None)]), ("c", [("d", "e")])]),
    ],
)
def test_extensions_with_their_parameters_in_order(
    values: list[str], extensions: list[object]
) -> None:
    assert parse_extensions(values) == extensions


@pytest.mark.parametrize(
    "value",
    [
        ";",
        "a;",
        "a; ",
        "a;;b",
        "a;,b",
        "a=b",
        "a b",
        "a;b=",
        "a;=b",
        'a;b="',
        'a;b=""',
        'a;b="c d"',
        'a;b="c"d',
        'a;b="\\"',
        'a;b="\x00"',
        'a;b="é"',
        "é",
        '"a"',
        "a;b=c=d",
        "a\n",
    ],
)
def test_malformed_extensions_are_refused(value: str) -> None:
    with pytest.raises(ValueError):
        parse_extensions([value])
    with pytest.raises(ValueError):
        parse_extensions(["good", f"good, {value}"])
