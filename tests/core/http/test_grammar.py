"""headers.py: the grammar of header fields, RFC 9110, sections 5.5 and 5.6."""

import pytest

from sono_core import Headers
from sono_core.http.grammar import (
    is_field_value,
    is_host,
    is_token,
    parse_extensions,
    parse_list,
    parse_tokens,
)

TCHAR = "!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"


def test_names_are_compared_without_regard_to_case_and_kept_in_order() -> None:
    headers = Headers([("B", "1"), ("a", "2"), ("b", "3")])
    assert headers["b"] == headers["B"] == "1, 3"
    assert headers.get_all("B") == ["1", "3"]
    assert headers.get_all("c") == []
    assert headers.fields() == (("b", "1"), ("a", "2"), ("b", "3"))
    assert list(headers) == ["b", "a"]
    assert len(headers) == 2
    assert "A" in headers
    assert "c" not in headers
    assert headers.get("c", "none") == "none"
    with pytest.raises(KeyError, match="c"):
        headers["c"]


def test_headers_are_made_of_pairs_of_a_mapping_or_of_headers() -> None:
    pairs = Headers([("A", "1"), ("A", "2")])
    assert Headers(pairs) == pairs
    assert Headers(pairs).fields() == (("a", "1"), ("a", "2"))
    assert Headers({"A": "1"}) == Headers([("a", "1")])
    assert Headers(("A", str(n)) for n in range(2)).get_all("a") == ["0", "1"]
    assert Headers() == Headers({}) == Headers([])


def test_all_fields_combined_are_what_each_name_gives() -> None:
    for headers in (
        Headers(),
        Headers([("A", "1"), ("b", "2")]),
        Headers([("a", "1"), ("b", "2"), ("A", ""), ("a", "3, 4")]),
    ):
        assert headers.combined() == dict(headers)


def test_headers_are_values() -> None:
    one, same, other = Headers({"A": "1"}), Headers({"a": "1"}), Headers({"a": "2"})
    assert one == same
    assert one != other
    assert one != {"a": "1"}
    assert hash(one) == hash(same)
    assert repr(one) == "Headers([('a', '1')])"
    assert eval(repr(one)) == one


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
