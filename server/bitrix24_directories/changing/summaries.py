"""What is said of a change: what was asked for and where it stands now, not the whole directory again. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from bitrix24_directories.directories.models import Addition, Change, Item, Step

_FEW = 10
"""Steps that are said one by one after they were done, and additions among the other steps of a plan."""


def of_a_plan(change: Change) -> Change:
    """Without the directory, and without the place of an addition that stands right behind the one before."""
    steps: list[Step] = []
    for step in change.steps:
        changes = step.changes
        if steps and changes and step.action == steps[-1].action == "add":
            changes = [one for one in changes if one != f"after {steps[-1].status_id}"]
        steps.append(step.model_copy(update={"changes": changes or None}))
    return change.model_copy(update={"steps": steps, "items": None})


def with_additions(change: Change) -> Change:
    """A plan with its additions said as such where they are many: what all of them have in common is said once."""
    additions: list[Addition] = []
    others: list[Step] = []
    for step in change.steps:
        if step.action == "add" and step.status_id is not None and step.read_from is None:
            additions.append(Addition(status_id=step.status_id, name=step.name, changes=step.changes))
        else:
            others.append(step)
    return change.model_copy(update={"steps": others, "additions": additions}) if len(additions) > _FEW else change


def of_what_was_done(change: Change, before: Sequence[Item]) -> Change:
    """A few steps with the items around them; of many only how many there were. What was refused is said in any case.

    Items that only got another SORT, for room, are counted. What stopped, or was stored otherwise, is said whole.
    """
    if change.status != "done" or change.items is None:
        return change if change.status in ("stopped", "done otherwise") else of_a_plan(change)
    moved_on = set(_renumbered(change.steps, before, change.items))
    told = [step for step in change.steps if step.status_id not in moved_on or step.action == "refused"]
    few = sum(step.action != "refused" for step in told) <= _FEW
    codes = {step.status_id for step in told}
    places = {place + step for place, item in enumerate(change.items) if item.status_id in codes for step in (-1, 0, 1)}
    counts = Counter("renumber" if step.status_id in moved_on else step.action for step in change.steps)
    return change.model_copy(
        update={
            "steps": told if few else [step for step in told if step.action == "refused"],
            "counts": None if few and not moved_on else dict(counts),
            "items": [item for place, item in enumerate(change.items) if place in places] if few else None,
            "total": len(change.items),
        }
    )


def _renumbered(steps: Iterable[Step], before: Sequence[Item], now: Sequence[Item]) -> Iterable[str]:
    """Codes of items whose SORT alone was changed, and which stand behind the same item as before."""
    codes = {item.status_id for item in before} & {item.status_id for item in now}
    were, are = ([item.status_id for item in items if item.status_id in codes] for items in (before, now))
    behind = [dict(zip(order, [None, *order], strict=False)) for order in (were, are)]
    for step in steps:
        code = step.status_id
        only_sort = step.action == "update" and all(one.startswith("SORT ") for one in step.changes or ("",))
        if code in codes and only_sort and behind[0][code] == behind[1][code]:
            yield code
