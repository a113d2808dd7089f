"""headers.py: the fields of a head, by their names."""

import pytest

from sono_core import Headers


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
    assert repr(Headers([("A", "1"), ("b", "2"), ("c: 3", "")])) == "<Headers a b c>"
