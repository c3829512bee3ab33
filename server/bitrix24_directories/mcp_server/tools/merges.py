"""The tool that makes several codes one: its schema and its texts. What it does is in `changing.merging`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Literal

from mcp_types import CallToolResult, InputRequiredResult, ToolAnnotations
from pydantic import BeforeValidator, Field

from bitrix24_directories.changing.merging.models import Merge, MergedCode
from bitrix24_directories.mcp_server.scopes import WRITE_DIRECTORIES, WRITE_RECORDS
from bitrix24_directories.mcp_server.session import Session
from bitrix24_directories.mcp_server.texts.directories import both, counted
from bitrix24_directories.text import quoted, shown_code

from .changes import LENGTH, PlanId
from .confirmation import confirm
from .entity_argument import EntityId
from .spec import ToolSpec, listed_codes

_ELSEWHERE = "a new plan, since the directory, its fields or the arguments are not as in the plan of that planId"
_ITEMS = {
    "to be deleted": "the item is deleted then",
    "stays": "the item stays",
    "deleted": "the item is deleted",
    "unknown": "whether the item is deleted is not known",
}


async def merge_directory_items(
    session: Session,
    entityId: EntityId,
    codes: Annotated[
        list[Annotated[str, Field(max_length=LENGTH)]],
        BeforeValidator(listed_codes),
        Field(
            description="1 to 50 codes that are to go; records may carry them though no directory has them",
            min_length=1,
            max_length=50,
            examples=[["UC_WEB2", "website"]],
        ),
    ],
    into: Annotated[
        str,
        Field(
            description="Code or name of the item that replaces them", examples=["WEB"], min_length=1, max_length=LENGTH
        ),
    ],
    planId: PlanId = "",
) -> Annotated[CallToolResult, Merge] | InputRequiredResult:
    """Make several codes of a Bitrix24 directory one: every CRM record that carries one gets another, then items go.

    The first call answers with the plan and a planId, and changes nothing: show it to the user. Call again with the
    same arguments and that planId to carry it out, and again for as long as the answer says that records are left.
    """
    planned = await session.merges.plan(entityId, codes, into)
    if planId != planned.plan_id or not planned.does_something:
        result = planned.answer([_ELSEWHERE] if planId and planned.does_something else None)
        return both(merge_text(result), result)
    asked = session.can_ask and not await session.merges.agreed(planned)
    if asked:
        text = merge_text(planned.answer().model_copy(update={"plan_id": None}))
        answer = await confirm(session, key=planned.plan_id, text=text)
        if isinstance(answer, InputRequiredResult):
            return answer
        if answer != "accept":
            how: Literal["declined", "cancelled"] = "declined" if answer == "decline" else "cancelled"
            result = session.merges.not_wanted("merge_directory_items", planned, how)
            return both(merge_text(result), result)
    result = await session.merges.carry_out("merge_directory_items", planned, confirmed=asked)
    return both(merge_text(result), result)


SPEC = ToolSpec(
    merge_directory_items,
    "Make several codes one",
    ToolAnnotations(read_only_hint=False, destructive_hint=True, idempotent_hint=True, open_world_hint=True),
    (WRITE_DIRECTORIES, WRITE_RECORDS),
)


def merge_text(merge: Merge) -> str:
    """What would be moved, or what was, and what is left."""
    lines = [
        _head(merge),
        *map(_code_line, merge.codes),
        *_not_moved(merge),
        *(f"- {note}" for note in merge.notes or ()),
    ]
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


def _code_line(code: MergedCode) -> str:
    name = f" ({code.name})" if code.name is not None else ""
    shown = quoted(code.status_id) if code.name is None else shown_code(code.status_id)
    parts = [f"{count} in {path}" for path, count in (code.fields or {}).items()]
    said = [", ".join(parts)] if parts else []
    said += [_ITEMS[code.item]] if code.item else []
    said += [code.why] if code.why else []
    return f"- {shown}{name}: {'; '.join(said)}"


def _not_moved(merge: Merge) -> Iterator[str]:
    for one in merge.not_moved or ():
        yield f"- not moved: {one.record} ({one.field}): {one.why}"
    if (more := (merge.not_moved_total or 0) - len(merge.not_moved or ())) > 0:
        yield f"- and {more} more, which the audit log names"
