"""What merges have done, read from the lines of an audit log. Pure.

A merge is told from others by its `merge`, in whatever process it went on. What its lines do not end with an outcome
may have been done: whoever undoes it has to look.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from bitrix24_directories.directories.fields import folded_name
from bitrix24_directories.directories.models import Item

UNDO = "undo"
"""The tool that stands in the lines of an undoing."""


def line_of(tool: str, merge: str, portal: str, entity_id: str, into: str) -> dict[str, Any]:
    """What stands in each intent of a merge, or of its undoing, for `merges_in` to find."""
    return {"tool": tool, "merge": merge, "portal": portal, "entityId": entity_id, "into": into}


class Where(NamedTuple):
    """A field of a record; its name is folded, for logs have it in either spelling."""

    type_id: int
    field: str
    record_id: int


@dataclass
class LoggedMerge:
    """One merge: what stood in which field before and what was written, and the items that were deleted.

    What was put back since is no longer in it.
    """

    key: str
    portal: str
    entity_id: str
    into: str
    began: str
    moves: dict[Where, tuple[Any, Any]] = field(default_factory=dict)
    deleted: dict[str, Item] = field(default_factory=dict)

    @property
    def codes(self) -> list[str]:
        """The codes that were merged, as far as records carried them or items had them."""
        olds = (one for old, _ in self.moves.values() for one in (old if isinstance(old, list) else [old]))
        return list(dict.fromkeys([*self.deleted, *(str(one) for one in olds if str(one) != self.into)]))


def merges_in(lines: Iterable[str]) -> list[LoggedMerge]:
    """All merges of an audit log, the oldest first. Lines that cannot be read, or are of other changes, are skipped."""
    found: dict[str, LoggedMerge] = {}
    for intent, outcome in _changes(lines):
        merge = found.setdefault(
            intent["merge"],
            LoggedMerge(intent["merge"], intent["portal"], intent["entityId"], intent["into"], intent["when"]),
        )
        if "recordId" in intent:
            _add_move(merge, intent, outcome)
        elif intent.get("after") is None:
            _add_deletion(merge, intent, outcome)
        elif (outcome or {}).get("outcome") == "done":
            merge.deleted.pop(intent["statusId"], None)
    return list(found.values())


def _changes(lines: Iterable[str]) -> Iterator[tuple[dict[str, Any], dict[str, Any] | None]]:
    """Each intent of a merge, with its outcome where there is one."""
    intents: dict[str, dict[str, Any]] = {}
    outcomes: dict[str, dict[str, Any]] = {}
    for line in lines:
        try:
            read = json.loads(line)
        except ValueError:
            continue
        if not isinstance(read, dict) or not isinstance(read.get("id"), str):
            continue
        if read.get("event") == "outcome":
            outcomes[read["id"]] = read
        elif read.get("event") == "intent" and _is_of_a_merge(read):
            intents[read["id"]] = read
    return ((intent, outcomes.get(number)) for number, intent in intents.items())


def _is_of_a_merge(read: dict[str, Any]) -> bool:
    texts = all(isinstance(read.get(key), str) for key in ("when", "tool", "merge", "portal", "entityId", "into"))
    if "recordId" in read:
        numbers = all(isinstance(read.get(key), int) for key in ("recordId", "entityTypeId"))
        return texts and numbers and isinstance(read.get("field"), str) and "old" in read and "new" in read
    return texts and isinstance(read.get("statusId"), str)


def _add_move(merge: LoggedMerge, intent: dict[str, Any], outcome: dict[str, Any] | None) -> None:
    said = str((outcome or {}).get("outcome", "unknown"))
    if said.startswith(("not moved", "not sent")):
        return
    where = Where(intent["entityTypeId"], folded_name(intent["field"]), intent["recordId"])
    old, new = (outcome or {}).get("was", intent["old"]), intent["new"]
    if where in merge.moves:
        old = merge.moves[where][0]
    if old == new or (intent["tool"] == UNDO and said == "moved"):
        merge.moves.pop(where, None)
    else:
        merge.moves[where] = (old, new)


def _add_deletion(merge: LoggedMerge, intent: dict[str, Any], outcome: dict[str, Any] | None) -> None:
    if str((outcome or {}).get("outcome", "unknown")).startswith("not done"):
        return
    try:
        merge.deleted[intent["statusId"]] = Item.model_validate(intent.get("before"))
    except ValueError:
        return
