"""What merges have done, read from the lines of an audit log. Pure.

A merge is told from others by its `merge`, in whatever process it went on. What its lines do not end with an outcome
may have been done: whoever undoes it has to look.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from bitrix24_directories.directories.fields.fields import folded_name
from bitrix24_directories.directories.models import Item

UNDO = "undo"
"""The tool that stands in the lines of an undoing."""


def line_of(tool: str, merge: str, portal: str, entity_id: str, into: str) -> dict[str, Any]:
    """What stands in each intent of a merge, or of its undoing, for `merges_in` to find."""
    return {"tool": tool, "merge": merge, "portal": portal, "entityId": entity_id, "into": into}


class FieldKey(NamedTuple):
    """A field of a record; its name is folded, for logs have it in either spelling."""

    type_id: int
    field: str
    record_id: int


@dataclass
class LoggedMerge:
    """One merge: what stood in which field before and what was written, and the items that were deleted.

    What was put back since is no longer in it. `moved` has what was moved since the last plan of this merge was at its
    end.
    """

    key: str
    portal: str
    entity_id: str
    into: str
    began: str
    moves: dict[FieldKey, tuple[Any, Any]] = field(default_factory=dict)
    deleted: dict[str, Item] = field(default_factory=dict)
    moved: set[FieldKey] = field(default_factory=set)

    @property
    def codes(self) -> list[str]:
        """The codes that were merged, as far as records carried them or items had them."""
        merged = (old for old, new in self.moves.values() if isinstance(new, list) or new == self.into)
        olds = (one for old in merged for one in (old if isinstance(old, list) else [old]))
        return list(dict.fromkeys([*self.deleted, *(str(one) for one in olds if str(one) != self.into)]))


class Log(NamedTuple):
    """The merges of an audit log, the oldest first, and how many of its lines cannot be read."""

    merges: list[LoggedMerge]
    unread: int


def read_log(lines: Iterable[str]) -> Log:
    """All merges of an audit log. Lines of other changes are skipped."""
    read = [_read(line) for line in lines if line.strip()]
    outcomes = {line["id"]: line for line in read if line is not None and line.get("event") == "outcome"}
    found: dict[str, LoggedMerge] = {}
    for line in read:
        if line is None or "merge" not in line or line.get("event") not in ("intent", "ended"):
            continue
        merge = found.setdefault(
            line["merge"], LoggedMerge(line["merge"], line["portal"], line["entityId"], line["into"], line["when"])
        )
        outcome = outcomes.get(line["id"])
        if line["event"] == "ended":
            merge.moved.clear()
        elif "recordId" in line:
            _add_move(merge, line, outcome)
        elif line.get("after") is None:
            if not str((outcome or {}).get("outcome", "unknown")).startswith("not done"):
                with contextlib.suppress(ValueError):  # an item that this log does not tell cannot be added again
                    merge.deleted[line["statusId"]] = Item.model_validate(line.get("before"))
        elif (outcome or {}).get("outcome") == "done":
            merge.deleted.pop(line["statusId"], None)
    return Log(list(found.values()), read.count(None))


def _read(line: str) -> dict[str, Any] | None:
    """A line of the log; None for one that is cut, or that says of a merge less than has to be known."""
    try:
        read = json.loads(line)
    except ValueError:
        return None
    if not isinstance(read, dict) or not isinstance(read.get("id"), str):
        return None
    if "merge" not in read or read.get("event") not in ("intent", "ended"):
        return read
    texts = ["when", "tool", "merge", "portal", "entityId", "into"]
    numbers: list[str] = []
    if read["event"] == "intent" and "recordId" in read:
        texts.append("field")
        numbers = ["recordId", "entityTypeId"]
        if not read.keys() >= {"old", "new"}:
            return None
    elif read["event"] == "intent":
        texts.append("statusId")
    is_whole = all(isinstance(read.get(key), str) for key in texts) and all(
        isinstance(read.get(key), int) for key in numbers
    )
    return read if is_whole else None


def _add_move(merge: LoggedMerge, intent: dict[str, Any], outcome: dict[str, Any] | None) -> None:
    """What was `stored` in the place of what was to be written stands in the outcome."""
    outcome = outcome or {}
    said = str(outcome.get("outcome", "unknown"))
    if said.startswith(("not moved", "not sent")) and "stored" not in outcome:
        return
    key = FieldKey(intent["entityTypeId"], folded_name(intent["field"]), intent["recordId"])
    if intent["tool"] == UNDO:  # what may have been put back is looked at once more
        if said == "moved":
            merge.moves.pop(key, None)
            merge.moved.discard(key)
        return
    old, new = outcome.get("was", intent["old"]), outcome.get("stored", intent["new"])
    if key in merge.moves:
        old = merge.moves[key][0]
    if old != new:
        merge.moves[key] = (old, new)
    elif said == "moved":
        merge.moves.pop(key, None)
    if said == "moved":
        merge.moved.add(key)
