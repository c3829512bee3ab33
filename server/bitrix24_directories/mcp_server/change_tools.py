"""The tools that change directories: schemas and descriptions. What they do is in `changes`.

They exist only where writes are switched on.
"""

from __future__ import annotations

from functools import cache
from typing import Annotated

from mcp.server.mcpserver.resolve import Elicit, Resolve
from mcp_types import CallToolResult, ToolAnnotations
from pydantic import BeforeValidator, Field

from bitrix24_directories.changing.changes import Changes, Planned
from bitrix24_directories.changing.summaries import of_a_plan, of_what_was_done, with_additions
from bitrix24_directories.directories.models import Change

from .answers import both, change_text, plan_text
from .asking import Confirmation, Confirmed, Said, ask, can_ask, not_wanted
from .context import Calls, calling
from .entity_argument import EntityId
from .picture import is_shown, of_plan, with_picture
from .tools import Published, listed, published

NOTHING: list[str] = []
"""No items: those of the plan."""

LENGTH, _SHORT, _LINE = 255, 30, 500  # characters of a name or code, of the rest, of an item in notation

Color = Annotated[str, Field(description="For stages", examples=["#39A8EF"], max_length=_SHORT)]
After = Annotated[str, Field(description="Code or name of the item to stand after", max_length=LENGTH)]
StatusId = Annotated[
    str,
    Field(description="The item's STATUS_ID, never its numeric id", examples=["WON"], min_length=1, max_length=LENGTH),
]
PlanId = Annotated[str, Field(description="From the plan that this call carries out", max_length=_SHORT)]


def changes_of(_: Calls) -> Changes:
    changes = calling.get().changes
    assert changes is not None, "the changing tools are there only with writes allowed"
    return changes


async def _plan_adding(
    entityId: str,
    name: str,
    statusId: str,
    after: str,
    color: str,
    semantics: str,
    ctx: Calls,
) -> Planned:
    return await changes_of(ctx).plan_adding(
        entityId, name, code=statusId, after=after, color=color, meaning=semantics.strip().lower()
    )


async def _plan_updating(
    entityId: str,
    statusId: str,
    name: str,
    color: str,
    after: str,
    ctx: Calls,
) -> Planned:
    return await changes_of(ctx).plan_updating(entityId, statusId, name=name, color=color, after=after)


async def _plan_removing(entityId: str, statusId: str, ctx: Calls) -> Planned:
    return await changes_of(ctx).plan_removing(entityId, statusId)


async def _plan_declared(entityId: str, items: list[str], planId: str, ctx: Calls) -> Planned:
    return await changes_of(ctx).plan_declared(entityId, items, planId)


async def _ask_adding(planned: Annotated[Planned, Resolve(_plan_adding)], ctx: Calls) -> Elicit[Confirmation] | Said:
    return await _ask(planned, ctx)


async def _ask_updating(
    planned: Annotated[Planned, Resolve(_plan_updating)], ctx: Calls
) -> Elicit[Confirmation] | Said:
    return await _ask(planned, ctx)


async def _ask_removing(
    planned: Annotated[Planned, Resolve(_plan_removing)], ctx: Calls
) -> Elicit[Confirmation] | Said:
    return await _ask(planned, ctx)


async def _ask_declared(
    planned: Annotated[Planned, Resolve(_plan_declared)],
    planId: str,
    ctx: Calls,
) -> Elicit[Confirmation] | Said:
    return await _ask(planned, ctx) if planId == planned.plan_id else "decline"


async def add_directory_item(
    entityId: EntityId,
    name: Annotated[str, Field(description="What people will see", min_length=1, max_length=LENGTH)],
    ctx: Calls,
    planned: Annotated[Planned, Resolve(_plan_adding)],
    answer: Annotated[Confirmed, Resolve(_ask_adding)],
    statusId: Annotated[str, Field(description="Made from the name if empty", max_length=LENGTH)] = "",
    after: After = "",
    color: Color = "",
    semantics: Annotated[
        str,
        Field(description="For stages that end", max_length=_SHORT, json_schema_extra={"enum": ["success", "failure"]}),
    ] = "",
) -> Annotated[CallToolResult, Change]:
    """Add an item to a Bitrix24 directory, in its place: SORT, prefix and code are taken care of.

    Stages come before the winning stage unless they are failures. Example: entityId "DEAL_STAGE", name "Contract
    review", after "FINAL_INVOICE". The answer shows the directory as the portal now has it.
    """
    del entityId, name, statusId, after, color, semantics  # the resolvers have read them
    return await _done(ctx, "add_directory_item", planned, answer)


async def update_directory_item(
    entityId: EntityId,
    statusId: StatusId,
    ctx: Calls,
    planned: Annotated[Planned, Resolve(_plan_updating)],
    answer: Annotated[Confirmed, Resolve(_ask_updating)],
    name: Annotated[str, Field(description="The new name", max_length=LENGTH)] = "",
    color: Color = "",
    after: After = "",
) -> Annotated[CallToolResult, Change]:
    """Rename, recolour or move an item of a Bitrix24 directory. Its code and meaning cannot change.

    What is left out stays as it is. Example: entityId "SOURCE", statusId "UC_C0LD01", name "Outbound call".
    """
    del entityId, statusId, name, color, after
    return await _done(ctx, "update_directory_item", planned, answer)


async def delete_directory_item(
    entityId: EntityId,
    statusId: StatusId,
    ctx: Calls,
    planned: Annotated[Planned, Resolve(_plan_removing)],
    answer: Annotated[Confirmed, Resolve(_ask_removing)],
    planId: PlanId = "",
) -> Annotated[CallToolResult, Change]:
    """Delete an item of a Bitrix24 directory. System items and items that records use stay; the answer says why.

    Where nobody could be asked, the first call only answers with a planId: show the user what would be deleted, and
    call again with it when they agree.
    """
    del entityId, statusId
    if not can_ask(ctx) and planId != planned.plan_id:
        return _shown(ctx, planned, planId)
    return await _done(ctx, "delete_directory_item", planned, answer)


async def apply_directory(
    entityId: EntityId,
    ctx: Calls,
    planned: Annotated[Planned, Resolve(_plan_declared)],
    answer: Annotated[Confirmed, Resolve(_ask_declared)],
    items: Annotated[
        list[Annotated[str, Field(max_length=_LINE)]],
        BeforeValidator(listed),
        Field(
            description="Items in order, 500 at most, as get_directory_items prints them; a bare name is a new item",
            max_length=500,
            examples=[["NEW: New", "Contract review", "WON: Deal Won [success] #7BD500", "LOSE: Deal Lost [failure]"]],
        ),
    ] = NOTHING,
    planId: PlanId = "",
) -> Annotated[CallToolResult, Change]:
    """Make a Bitrix24 directory look as declared: adds, renames, recolours, moves, and removes what is not declared.

    The first call answers with the plan and a planId, and changes nothing: show it to the user. Call again with
    entityId and that planId alone to carry it out; if the directory has changed meanwhile, a new plan comes back.
    """
    del entityId, items
    if planId != planned.plan_id or not planned.plan.operations:
        return _shown(ctx, planned, planId)
    return await _done(ctx, "apply_directory", planned, answer)


@cache
def change_tools() -> tuple[Published, ...]:
    """The changing tools, with their published schemas and true annotations; made once."""

    def hints(*, destructive: bool, idempotent: bool) -> ToolAnnotations:
        return ToolAnnotations(
            read_only_hint=False, destructive_hint=destructive, idempotent_hint=idempotent, open_world_hint=True
        )

    return (
        published(add_directory_item, "Add an item", hints(destructive=False, idempotent=False)),
        published(update_directory_item, "Change an item", hints(destructive=True, idempotent=True)),
        published(delete_directory_item, "Delete an item", hints(destructive=True, idempotent=False)),
        published(apply_directory, "Make a directory look as declared", hints(destructive=True, idempotent=True)),
    )


async def _ask(planned: Planned, ctx: Calls) -> Elicit[Confirmation] | Said:
    if not planned.plan.operations or not can_ask(ctx):
        return "accept"
    return await ask(plan_text(of_a_plan(planned.answer().model_copy(update={"plan_id": None}))), ctx)


async def _done(ctx: Calls, tool: str, planned: Planned, answer: Confirmed) -> CallToolResult:
    changes = changes_of(ctx)
    how = not_wanted(answer)
    if how is None:
        result = await changes.carry_out(tool, planned, confirmed=can_ask(ctx))
    else:
        result = changes.not_wanted(tool, planned, how)
    result = of_what_was_done(result, planned.items)
    return both(change_text(result), result)


def _shown(ctx: Calls, planned: Planned, plan_id: str) -> CallToolResult:
    news = changes_of(ctx).news(plan_id, planned) if plan_id else None
    result = of_a_plan(planned.answer(news))
    answer = both(plan_text(result), with_additions(result))
    if not is_shown(ctx):
        return answer
    return with_picture(answer, of_plan(planned.entity_id, planned.items, planned.after, result.steps))
