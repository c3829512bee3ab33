"""Results: a text and its structured twin; and failures, with what is known of a change."""

from __future__ import annotations

from typing import Any

from mcp_types import CallToolResult, TextContent

from bitrix24_directories.directories.models import Change, Failure, Result
from bitrix24_directories.mcp_server.texts.changes import change_text
from bitrix24_directories.redaction import Redactor
from bitrix24_directories.rest import Bitrix24Error


def both(text: str, result: Result) -> CallToolResult:
    """A result in both channels, and nothing else: older clients lose a whole answer to a kind of block that they do
    not know, and adapters hand models what these cannot take."""
    return CallToolResult(content=[TextContent(type="text", text=text)], structured_content=result.structured())


def failed(error: Bitrix24Error, redact: Redactor) -> CallToolResult:
    """The result of a call that failed, without secrets; with what became of a change that stopped half-way."""
    said = Failure(
        code=error.code,
        http_status=error.http_status,
        category=error.category,
        retryable=error.retryable,
        retry_after_seconds=error.retry_after,
        message=error.message,
        next=error.agent_hint,
    )
    lines = [str(error)]
    match error.partial_result:
        case None:
            pass
        case Change() as change:
            lines.append(change_text(change))
            if len(change.steps) > 1 and error.code != "CHANGE_UNKNOWN":
                lines.append(
                    "To go on, declare the directory again with apply_directory, and show the user the new plan."
                )
        case merge:
            from bitrix24_directories.changing.merging.models import Merge  # what most never need
            from bitrix24_directories.mcp_server.texts.merges import merge_text

            assert isinstance(merge, Merge)
            lines.append(merge_text(merge))
    structured: dict[str, Any] = {"error": said.structured()}
    if isinstance(error.partial_result, Result):
        structured |= error.partial_result.structured()
    return CallToolResult(
        content=[TextContent(type="text", text=redact("\n".join(lines)))],
        structured_content=redact.values(structured),
        is_error=True,
    )
