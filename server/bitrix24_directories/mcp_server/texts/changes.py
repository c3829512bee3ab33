"""Plans and changes as text."""

from __future__ import annotations

import json

from bitrix24_directories.directories.models import Change, DirectoryItems
from bitrix24_directories.text import shown_code

from .directories import counted, items_text

_COUNTED = {
    "add": "{n} added",
    "update": "{n} changed",
    "remove": "{n} removed",
    "refused": "{n} refused",
    "renumber": "{n} in the same order with another SORT",
}


def plan_text(change: Change) -> str:
    """Return a plan for a directory, for the assistant and for the person who decides."""
    if change.status == "unchanged":
        refused = any(step.action == "refused" for step in change.steps)
        why = "what was asked is refused" if refused else "it is so already"
        return "\n".join([f"Nothing to do for {change.entity_id}: {why}.", *_steps(change)])
    lines = [f"Plan for {change.entity_id}; nothing is changed yet:", *_steps(change)]
    if change.news:
        lines.insert(0, f"This is a new plan, since {'; '.join(change.news)}.")
    if change.plan_id:
        lines.append(f"Show this to the user; when they agree, call again with planId {change.plan_id}")
    return "\n".join(lines)


def change_text(change: Change) -> str:
    """Return the outcome of a change, and the directory as it is now."""
    outcomes = {step.outcome for step in change.steps}
    if "unknown" in outcomes:
        stopped = f"What is known of the change of {change.entity_id}:"
    elif outcomes.isdisjoint(("done", "done otherwise")):
        stopped = f"Nothing was changed in {change.entity_id}:"
    else:
        stopped = f"{change.entity_id} was changed in part; after the step that failed nothing more was tried:"
    head = {
        "done": f"{change.entity_id} was changed:",
        "done otherwise": f"{change.entity_id} was changed, but not quite as asked:",
        "unchanged": f"{change.entity_id}: there was nothing to change.",
        "declined": f"Nothing was changed in {change.entity_id}: the user declined. Do not try again unless they ask.",
        "cancelled": f"Nothing was changed in {change.entity_id}: the user closed the question without an answer. Ask "
        "them whether it shall be done.",
        "stopped": stopped,
        "planned": f"Nothing was changed in {change.entity_id} yet:",
    }[change.status]
    lines = [head, *_steps(change), *(change.news or ())]
    if change.counts:
        lines.append(f"In all: {', '.join(_COUNTED[action].format(n=n) for action, n in change.counts.items())}")
    if change.items:
        total = change.total or len(change.items)
        lines.append(items_text(DirectoryItems(entity_id=change.entity_id, items=change.items, total=total)))
    elif change.total is not None:
        lines.append(f"{change.entity_id} has {counted(change.total, 'item')} now")
    return "\n".join(lines)


def _steps(change: Change) -> list[str]:
    lines: list[str] = []
    for step in change.steps:
        code = f"{shown_code(step.status_id)}: " if step.status_id else ""
        parts = [f"{step.action} {code}{step.name}"]
        parts += [f" ({', '.join(step.changes)})"] if step.changes else []
        parts += [f", read from {json.dumps(step.read_from, ensure_ascii=False)}"] if step.read_from else []
        parts += [f" - {step.why}"] if step.why else []
        parts += [f" - {step.outcome}"] if step.outcome else []
        parts += [f": stored with {', '.join(step.stored)}"] if step.stored else []
        lines.append(f"- {''.join(parts)}")
    return lines
