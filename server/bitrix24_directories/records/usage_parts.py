"""What is said at once of who carries a directory's codes, and how to get at the rest: as `directories.paging`."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from typing import TypeVar

from bitrix24_directories.directories.models import Shape
from bitrix24_directories.directories.paging import place_of

from .models import DirectoryUsage

_ITEMS_BYTES = 7_000  # of JSON, UTF-8: a token is two bytes or more of whatever codes and names are written in
_UNKNOWN_BYTES = 2_500
_FIELDS = 25
_REASONS = 6

S = TypeVar("S", bound=Shape)


def part_of_usage(whole: DirectoryUsage, after: str = "") -> DirectoryUsage:
    """The items behind the code `after`, most used first and unused ones last, as many as fit; `more` tells how many
    are left. The codes that the directory does not have stand in the first part alone, as many as fit.

    Raises Bitrix24Error UNKNOWN_ITEM where there is no such code.
    """
    # used, not counted, unused
    items = sorted(whole.items, key=lambda one: (1 if one.count is None else 0 if one.count else 2, -(one.count or 0)))
    if after.strip():
        items = items[place_of(items, after, whole.entity_id) + 1 :]
    shown = _that_fit(items, _ITEMS_BYTES)
    unknown = [] if after.strip() else _that_fit(whole.unknown or (), _UNKNOWN_BYTES)
    return whole.model_copy(
        update={
            "items": shown,
            "more": len(items) - len(shown) or None,
            "unknown": unknown or None,
            "fields": _first(whole.fields, _FIELDS),
            "partial": _first(whole.partial or (), _REASONS) or None,
        }
    )


def _that_fit(shapes: Sequence[S], size: int) -> list[S]:
    """The first ones whose JSON fits into `size` bytes, and one at least."""
    ends = accumulate(len(shape.model_dump_json(by_alias=True, exclude_none=True).encode()) for shape in shapes)
    fitting = sum(end <= size for end in ends)
    return list(shapes[: max(1, fitting)])


def _first(lines: Sequence[str], number: int) -> list[str]:
    left = len(lines) - number
    return [*lines[:number], *([f"and {left} more"] if left > 0 else [])]
