"""PHP query strings: the portal reads a batch exactly as it was sent.

The keys and values are random.
"""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bitrix24_directories.portal.php import parse_query
from bitrix24_directories.rest.wire.batches import php_query

texts = st.text(st.characters(exclude_categories=["Cs"]))
names = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="[]. \0"), min_size=1).filter(str.strip)
keys = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="[]\0"), min_size=1)
scalars = st.one_of(texts, st.integers(), st.booleans())
values = st.recursive(
    scalars,
    lambda inner: st.one_of(
        st.lists(inner, min_size=1, max_size=4), st.dictionaries(keys, inner, min_size=1, max_size=4)
    ),
    max_leaves=12,
)


def as_php(value: Any) -> Any:
    """PHP's reading of a sent value: all scalars are strings, all lists arrays by index."""
    match value:
        case dict():
            return {str(key): as_php(item) for key, item in value.items()}
        case list():
            return {str(index): as_php(item) for index, item in enumerate(value)}
        case bool():
            return str(int(value))
    return str(value)


@given(st.dictionaries(names.filter(lambda name: not any(char.isspace() for char in name)), values, max_size=5))
def test_the_portal_reads_what_was_sent(params: dict[str, Any]) -> None:
    assert parse_query(php_query(params)) == as_php(params)


def test_it_reads_as_php_writes_it() -> None:
    params = {"filter": {"ENTITY_ID": "SOURCE"}, "select": ["ID", "NAME"], "full": True, "none": None, "empty": []}
    assert php_query(params) == "filter[ENTITY_ID]=SOURCE&select[0]=ID&select[1]=NAME&full=1"
    assert php_query({"q": 'a&b="1" + ё'}) == "q=a%26b%3D%221%22%20%2B%20%D1%91"
    assert php_query({}) == ""


@pytest.mark.parametrize("params", [{"a.b": 1}, {"a b": 1}, {"a[b": 1}, {"": 1}, {"a": {"b]": 1}}, {"a": {"": 1}}])
def test_keys_that_php_would_change_are_refused(params: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="PHP would change"):
        php_query(params)


def test_the_portal_changes_names_as_php_does() -> None:
    assert parse_query(" a.b c=1&d[e f.g]=2") == {"a_b_c": "1", "d": {"e f.g": "2"}}
