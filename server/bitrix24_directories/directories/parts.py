"""What is said of a long answer at once, and how to get at the rest: nothing is left out in silence. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from bitrix24_directories.rest import Bitrix24Error, Entry
from bitrix24_directories.text import one_line

from .models import Directory, DirectoryItems, DirectoryList, Item
from .notation import coded

ITEMS_AT_ONCE = 200
DIRECTORIES_AT_ONCE = 100

_CODE_SHOWN = 100


def part_of_items(whole: DirectoryItems, query: str = "", after: str = "") -> DirectoryItems:
    """The items whose code or name holds each word of `query` and that stand behind the code `after`, ITEMS_AT_ONCE at
    most; `more` tells how many are left. Raises Bitrix24Error UNKNOWN_ITEM where there is no such code.
    """
    items: Sequence[Item] = whole.items
    if after.strip():
        items = items[_place(items, after.strip(), whole.entity_id) + 1 :]
    words = query.casefold().split()
    fitting = [item for item in items if all(word in f"{item.status_id} {item.name}".casefold() for word in words)]
    more = len(fitting) - ITEMS_AT_ONCE
    return whole.model_copy(
        update={
            "items": fitting[:ITEMS_AT_ONCE],
            "fitting": len(fitting) if words else None,
            "more": more if more > 0 else None,
        }
    )


def part_of_directories(whole: DirectoryList) -> DirectoryList:
    """The first DIRECTORIES_AT_ONCE, and of the others how many there are of each kind, by the fields they are for."""
    shown, rest = whole.directories[:DIRECTORIES_AT_ONCE], whole.directories[DIRECTORIES_AT_ONCE:]
    left_out = Counter(map(_sort_of, rest))
    return whole.model_copy(update={"directories": shown, "left_out": dict(left_out) or None})


def _sort_of(directory: Directory) -> str:
    """The same for directories that differ in nothing but their pipeline."""
    stages = directory.kind == "stages" and directory.used_in
    return f"{directory.kind} for {directory.used_in[0]}" if stages and directory.used_in else directory.kind


def _place(items: Sequence[Item], code: str, entity_id: str) -> int:
    found = coded(items, code)
    if len(found) != 1:
        raise Bitrix24Error(
            "UNKNOWN_ITEM",
            Entry(
                f'{entity_id} has no item with the code "{one_line(code, _CODE_SHOWN)}" to go on behind',
                "Use the last code of the part before, as it was printed.",
                "input",
            ),
        )
    return items.index(found[0])
