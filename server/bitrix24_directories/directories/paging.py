"""What is said of a long answer at once, and how to get at the rest: nothing is left out in silence. Pure."""

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
    """The items whose code or name holds each word of `query` and that stand behind the code `after`, ITEMS_AT_ONCE at
    most; `more` tells how many are left. Raises Bitrix24Error UNKNOWN_ITEM where there is no such code.
    """
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
    """All, or where there are more the first DIRECTORIES_AT_ONCE, those of smart processes last; of the others how many
    there are of each sort.

    Stages are said without their pipeline and its codes then, which a query brings back.
    """
    if len(whole.directories) <= DIRECTORIES_AT_ONCE:
        return whole
    ordered = sorted(
        whole.directories, key=lambda one: (one.switched_off is True, one.entity_id.startswith(_SMART_PROCESS))
    )
    shown, rest = ordered[:DIRECTORIES_AT_ONCE], ordered[DIRECTORIES_AT_ONCE:]
    brief = {"start": None, "success": None, "failure": None, "pipeline": None, "category_id": None}
    shown = [one.model_copy(update=brief) for one in shown]
    left_out: Counter[str] = Counter()
    for one in rest:  # the same for those that differ in nothing but their pipeline or their smart process
        if one.switched_off:
            left_out["stages that are switched off"] += 1
        elif one.kind != "stages" or not one.used_in:
            left_out[one.kind] += 1
        elif one.entity_id.startswith(_SMART_PROCESS):
            left_out["stages of smart processes"] += 1
        else:
            left_out[f"stages for {one.used_in[0]}"] += 1
    return whole.model_copy(update={"directories": shown, "left_out": dict(left_out)})


def place_of(items: Sequence[C], code: str, entity_id: str) -> int:
    """Where the item with a code stands, which may be spelt as a text prints it."""
    spelt = (code, code.strip(), unquoted(code.strip()))
    found = next(filter(None, ([item for item in items if item.status_id == one] for one in spelt)), None)
    found = found or coded(items, code.strip())
    if len(found) != 1:
        raise Bitrix24Error(
            "UNKNOWN_ITEM",
            ErrorKind(
                f'{entity_id} has no item with the code "{shown_id(code.strip(), _CODE_SHOWN)}" to go on behind',
                "Use the last code of the part before, as it was printed.",
                "input",
            ),
        )
    return items.index(found[0])
