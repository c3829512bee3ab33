"""SORT values for an order: rising, and with as few changes as possible."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bitrix24_directories.changing.planning.sorting import sorts_for

Order = list[tuple[int, int] | None]


@pytest.mark.parametrize(
    ("order", "sorts"),
    [
        ([], []),
        ([None], [10]),
        ([(10, 1), (20, 2)], [10, 20]),
        ([(10, 1), None, (20, 2)], [10, 15, 20]),
        ([(10, 1), (20, 2), None], [10, 20, 30]),
        ([None, (10, 1)], [5, 10]),
        ([None, (1, 1)], [10, 20]),
        ([(10, 1), None, (11, 2), (40, 3)], [10, 20, 30, 40]),
        ([(20, 2), (10, 1), (30, 3)], [5, 10, 30]),
        ([(10, 1), (10, 2), (10, 3)], [10, 10, 10]),
        ([(10, 1), None, (10, 2)], [10, 20, 30]),
        ([(0, 1), (10, 2)], [5, 10]),
    ],
)
def test_sorts(order: Order, sorts: list[int]) -> None:
    assert sorts_for(order) == sorts


@given(st.lists(st.one_of(st.none(), st.integers(-5, 60)), max_size=14))
def test_any_order_is_kept_and_stays(numbers: list[int | None]) -> None:
    order: Order = [None if sort is None else (sort, index + 1) for index, sort in enumerate(numbers)]
    sorts = sorts_for(order)
    assert len(sorts) == len(order)
    assert all(sort > 0 for sort in sorts)
    keys = [(sort, index) for index, sort in enumerate(sorts)]
    assert keys == sorted(keys)
    new = {index for index, pair in enumerate(order) if pair is None or sorts[index] != pair[0]}
    for index in new:  # our numbers are never shared: the portal's order of equal ones is its own
        assert sorts.count(sorts[index]) == 1
    again: Order = [(sort, index + 1) for index, sort in enumerate(sorts)]
    assert sorts_for(again) == sorts
