"""Determines the outcome of a change from the directory as it is read again. Pure.

Facts: the portal confirms every update regardless of what it stored, cuts long values, and may answer an error after it
has stored a change. The answer only decides what reading leaves open: if it was lost, a change that is not there may
still come.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from bitrix24_directories.directories.models import Change, Item, Step
from bitrix24_directories.rest import Bitrix24Error, ErrorKind, Outcome, failure
from bitrix24_directories.text import shown_code

from .planning.operations import Operation

_UNREAD = "the directory could not be read again"
_NOT_SHOWN = "Bitrix24 confirmed it, but the directory does not show it"


def as_change_error(outcome: Outcome | None) -> Outcome | None:
    """Replace an access error by NOT_ALLOWED_TO_CHANGE: the portal's text is that of reading."""
    if isinstance(outcome, Bitrix24Error) and outcome.kind == "CRM_ACCESS_DENIED" and outcome.not_applied:
        return failure("NOT_ALLOWED_TO_CHANGE", http_status=outcome.http_status, never_sent=True)
    return outcome


def judge_step(
    operation: Operation, outcome: Outcome | None, before: Sequence[Item], items: Sequence[Item] | None
) -> dict[str, Any]:
    """Return fields of an operation's step: outcome, reason, and deviating stored values.

    `before` and `items` are the directory before and after it; None if it could not be read again.
    """
    if outcome is None:
        return {"outcome": "not done"}
    error = outcome if isinstance(outcome, Bitrix24Error) else None
    why = error.quoted or error.happened if error else _NOT_SHOWN
    if items is None:
        if error and error.not_applied:
            return {"outcome": "not done", "why": why}
        return {"outcome": "unknown", "why": f"the answer was lost, and {_UNREAD}" if error else _UNREAD}
    item = _find_item(operation, outcome, before, items)
    is_deletion = operation.method == "crm.status.delete"
    stored = list(_deviations(operation, item)) if item is not None else []
    if (is_deletion and item is None) or (not is_deletion and item is not None and not stored):
        return {"outcome": "done"}
    if error and error.not_applied:
        return {"outcome": "not done", "why": why}
    if error and not error.answered:
        return {"outcome": "unknown", "why": "the answer was lost, and the directory does not show the change so far"}
    if item is not None and _was_touched(operation, item):
        return {"outcome": "done otherwise", "stored": stored}
    return {"outcome": "not done", "why": why}


def _find_item(operation: Operation, outcome: Outcome, before: Sequence[Item], items: Sequence[Item]) -> Item | None:
    """Return an operation's item: the same, the added one, or one with the deleted code."""
    old = operation.item
    if old is None:
        numbers = {item.id for item in before}
        new = [item for item in items if item.id not in numbers]
        number = None if isinstance(outcome, Bitrix24Error) else str(outcome.result)
        coded = (item for item in new if item.status_id == operation.step.status_id)
        return next(coded, None) or next((item for item in new if str(item.id) == number), None)
    coded = (item for item in items if item.status_id == old.status_id)
    return next((item for item in coded if item.id == old.id or operation.method == "crm.status.delete"), None)


def _was_touched(operation: Operation, item: Item) -> bool:
    """Return true if a value that the operation should change has changed, to whatever value."""
    old, fields = operation.item, operation.params.get("fields", {})
    if old is None or operation.method == "crm.status.delete":
        return old is None or item.id != old.id
    was = {"NAME": old.name, "SORT": old.sort, "COLOR": (old.color or "").casefold()}
    now = {"NAME": item.name, "SORT": item.sort, "COLOR": (item.color or "").casefold()}
    requested = {part: value.casefold() if part == "COLOR" else value for part, value in fields.items() if part in was}
    return any(requested[part] != was[part] != now[part] for part in requested)


def _deviations(operation: Operation, item: Item) -> Iterator[str]:
    """Yield each stored value that differs from the requested one."""
    if operation.method == "crm.status.delete":
        yield f"{shown_code(item.status_id)} was added again (id {item.id})"
        return
    fields = operation.params["fields"]
    if item.status_id != operation.step.status_id:
        yield f"code {shown_code(item.status_id)}"
    if item.name != fields.get("NAME", item.name):
        yield f"name {item.name}"
    if item.sort != fields["SORT"]:
        yield f"SORT {item.sort}"
    if (item.color or "").casefold() != fields.get("COLOR", item.color or "").casefold():
        yield f"colour {item.color or 'none'}"
    meaning = {"S": "success", "F": "failure"}.get(fields.get("SEMANTICS", ""), "process")
    if operation.item is None and (item.semantics or "process") != meaning:
        yield f"meaning {item.semantics}"


def why_stopped(change: Change, outcomes: Sequence[Outcome | None], timeout: float) -> Bitrix24Error:
    """Return the error of a stopped change; it asks for no new call while the old may succeed."""
    errors = [outcome for outcome in outcomes if isinstance(outcome, Bitrix24Error)]
    unknown = [step for step in change.steps if step.outcome == "unknown"]
    if unknown:
        cause = next((error for error in errors if not error.not_applied), None)
        subject = "the change was" if len(change.steps) == 1 else "all changes were"
        why = f"the portal's answer was lost: {cause.happened}" if cause else _UNREAD
        entry = ErrorKind(
            f"It is unknown whether {subject} made, for {why}",
            f"Do not send it again now, since it may still be carried out. In a minute or two read {change.entity_id} "
            f"with get_directory_items (details and fresh) and look whether {'; '.join(map(_describe_sign, unknown))}. "
            "Tell the user what you find, and go on from there.",
            cause.category if cause else "portal",
            again="Sending the same change again before that could make it twice.",
        )
        return Bitrix24Error("CHANGE_UNKNOWN", entry, http_status=cause.http_status if cause else None)
    if all(outcome is None for outcome in outcomes):
        detail = f"waited {timeout:g} s for the portal to take the change; it was not sent"
        return failure("TIMEOUT", detail=detail, never_sent=True)
    steps = change.steps[: len(outcomes)]
    refused = [
        outcome
        for step, outcome in zip(steps, outcomes, strict=True)
        if step.outcome == "not done" and isinstance(outcome, Bitrix24Error)
    ]
    if refused:
        return refused[0]
    if errors:
        entry = ErrorKind(
            "The portal answered an error, although the directory shows that change, so the steps after it were not "
            f"sent: {errors[0].happened}",
            "Call again for the rest: what is done is not done twice.",
            "portal",
            retryable=True,
        )
        return Bitrix24Error("CHANGE_INTERRUPTED", entry, code=errors[0].code, http_status=errors[0].http_status)
    missing = [step for step in change.steps if step.outcome == "not done"]
    entry = ErrorKind(
        f"Bitrix24 confirmed the change, but {change.entity_id} does not show it: not so that "
        f"{'; '.join(map(_describe_sign, missing))}",
        "Tell the user: somebody else may have changed it at the same moment, or the portal dropped it. Call again "
        "only if they want that.",
        "portal",
    )
    return Bitrix24Error("CHANGE_NOT_STORED", entry)


def _describe_sign(step: Step) -> str:
    """Describe the sign in the directory that a step was carried out."""
    code = shown_code(step.status_id or "")
    match step.action:
        case "add":
            return f"{code} ({step.name}) is there"
        case "remove":
            return f"{code} ({step.name}) is gone"
    return f"{code} is as it was to be ({step.name}: {', '.join(step.changes or ())})"
