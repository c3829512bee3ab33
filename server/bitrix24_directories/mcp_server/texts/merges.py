"""A merge as text."""

from __future__ import annotations

from bitrix24_directories.changing.merging.models import Merge
from bitrix24_directories.text import quoted, shown_code

from .directories import counted

_ITEMS = {
    "to be deleted": "the item is deleted then",
    "stays": "the item stays",
    "deleted": "the item is deleted",
    "unknown": "whether the item is deleted is not known",
}


def merge_text(merge: Merge) -> str:
    """Return the planned or made moves of a merge, and all that is left."""
    lines = [_head(merge)]
    for code in merge.codes:
        name = f" ({code.name})" if code.name is not None else ""
        label = quoted(code.status_id) if code.name is None else shown_code(code.status_id)
        parts = [f"{count} in {path}" for path, count in (code.fields or {}).items()]
        facts = [", ".join(parts)] if parts else []
        facts += [_ITEMS[code.item]] if code.item else []
        facts += [code.why] if code.why else []
        lines.append(f"- {label}{name}: {'; '.join(facts)}")
    lines += [f"- not moved: {failure.record} ({failure.field}): {failure.why}" for failure in merge.not_moved or ()]
    if (more := (merge.not_moved_total or 0) - len(merge.not_moved or ())) > 0:
        lines.append(f"- and {more} more, which the audit log names")
    lines += [f"- {note}" for note in merge.notes or ()]
    if merge.plan_id:
        lines.append(f"Show this to the user; when they agree, make the same call again with planId {merge.plan_id}")
    return "\n".join(lines)


def _head(merge: Merge) -> str:
    into, where = f"{shown_code(merge.into)} ({merge.name})", shown_code(merge.entity_id)
    so_far = f"{where}: {counted(merge.moved or 0, 'value')} of records moved to {into}"
    left = merge.left or 0
    uncounted = any(note.startswith("not counted") for note in merge.notes or ())
    match merge.status:
        case "planned" if left:
            return f"Plan for {where}; nothing is changed yet: {counted(left, 'value')} of records go to {into}"
        case "planned" if uncounted:
            return f"Plan for {where}; nothing is changed yet: how many records go to {into} could not be counted"
        case "planned":
            return f"Plan for {where}; nothing is changed yet: no record has to be moved to {into}"
        case "unchanged" if uncounted:
            return f"Nothing can be done for {where}: not all records that may have to go to {into} could be counted."
        case "unchanged":
            return f"Nothing to do for {where}: there is nothing to move to {into}, and no item to delete."
        case "declined":
            return f"Nothing was changed in {where}: the user declined. Do not try again unless they ask."
        case "cancelled":
            return (
                f"Nothing was changed in {where}: the user closed the question without an answer. Ask them whether it "
                "shall be done."
            )
        case "moving":
            return f"{so_far}, about {left} left. Make the same call again, with the same planId, to go on."
        case "stopped":
            return f"{so_far}, about {left} left; to go on, make the same call again."
        case "incomplete" if merge.left is None:
            return f"{so_far}; how many are left could not be counted."
        case "incomplete":
            return f"{so_far}, {left} left. What is left needs a person, or a new plan."
    return f"{so_far}, none left."
