"""Schema of the tool that merges several codes into one; `changing.merging` does the work."""

from __future__ import annotations

from typing import Annotated

from mcp_types import CallToolResult, InputRequiredResult
from pydantic import BeforeValidator, Field

from bitrix24_directories.changing.merging.models import Merge
from bitrix24_directories.mcp_server.scopes import WRITE_DIRECTORIES, WRITE_RECORDS
from bitrix24_directories.mcp_server.session import Session
from bitrix24_directories.mcp_server.texts.merges import merge_text

from .changes import LENGTH, PlanId
from .confirmation import confirm
from .results import both
from .spec import EntityId, ToolSpec, as_codes, writing_hints

_ELSEWHERE = "a new plan, since the directory, its fields or the arguments are not as in the plan of that planId"


async def merge_directory_items(
    session: Session,
    entityId: EntityId,
    codes: Annotated[
        list[Annotated[str, Field(max_length=LENGTH)]],
        BeforeValidator(as_codes),
        Field(
            description="1 to 50 codes to replace; records may carry them though no directory has them",
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
    """Merge codes of a Bitrix24 directory: CRM records with one get the target code, then emptied items are deleted.

    The first call answers with the plan and a planId, and changes nothing: show it to the user. Call again with the
    same arguments and that planId to carry it out, and again for as long as the answer says that records are left.
    """
    planned = await session.merges.plan(entityId, codes, into)
    if planId != planned.plan_id or not planned.does_something:
        result = planned.answer([_ELSEWHERE] if planId and planned.does_something else None)
        return both(merge_text(result), result)
    asks_person = session.can_ask and not await session.merges.has_consent(planned)
    if asks_person:
        text = merge_text(planned.answer().model_copy(update={"plan_id": None}))
        answer = await confirm(session, key=planned.plan_id, text=text)
        if isinstance(answer, InputRequiredResult):
            return answer
        if answer != "accepted":
            result = session.merges.rejected("merge_directory_items", planned, answer)
            return both(merge_text(result), result)
    result = await session.merges.carry_out("merge_directory_items", planned, confirmed=asks_person)
    return both(merge_text(result), result)


SPEC = ToolSpec(
    merge_directory_items,
    "Make several codes one",
    writing_hints(destructive=True, idempotent=True),
    (WRITE_DIRECTORIES, WRITE_RECORDS),
)
