"""The asking of a person whether a change shall be made, through the client where it can (elicitation).

In the form of either protocol era. Where the client cannot ask, deleting, applying and merging take two calls.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from mcp.server.elicitation import AcceptedElicitation, ElicitationResult, render_elicitation_schema
from mcp.server.mcpserver.resolve import Elicit
from mcp.shared.exceptions import MCPError
from mcp_types import ElicitResult
from mcp_types.version import is_version_at_least
from pydantic import BaseModel, ConfigDict, ValidationError

from bitrix24_directories.directories.models import lean
from bitrix24_directories.rest import Bitrix24Error, Entry

from .context import Calls

_ASKS_IN_ANSWERS = "2026-07-28"  # the protocol version from which on a tool's result asks, and the next call answers
_UNREADABLE = Entry(
    "The client's answer to the question whether to make this change cannot be read; nothing was changed",
    "Ask the user yourself whether to make it, and tell them that their client's answer did not come through.",
    "input",
)


class Confirmation(BaseModel):
    """What a person is asked for: nothing but whether they accept. A box to tick would be a second yes."""

    model_config = ConfigDict(json_schema_extra=lambda schema: lean(schema))


Confirmed = ElicitationResult[Confirmation]
Said = Literal["accept", "decline", "cancel"]


def can_ask(ctx: Calls) -> bool:
    """Whether the client can put a form before a person; `elicitation: {}` is how older ones say so."""
    elicitation = ctx.client_capabilities.elicitation if ctx.client_capabilities else None
    return elicitation is not None and (elicitation.form is not None or elicitation.url is None)


async def ask(plan: str, ctx: Calls) -> Elicit[Confirmation] | Said:
    """What the person says to a plan, or what lets the client ask. Raises Bitrix24Error (CONFIRMATION_UNREADABLE)."""
    question = f"{plan}\nCarry it out?"
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


def not_wanted(answer: Confirmed) -> Literal["declined", "cancelled"] | None:
    """How a person did not agree; None where they did."""
    said: Any = answer.data if isinstance(answer, AcceptedElicitation) else answer.action
    if said == "accept" or isinstance(said, Confirmation):
        return None
    return "declined" if said == "decline" else "cancelled"


def without_content(answers: Mapping[str, object]) -> None:
    """Put a client's answers to elicitations into the form that was asked for, which some leave out or fill in."""
    for answer in answers.values():
        if isinstance(answer, ElicitResult):
            answer.content = {}
