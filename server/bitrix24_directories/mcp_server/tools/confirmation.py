"""Asks a person to confirm a change, through a client that can ask (elicitation).

Uses the form of either protocol era. If the client cannot ask, deleting, applying and merging take two calls.
"""

from __future__ import annotations

import hashlib
from typing import Literal

from mcp.shared.exceptions import MCPError
from mcp_types import ElicitRequest, ElicitRequestFormParams, ElicitResult, InputRequiredResult
from mcp_types.version import is_version_at_least
from pydantic import ValidationError

from bitrix24_directories.mcp_server.session import Session
from bitrix24_directories.rest import Bitrix24Error, ErrorKind

Answer = Literal["accepted", "declined", "cancelled"]

_ASKS_IN_ANSWERS = "2026-07-28"  # from this protocol version on, a tool's result asks and the next call answers
_CONFIRMATION = "confirmation"
_ANSWERS: dict[str, Answer] = {"accept": "accepted", "decline": "declined", "cancel": "cancelled"}
# Only accept or decline: a box to tick would be a second confirmation.
_FORM = {"type": "object", "properties": {}}
_UNREADABLE = ErrorKind(
    "The client's answer to the question whether to make this change cannot be read; nothing was changed",
    "Ask the user yourself whether to make it, and tell them that their client's answer did not come through.",
    "input",
)


async def confirm(session: Session, *, key: str, text: str) -> Answer | InputRequiredResult:
    """Ask the person of a client that can ask; `key` identifies the change.

    Returns their answer, or the tool's result that makes the client ask and call again. Raises Bitrix24Error
    (CONFIRMATION_UNREADABLE).
    """
    request = session.request
    assert request is not None, "a client that can ask has sent it"
    form = ElicitRequestFormParams(message=f"{text}\nCarry it out?", requested_schema=_FORM)
    if not is_version_at_least(request.protocol_version, _ASKS_IN_ANSWERS):
        # The SDK's own method fails for an accepting answer without content.
        try:
            answer = await request.session.elicit_form(
                form.message, form.requested_schema, related_request_id=request.request_id
            )
        except (ValidationError, MCPError):
            raise Bitrix24Error("CONFIRMATION_UNREADABLE", _UNREADABLE, not_applied=True) from None
        return _ANSWERS[answer.action]
    # An answer counts only for exactly this question: numbers in it may have changed meanwhile.
    question = f"{key} {hashlib.sha256(form.message.encode()).hexdigest()}"
    response = session.responses.get(_CONFIRMATION)
    if session.state != question or not isinstance(response, ElicitResult):
        return InputRequiredResult(input_requests={_CONFIRMATION: ElicitRequest(params=form)}, request_state=question)
    return _ANSWERS[response.action]
