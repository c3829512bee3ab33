"""The tools that change directories: schemas, descriptions, and the asking of a person. What they do is in `changes`.

They exist only where writes are switched on. A person confirms each change through the client where the client can ask
(elicitation, in the form of either protocol era); where it cannot, deleting and applying take two calls.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Annotated, Any, Literal

from mcp.server.elicitation import AcceptedElicitation, ElicitationResult, render_elicitation_schema
from mcp.server.mcpserver import Context
from mcp.server.mcpserver.resolve import Elicit, Resolve
from mcp.shared.exceptions import MCPError
from mcp_types import CallToolResult, ElicitResult, ToolAnnotations
from mcp_types.version import is_version_at_least
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from bitrix24_directories.changing.changes import Changes, Planned
from bitrix24_directories.directories.models import Change, lean
from bitrix24_directories.rest import Bitrix24Error, Entry

from .answers import both, change_text, plan_text
from .context import Portal
from .entity_argument import EntityId
from .tools import Published, listed, published

_ASKS_IN_ANSWERS = "2026-07-28"  # the protocol version from which on a tool's result asks, and the next call answers
_LENGTH, _SHORT, _LINE = 255, 30, 500  # characters of a name or code, of the rest, of an item in notation
_UNREADABLE = Entry(
    "The client's answer to the question whether to make this change cannot be read; nothing was changed",
    "Ask the user yourself whether to make it, and tell them that their client's answer did not come through.",
    "input",
)

Color = Annotated[str, Field(description="For stages", examples=["#39A8EF"], max_length=_SHORT)]
After = Annotated[str, Field(description="Code or name of the item to stand after", max_length=_LENGTH)]
StatusId = Annotated[
    str,
    Field(description="The item's STATUS_ID, never its numeric id", examples=["WON"], min_length=1, max_length=_LENGTH),
]
PlanId = Annotated[str, Field(description="From the plan that this call carries out", max_length=_SHORT)]


class Confirmation(BaseModel):
    """What a person is asked for: nothing but whether they accept. A box to tick would be a second yes."""

    model_config = ConfigDict(json_schema_extra=lambda schema: lean(schema))


Confirmed = ElicitationResult[Confirmation]
Said = Literal["accept", "decline", "cancel"]


def changes_of(ctx: Context[Portal]) -> Changes:
    server: Any = ctx.mcp_server
    changes: Changes = server.changes()
    return changes


async def _plan_adding(
    entityId: str,
    name: str,
    statusId: str,
    after: str,
    color: str,
    semantics: str,
    ctx: Context[Portal],
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
    ctx: Context[Portal],
) -> Planned:
    return await changes_of(ctx).plan_updating(entityId, statusId, name=name, color=color, after=after)


async def _plan_removing(entityId: str, statusId: str, ctx: Context[Portal]) -> Planned:
    return await changes_of(ctx).plan_removing(entityId, statusId)


async def _plan_declared(entityId: str, items: list[str], ctx: Context[Portal]) -> Planned:
    return await changes_of(ctx).plan_declared(entityId, items)


async def _ask_adding(
    planned: Annotated[Planned, Resolve(_plan_adding)], ctx: Context[Portal]
) -> Elicit[Confirmation] | Said:
    return await _ask(planned, ctx)


async def _ask_updating(
    planned: Annotated[Planned, Resolve(_plan_updating)], ctx: Context[Portal]
) -> Elicit[Confirmation] | Said:
    return await _ask(planned, ctx)


async def _ask_removing(
    planned: Annotated[Planned, Resolve(_plan_removing)], ctx: Context[Portal]
) -> Elicit[Confirmation] | Said:
    return await _ask(planned, ctx)


async def _ask_declared(
    planned: Annotated[Planned, Resolve(_plan_declared)],
    planId: str,
    ctx: Context[Portal],
) -> Elicit[Confirmation] | Said:
    return await _ask(planned, ctx) if planId == planned.plan_id else "decline"


async def add_directory_item(
    entityId: EntityId,
    name: Annotated[str, Field(description="What people will see", min_length=1, max_length=_LENGTH)],
    ctx: Context[Portal],
    planned: Annotated[Planned, Resolve(_plan_adding)],
    answer: Annotated[Confirmed, Resolve(_ask_adding)],
    statusId: Annotated[str, Field(description="Made from the name if empty", max_length=_LENGTH)] = "",
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
    ctx: Context[Portal],
    planned: Annotated[Planned, Resolve(_plan_updating)],
    answer: Annotated[Confirmed, Resolve(_ask_updating)],
    name: Annotated[str, Field(description="The new name", max_length=_LENGTH)] = "",
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
    ctx: Context[Portal],
    planned: Annotated[Planned, Resolve(_plan_removing)],
    answer: Annotated[Confirmed, Resolve(_ask_removing)],
    planId: PlanId = "",
) -> Annotated[CallToolResult, Change]:
    """Delete an item of a Bitrix24 directory. System items and items that records use stay; the answer says why.

    Where nobody could be asked, the first call only answers with a planId: show the user what would be deleted, and
    call again with it when they agree.
    """
    del entityId, statusId
    if not _can_ask(ctx) and planId != planned.plan_id:
        return _shown(ctx, planned, planId)
    return await _done(ctx, "delete_directory_item", planned, answer)


async def apply_directory(
    entityId: EntityId,
    items: Annotated[
        list[Annotated[str, Field(max_length=_LINE)]],
        BeforeValidator(listed),
        Field(
            description="1 to 500 items in order, as get_directory_items prints them; a bare name is a new item",
            min_length=1,
            max_length=500,
            examples=[["NEW: New", "Contract review", "WON: Deal Won [success] #7BD500", "LOSE: Deal Lost [failure]"]],
        ),
    ],
    ctx: Context[Portal],
    planned: Annotated[Planned, Resolve(_plan_declared)],
    answer: Annotated[Confirmed, Resolve(_ask_declared)],
    planId: PlanId = "",
) -> Annotated[CallToolResult, Change]:
    """Make a Bitrix24 directory look as declared: adds, renames, recolours, moves, and removes what is not declared.

    The first call answers with the plan and a planId, and changes nothing: show it to the user. Call again with the
    same items and that planId to carry it out; if the directory has changed meanwhile, a new plan comes back.
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


def without_content(answers: Mapping[str, object]) -> None:
    """Put a client's answers to elicitations into the form that was asked for, which some leave out or fill in."""
    for answer in answers.values():
        if isinstance(answer, ElicitResult):
            answer.content = {}


def _can_ask(ctx: Context[Portal]) -> bool:
    """Whether the client can put a form before a person; `elicitation: {}` is how older ones say so."""
    elicitation = ctx.client_capabilities.elicitation if ctx.client_capabilities else None
    return elicitation is not None and (elicitation.form is not None or elicitation.url is None)


async def _ask(planned: Planned, ctx: Context[Portal]) -> Elicit[Confirmation] | Said:
    if not planned.plan.operations or not _can_ask(ctx):
        return "accept"
    question = plan_text(planned.answer().model_copy(update={"plan_id": None}))
    if ctx.protocol_version is not None and is_version_at_least(ctx.protocol_version, _ASKS_IN_ANSWERS):
        return Elicit(question, Confirmation)
    # The SDK's own asking takes an accepting answer without content for a failure.
    try:
        answer = await ctx.session.elicit_form(
            question, render_elicitation_schema(Confirmation), related_request_id=ctx.request_id
        )
    except (ValidationError, MCPError):
        raise Bitrix24Error("CONFIRMATION_UNREADABLE", _UNREADABLE, nothing_was_done=True) from None
    action: Said = answer.action
    return action


async def _done(ctx: Context[Portal], tool: str, planned: Planned, answer: Confirmed) -> CallToolResult:
    changes = changes_of(ctx)
    said: Any = answer.data if isinstance(answer, AcceptedElicitation) else answer.action
    if said == "accept" or isinstance(said, Confirmation):
        result = await changes.carry_out(tool, planned, confirmed=_can_ask(ctx))
    else:
        result = changes.not_wanted(tool, planned, "declined" if said == "decline" else "cancelled")
    return both(change_text(result), result)


def _shown(ctx: Context[Portal], planned: Planned, plan_id: str) -> CallToolResult:
    news = changes_of(ctx).news(plan_id, planned) if plan_id else None
    result = planned.answer(news)
    return both(plan_text(result), result)
