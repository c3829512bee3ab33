"""The tools that change directories: plan, confirm, carry out. `changes` does the work.

They exist only if writes are switched on.
"""

from __future__ import annotations

from typing import Annotated

from mcp_types import CallToolResult, InputRequiredResult
from pydantic import BeforeValidator, Field

from bitrix24_directories.changing.changes import Planned
from bitrix24_directories.changing.summaries import of_a_plan, of_what_was_done, with_additions
from bitrix24_directories.directories.models import Change
from bitrix24_directories.mcp_server.picture.data import of_plan, with_picture
from bitrix24_directories.mcp_server.scopes import WRITE_DIRECTORIES
from bitrix24_directories.mcp_server.session import Session
from bitrix24_directories.mcp_server.texts.changes import change_text, plan_text

from .confirmation import confirm
from .results import both
from .spec import EntityId, ToolSpec, as_lines, writing_hints

NOTHING: list[str] = []
"""No items given: use those of the plan."""

LENGTH, _SHORT, _LINE = 255, 30, 500  # characters of a name or code, of the rest, of an item in notation

Color = Annotated[str, Field(description="For stages", examples=["#39A8EF"], max_length=_SHORT)]
After = Annotated[str, Field(description="Code or name of the item to stand after", max_length=LENGTH)]
StatusId = Annotated[
    str,
    Field(description="The item's STATUS_ID, never its numeric id", examples=["WON"], min_length=1, max_length=LENGTH),
]
PlanId = Annotated[str, Field(description="Of the plan to carry out", max_length=_SHORT)]


async def add_directory_item(
    session: Session,
    entityId: EntityId,
    name: Annotated[str, Field(description="What people will see", min_length=1, max_length=LENGTH)],
    statusId: Annotated[str, Field(description="Code; made from the name if empty", max_length=LENGTH)] = "",
    after: After = "",
    color: Color = "",
    semantics: Annotated[
        str,
        Field(description="For final stages", max_length=_SHORT, json_schema_extra={"enum": ["success", "failure"]}),
    ] = "",
) -> Annotated[CallToolResult, Change] | InputRequiredResult:
    """Add an item to a Bitrix24 directory, in its place: SORT, prefix and code are taken care of.

    Stages come before the winning stage unless they are failures. Example: entityId "DEAL_STAGE", name "Contract
    review", after "FINAL_INVOICE". The answer shows the directory as the portal now has it.
    """
    planned = await session.changes.plan_adding(
        entityId, name, code=statusId, after=after, color=color, meaning=semantics.strip().lower()
    )
    return await _carry_out(session, "add_directory_item", planned)


async def update_directory_item(
    session: Session,
    entityId: EntityId,
    statusId: StatusId,
    name: Annotated[str, Field(description="The new name", max_length=LENGTH)] = "",
    color: Color = "",
    after: After = "",
) -> Annotated[CallToolResult, Change] | InputRequiredResult:
    """Rename, recolour or move an item of a Bitrix24 directory. Its code and meaning cannot change.

    What is left out stays as it is. Example: entityId "SOURCE", statusId "UC_C0LD01", name "Outbound call".
    """
    planned = await session.changes.plan_updating(entityId, statusId, name=name, color=color, after=after)
    return await _carry_out(session, "update_directory_item", planned)


async def delete_directory_item(
    session: Session,
    entityId: EntityId,
    statusId: StatusId,
    planId: PlanId = "",
) -> Annotated[CallToolResult, Change] | InputRequiredResult:
    """Delete an item of a Bitrix24 directory. System items and items that records use stay; the answer says why.

    If the client cannot ask the user, the first call only returns a plan and its planId: show it to the user, and call
    again with the planId when they agree.
    """
    planned = await session.changes.plan_removing(entityId, statusId, planId)
    if not session.can_ask and planId != planned.plan_id:
        return _plan_result(session, planned, planId)
    return await _carry_out(session, "delete_directory_item", planned)


async def apply_directory(
    session: Session,
    entityId: EntityId,
    items: Annotated[
        list[Annotated[str, Field(max_length=_LINE)]],
        BeforeValidator(as_lines),
        Field(
            description="Items in order, 500 at most, as get_directory_items prints them; a bare name is a new item",
            max_length=500,
            examples=[["NEW: New", "Contract review", "WON: Deal Won [success] #7BD500", "LOSE: Deal Lost [failure]"]],
        ),
    ] = NOTHING,
    planId: PlanId = "",
) -> Annotated[CallToolResult, Change] | InputRequiredResult:
    """Make a Bitrix24 directory match a list: adds, renames, recolours, moves, and removes what the list lacks.

    The first call answers with the plan and a planId, and changes nothing: show it to the user. Call again with
    entityId and that planId alone to carry it out; if the directory has changed meanwhile, a new plan comes back.
    """
    planned = await session.changes.plan_declared(entityId, items, planId)
    if planId != planned.plan_id or not planned.plan.operations:
        return _plan_result(session, planned, planId)
    return await _carry_out(session, "apply_directory", planned)


SPECS = tuple(
    ToolSpec(function, title, hints, (WRITE_DIRECTORIES,), has_picture=function is apply_directory)
    for function, title, hints in (
        (add_directory_item, "Add an item", writing_hints(destructive=False, idempotent=False)),
        (update_directory_item, "Change an item", writing_hints(destructive=True, idempotent=True)),
        (delete_directory_item, "Delete an item", writing_hints(destructive=True, idempotent=False)),
        (apply_directory, "Make a directory match a list", writing_hints(destructive=True, idempotent=True)),
    )
)


def _plan_result(session: Session, planned: Planned, plan_id: str) -> CallToolResult:
    """Return the plan for the user, with the news if another plan was requested by its id."""
    news = session.changes.news(plan_id, planned) if plan_id else None
    result = of_a_plan(planned.answer(news))
    answer = both(plan_text(result), with_additions(result))
    if not session.shows_pictures:
        return answer
    return with_picture(answer, of_plan(planned.entity_id, planned.items, planned.after, result.steps))


async def _carry_out(session: Session, tool: str, planned: Planned) -> CallToolResult | InputRequiredResult:
    """Ask the person if the client can, and make the change if they agree."""
    if session.can_ask and planned.plan.operations:
        text = plan_text(of_a_plan(planned.answer().model_copy(update={"plan_id": None})))
        answer = await confirm(session, key=planned.plan_id, text=text)
        if isinstance(answer, InputRequiredResult):
            return answer
        if answer != "accepted":
            return _done_result(session.changes.rejected(tool, planned, answer), planned)
    return _done_result(await session.changes.carry_out(tool, planned, confirmed=session.can_ask), planned)


def _done_result(change: Change, planned: Planned) -> CallToolResult:
    result = of_what_was_done(change, planned.items)
    return both(change_text(result), result)
