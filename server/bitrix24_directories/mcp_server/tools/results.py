"""Failures as results: what happened and what is known of a change, in both channels."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mcp_types import CallToolResult, TextContent

from bitrix24_directories.directories.models import Change, Failure
from bitrix24_directories.mcp_server.texts.directories import change_text
from bitrix24_directories.redaction import Redactor
from bitrix24_directories.rest import Bitrix24Error

if TYPE_CHECKING:
    from bitrix24_directories.changing.merging.models import Merge


def failed(error: Bitrix24Error, redact: Redactor, change: Change | Merge | None = None) -> CallToolResult:
    """The result of a call that failed, without secrets; with what became of a change that stopped half-way."""
    said = Failure(
        code=error.code,
        http_status=error.http_status,
        category=error.category,
        retryable=error.retryable,
        retry_after_seconds=error.retry_after,
        message=error.message,
        next=error.todo,
    )
    text = "\n".join([str(error), *_what_became_of(change, error)])
    structured: dict[str, Any] = {"error": said.structured()}
    structured |= change.structured() if change is not None else {}
    return CallToolResult(
        content=[TextContent(type="text", text=redact(text))],
        structured_content=redact.values(structured),
        is_error=True,
    )


def _what_became_of(change: Change | Merge | None, error: Bitrix24Error) -> list[str]:
    if change is None:
        return []
    if not isinstance(change, Change):
        from .merges import merge_text  # what most never need

        return [merge_text(change)]
    goes_on = len(change.steps) > 1 and error.code != "CHANGE_UNKNOWN"
    todo = "To go on, declare the directory again with apply_directory, and show the user the new plan."
    return [change_text(change), *([todo] if goes_on else [])]
