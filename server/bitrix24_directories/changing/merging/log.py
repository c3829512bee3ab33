"""Reads merges from the lines of an audit log. Pure.

The lines of a merge have the same `merge`, in every process that continued it. An intent without an outcome may have
been carried out, so undoing has to read the record.
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
"""Tool in the audit log's lines of an undo."""


def line_of(tool: str, merge: str, portal: str, entity_id: str, into: str) -> dict[str, Any]:
    """Return the common keys of all intents of a merge or its undo, for `read_log`."""
    return {"tool": tool, "merge": merge, "portal": portal, "entityId": entity_id, "into": into}


class FieldKey(NamedTuple):
    """Field of a record; its name is folded, because logs have both spellings."""

    type_id: int
    field: str
    record_id: int


@dataclass
class LoggedMerge:
    """Merge with the old and new values of fields (`moves`), and the deleted items.

    Values that were restored since are not in it. `moved` has the fields that were moved since this merge last ended.
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
        """Merged codes that records carried or items had."""
        merged = (old for old, new in self.moves.values() if isinstance(new, list) or new == self.into)
        olds = (code for old in merged for code in (old if isinstance(old, list) else [old]))
        return list(dict.fromkeys([*self.deleted, *(str(code) for code in olds if str(code) != self.into)]))


class Log(NamedTuple):
    """Merges of an audit log, the oldest first, and the number of its unreadable lines."""

    merges: list[LoggedMerge]
    unread: int


def read_log(lines: Iterable[str]) -> Log:
    """Return all merges of an audit log; lines of other changes are skipped."""
    read = [_read(line) for line in lines if line.strip()]
    outcomes = {line["id"]: line for line in read if line is not None and line.get("event") == "outcome"}
    merges: dict[str, LoggedMerge] = {}
    for line in read:
        if line is None or "merge" not in line or line.get("event") not in ("intent", "ended"):
            continue
        merge = merges.setdefault(
            line["merge"], LoggedMerge(line["merge"], line["portal"], line["entityId"], line["into"], line["when"])
        )
        outcome = outcomes.get(line["id"])
        if line["event"] == "ended":
            merge.moved.clear()
        elif "recordId" in line:
            _add_move(merge, line, outcome)
        elif line.get("after") is None:
            if not str((outcome or {}).get("outcome", "unknown")).startswith("not done"):
                with contextlib.suppress(ValueError):  # without the item in the log it cannot be added again
                    merge.deleted[line["statusId"]] = Item.model_validate(line.get("before"))
        elif (outcome or {}).get("outcome") == "done":
            merge.deleted.pop(line["statusId"], None)
    return Log(list(merges.values()), read.count(None))


def _read(line: str) -> dict[str, Any] | None:
    """Parse a line; None if it is cut, or lacks required keys of a merge."""
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
    """Add a move to its merge; the outcome may hold another value that was `stored`."""
    outcome = outcome or {}
    result = str(outcome.get("outcome", "unknown"))
    if result.startswith(("not moved", "not sent")) and "stored" not in outcome:
        return
    key = FieldKey(intent["entityTypeId"], folded_name(intent["field"]), intent["recordId"])
    if intent["tool"] == UNDO:  # an uncertain restore is read again by the next undo
        if result == "moved":
            merge.moves.pop(key, None)
            merge.moved.discard(key)
        return
    old, new = outcome.get("was", intent["old"]), outcome.get("stored", intent["new"])
    if key in merge.moves:
        old = merge.moves[key][0]
    if old != new:
        merge.moves[key] = (old, new)
    elif result == "moved":
        merge.moves.pop(key, None)
    if result == "moved":
        merge.moved.add(key)
