"""Parts of long answers, with a count of everything that is left out. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from bitrix24_directories.rest import Bitrix24Error, ErrorKind
from bitrix24_directories.text import shown_id

from .fields.fields import folded
from .models import DirectoryItems, DirectoryList, Item
from .notation import C, coded, unquoted

ITEMS_AT_ONCE = 200
DIRECTORIES_AT_ONCE = 100

_CODE_SHOWN = 100
_SMART_PROCESS = "DYNAMIC_"


def part_of_items(whole: DirectoryItems, query: str = "", after: str = "") -> DirectoryItems:
    """Return at most ITEMS_AT_ONCE items that match `query` and come after the code `after`.
    The code or name of a match contains each word of the query. `more` counts the items that are left. Raises
    Bitrix24Error (UNKNOWN_ITEM) if there is no such code."""
    items: Sequence[Item] = whole.items
    if after.strip():
        items = items[place_of(items, after, whole.entity_id) + 1 :]
    words = folded(query).split()
    fitting = [item for item in items if all(word in folded(f"{item.status_id} {item.name}") for word in words)]
    more = len(fitting) - ITEMS_AT_ONCE
    return whole.model_copy(
        update={
            "items": fitting[:ITEMS_AT_ONCE],
            "fitting": len(fitting) if words else None,
            "more": more if more > 0 else None,
        }
    )


def part_of_directories(whole: DirectoryList) -> DirectoryList:
    """Return all directories, or the first DIRECTORIES_AT_ONCE and counts of the others by sort.

    Those of smart processes come last. Stages then lack their pipeline and its codes; a query brings these back.
    """
    if len(whole.directories) <= DIRECTORIES_AT_ONCE:
        return whole
    ordered = sorted(
        whole.directories,
        key=lambda directory: (directory.switched_off is True, directory.entity_id.startswith(_SMART_PROCESS)),
    )
    first, rest = ordered[:DIRECTORIES_AT_ONCE], ordered[DIRECTORIES_AT_ONCE:]
    brief = {"start": None, "success": None, "failure": None, "pipeline": None, "category_id": None}
    first = [directory.model_copy(update=brief) for directory in first]
    left_out: Counter[str] = Counter()
    for directory in rest:  # one sort for all that differ only in pipeline or smart process
        if directory.switched_off:
            left_out["stages that are switched off"] += 1
        elif directory.kind != "stages" or not directory.used_in:
            left_out[directory.kind] += 1
        elif directory.entity_id.startswith(_SMART_PROCESS):
            left_out["stages of smart processes"] += 1
        else:
            left_out[f"stages for {directory.used_in[0]}"] += 1
    return whole.model_copy(update={"directories": first, "left_out": dict(left_out)})


def place_of(items: Sequence[C], code: str, entity_id: str) -> int:
    """Return the index of the item with a code, which may be spelt as a text prints it."""
    spelt = (code, code.strip(), unquoted(code.strip()))
    matches = next(filter(None, ([item for item in items if item.status_id == spelling] for spelling in spelt)), None)
    matches = matches or coded(items, code.strip())
    if len(matches) != 1:
        raise Bitrix24Error(
            "UNKNOWN_ITEM",
            ErrorKind(
                f'{entity_id} has no item with the code "{shown_id(code.strip(), _CODE_SHOWN)}" to continue after',
                "Use the last code of the previous answer, as it was printed.",
                "input",
            ),
        )
    return items.index(matches[0])
