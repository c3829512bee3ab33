"""Which SORT each item gets so that the items stand in a wanted order, with as few changed as can be. A leaf."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence

STEP = 10


def sorts_for(order: Sequence[tuple[int, int] | None]) -> list[int]:
    """A SORT for each place of `order`, which holds (SORT, id) of items that exist and None for new ones.

    Items that are already in order keep theirs; neighbours are renumbered only where there is no room between them.
    """
    kept = longest_rising(order)
    while True:
        given: list[int | None] = [
            found[0] if place in kept and found is not None else None for place, found in enumerate(order)
        ]
        tight = _fill(given)
        if tight is None:
            return [sort for sort in given if sort is not None]
        kept.discard(tight)


def longest_rising(order: Sequence[tuple[int, int] | None]) -> set[int]:
    """Places of a longest run of items whose (SORT, id) rise, and with SORT above 0."""
    tails: list[tuple[int, int]] = []
    ends: list[int] = []
    before: dict[int, int | None] = {}
    for place, found in enumerate(order):
        if found is None or found[0] <= 0:
            continue
        at = bisect_left(tails, found)
        before[place] = ends[at - 1] if at else None
        tails[at : at + 1] = [found]
        ends[at : at + 1] = [place]
    kept: set[int] = set()
    last = ends[-1] if ends else None
    while last is not None:
        kept.add(last)
        last = before[last]
    return kept


def _fill(given: list[int | None]) -> int | None:
    """Put numbers in the gaps; gives the place of a neighbour that has to make room where one is too narrow."""
    start = 0
    while start < len(given):
        if given[start] is not None:
            start += 1
            continue
        end = start
        while end < len(given) and given[end] is None:
            end += 1
        left = given[start - 1] if start else 0
        right = given[end] if end < len(given) else None
        assert left is not None
        count = end - start
        if right is None:
            step = STEP
        elif right - left - 1 < count:
            return end
        else:
            step = min(STEP, (right - left) // (count + 1))
        for offset in range(count):
            given[start + offset] = left + step * (offset + 1)
        start = end
    return None
