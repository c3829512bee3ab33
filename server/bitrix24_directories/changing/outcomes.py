"""What became of a change: from the portal's answers, or from what stands there now, to done, not done or unknown.

Pure: nothing here calls anybody.
"""

from __future__ import annotations

from collections.abc import Sequence

from bitrix24_directories.directories.models import Change, Item, Step
from bitrix24_directories.rest import Bitrix24Error, Entry, Outcome, failure
from bitrix24_directories.text import shown_code

from .operations import Operation


def of_a_change(outcome: Outcome | None) -> Outcome | None:
    """To read, a user needs other rights than to change; the portal has one text for both."""
    if isinstance(outcome, Bitrix24Error) and outcome.kind == "CRM_ACCESS_DENIED":
        return failure("NOT_ALLOWED_TO_CHANGE", http_status=outcome.http_status, never_sent=True)
    return outcome


def judged(operation: Operation, outcome: Outcome | None, items: list[Item] | None) -> dict[str, str]:
    """What became of one operation: done, not done or unknown, and why."""
    if outcome is None:
        return {"outcome": "not done"}
    if not isinstance(outcome, Bitrix24Error):
        return {"outcome": "done"}
    if outcome.nothing_was_done:
        return {"outcome": "not done", "why": outcome.happened}
    if items is None:
        return {"outcome": "unknown", "why": "the answer was lost, and the directory could not be read again"}
    if _stands(operation, items):
        return {"outcome": "done"}
    return {"outcome": "unknown", "why": "the answer was lost, and the directory does not show the change so far"}


def _stands(operation: Operation, items: Sequence[Item]) -> bool:
    """Whether the directory looks as if the operation had been done."""
    item = next((one for one in items if one.status_id == operation.step.status_id), None)
    if operation.method == "crm.status.delete" or item is None:
        return (operation.method == "crm.status.delete") == (item is None)
    fields = operation.params["fields"]
    color = item.color or ""
    there = (item.sort, item.name, color)
    return there == (fields["SORT"], fields.get("NAME", item.name), fields.get("COLOR", color))


def why_stopped(change: Change, outcomes: Sequence[Outcome | None], timeout: float) -> Bitrix24Error:
    """What to tell, and what to do next: never to call again where a change may still be carried out."""
    errors = [outcome for outcome in outcomes if isinstance(outcome, Bitrix24Error)]
    unknown = [step for step in change.steps if step.outcome == "unknown"]
    if not errors:
        detail = f"waited {timeout:g} s for the portal to take the change; it was not sent"
        return failure("TIMEOUT", detail=detail, never_sent=True)
    if not unknown:
        return errors[0]
    cause = next((error for error in errors if not error.nothing_was_done), errors[0])
    entry = Entry(
        f"Whether {'the change was' if len(change.steps) == 1 else 'all changes were'} made is not known, for the "
        f"portal's answer was lost: {cause.happened}",
        f"Do not send it again now, since it may still be carried out. In a minute or two read {change.entity_id} "
        f"with get_directory_items (details and fresh) and look whether {'; '.join(map(_sign_of, unknown))}. "
        "Tell the user what you find, and go on from there.",
        cause.category,
        again="Sending the same change again before that could make it twice.",
    )
    return Bitrix24Error("CHANGE_UNKNOWN", entry, http_status=cause.http_status)


def _sign_of(step: Step) -> str:
    """How to see in the directory that a step was carried out."""
    code = shown_code(step.status_id or "")
    match step.action:
        case "add":
            return f"{code} ({step.name}) is there"
        case "remove":
            return f"{code} ({step.name}) is gone"
    return f"{code} is as it was to be ({step.name}: {', '.join(step.changes or ())})"
