"""Assigns SORT numbers for an order with as few changes as possible. Has no imports of ours."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence

STEP = 10


def sorts_for(order: Sequence[tuple[int, int] | None]) -> list[int]:
    """Return a SORT for each item of `order`: (SORT, id) for existing items, None for new ones.

    Items that are already in order keep theirs; neighbours are renumbered only if the gap between them is too small.
    """
    fixed = longest_rising(order)
    while True:
        sorts: list[int | None] = [
            key[0] if index in fixed and key is not None else None for index, key in enumerate(order)
        ]
        tight = _fill(sorts)
        if tight is None:
            return [sort for sort in sorts if sort is not None]
        fixed.discard(tight)


def longest_rising(order: Sequence[tuple[int, int] | None]) -> set[int]:
    """Return the indexes of a longest rising subsequence of (SORT, id), with SORT above 0."""
    tails: list[tuple[int, int]] = []
    ends: list[int] = []
    before: dict[int, int | None] = {}
    for index, key in enumerate(order):
        if key is None or key[0] <= 0:
            continue
        at = bisect_left(tails, key)
        before[index] = ends[at - 1] if at else None
        tails[at : at + 1] = [key]
        ends[at : at + 1] = [index]
    indexes: set[int] = set()
    last = ends[-1] if ends else None
    while last is not None:
        indexes.add(last)
        last = before[last]
    return indexes


def _fill(sorts: list[int | None]) -> int | None:
    """Fill the gaps with numbers; returns the index of the item behind a gap that is too small."""
    start = 0
    while start < len(sorts):
        if sorts[start] is not None:
            start += 1
            continue
        end = start
        while end < len(sorts) and sorts[end] is None:
            end += 1
        left = sorts[start - 1] if start else 0
        right = sorts[end] if end < len(sorts) else None
        assert left is not None
        count = end - start
        if right is None:
            step = STEP
        elif right - left - 1 < count:
            return end
        else:
            step = min(STEP, (right - left) // (count + 1))
        for offset in range(count):
            sorts[start + offset] = left + step * (offset + 1)
        start = end
    return None
