"""Refusals before anything is sent: unknown or ambiguous items, plans without operations."""

from __future__ import annotations

from collections.abc import Sequence

from bitrix24_directories.directories.models import Item
from bitrix24_directories.directories.notation import coded
from bitrix24_directories.rest import Bitrix24Error, ErrorKind
from bitrix24_directories.text import shown_code, shown_id
from bitrix24_directories.words import name_key

from .planning.operations import ChangePlan

CHANNEL_COMES_BACK = "it is an open channel's source: the channel adds it again with its next chat"


def check_operations(plan: ChangePlan) -> ChangePlan:
    """Return the plan of a single change. Raises CHANGE_REFUSED if all of it was refused."""
    steps = [step for step in plan.refused if step.action == "refused"]
    if steps and not plan.operations:
        raise refused("; ".join(f"{step.name}: {step.why}" for step in steps))
    return plan


def item_named(items: Sequence[Item], text: str) -> Item:
    """Return the item with this code or name. Raises CHANGE_REFUSED for none or several."""
    fits = coded(items, text.strip()) or [item for item in items if name_key(item.name) == name_key(text)]
    if len(fits) != 1:
        raise refused(
            f'"{shown_id(text, 100)}" is {"several items" if fits else "no item"} of the directory, by code and name',
            _use_one_of(fits or items),
        )
    return fits[0]


def item_with_code(items: Sequence[Item], code: str) -> Item:
    """Return the item with this STATUS_ID, with or without prefix; never by its record id."""
    bare_code = code.strip()
    matches = coded(items, bare_code)
    if len(matches) == 1:
        return matches[0]
    if matches:
        raise refused(f'"{shown_id(code, 100)}" fits several codes of the directory', _use_one_of(matches))
    record = next((item for item in items if str(item.id) == bare_code), None)
    hint = f"; {bare_code} is the record id of {shown_code(record.status_id)} ({record.name})" if record else ""
    raise refused(
        f'"{shown_id(code, 100)}" is not a STATUS_ID of the directory{hint}',
        _use_one_of(items),
    )


def no_directory(path: str) -> Bitrix24Error:
    """Return the error for a field whose values stand in no directory."""
    return Bitrix24Error(
        "NOT_A_DIRECTORY",
        ErrorKind(
            f"The values of {path} are the field's own and stand in no directory, so they cannot be changed here",
            "Tell the user to change them in Bitrix24, in the settings of that field.",
            "input",
        ),
        not_applied=True,
    )


def refused(happened: str, todo: str = "Correct it and call again") -> Bitrix24Error:
    """Return the error CHANGE_REFUSED: nothing was sent."""
    again = "The next call makes a new plan." if todo == "Call again" else ""
    kind = ErrorKind(f"Nothing was changed: {happened}", f"{todo}.", "input", again=again)
    return Bitrix24Error("CHANGE_REFUSED", kind)


def _use_one_of(items: Sequence[Item]) -> str:
    return f"Use one of its codes: {', '.join(shown_code(item.status_id) for item in items)}"
