"""Summaries of changes: the steps and the items around them, not the whole directory. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from bitrix24_directories.directories.models import Addition, Change, Item, Step

_FEW = 10
"""Most steps that are listed one by one once they are done, and most additions among a plan's steps."""


def of_a_plan(change: Change) -> Change:
    """Drop the directory, and the place of each addition right behind the previous one."""
    steps: list[Step] = []
    for step in change.steps:
        changes = step.changes
        if steps and changes and step.action == steps[-1].action == "add":
            changes = [text for text in changes if text != f"after {steps[-1].status_id}"]
        steps.append(step.model_copy(update={"changes": changes or None}))
    return change.model_copy(update={"steps": steps, "items": None})


def with_additions(change: Change) -> Change:
    """Group a plan's additions if there are many, so that common parts are shown once."""
    additions: list[Addition] = []
    other_steps: list[Step] = []
    for step in change.steps:
        if step.action == "add" and step.status_id is not None and step.read_from is None:
            additions.append(Addition(status_id=step.status_id, name=step.name, changes=step.changes))
        else:
            other_steps.append(step)
    return change.model_copy(update={"steps": other_steps, "additions": additions}) if len(additions) > _FEW else change


def of_what_was_done(change: Change, before: Sequence[Item]) -> Change:
    """List a few steps with the items around them, or only count many steps.

    Refused steps are always listed. Items that were only renumbered are counted. A change that stopped, or was stored
    otherwise, is returned whole.
    """
    if change.status != "done" or change.items is None:
        return change if change.status in ("stopped", "done otherwise") else of_a_plan(change)
    moved_on = set(_renumbered(change.steps, before, change.items))
    reported = [step for step in change.steps if step.status_id not in moved_on or step.action == "refused"]
    few = sum(step.action != "refused" for step in reported) <= _FEW
    codes = {step.status_id for step in reported}
    touched = [index for index, item in enumerate(change.items) if item.status_id in codes]
    indexes = {index + offset for index in touched for offset in (-1, 0, 1)}
    counts = Counter("renumber" if step.status_id in moved_on else step.action for step in change.steps)
    return change.model_copy(
        update={
            "steps": reported if few else [step for step in reported if step.action == "refused"],
            "counts": None if few and not moved_on else dict(counts),
            "items": [item for index, item in enumerate(change.items) if index in indexes] if few else None,
            "total": len(change.items),
        }
    )


def _renumbered(steps: Iterable[Step], before: Sequence[Item], now: Sequence[Item]) -> Iterable[str]:
    """Yield codes of items with a new SORT only that still stand behind the same item."""
    codes = {item.status_id for item in before} & {item.status_id for item in now}
    were, are = ([item.status_id for item in items if item.status_id in codes] for items in (before, now))
    behind = [dict(zip(order, [None, *order], strict=False)) for order in (were, are)]
    for step in steps:
        code = step.status_id
        only_sort = step.action == "update" and all(text.startswith("SORT ") for text in step.changes or ("",))
        if code in codes and only_sort and behind[0][code] == behind[1][code]:
            yield code
