"""Results as text and structured content; and failures, with the known state of a change."""

from __future__ import annotations

from typing import Any

from mcp_types import CallToolResult, TextContent

from bitrix24_directories.directories.models import Change, Failure, Result
from bitrix24_directories.mcp_server.texts.changes import change_text
from bitrix24_directories.redaction import Redactor
from bitrix24_directories.rest import Bitrix24Error


def both(text: str, result: Result) -> CallToolResult:
    """Return a result in both channels, and nothing else.
    Older clients lose a whole answer if it has a kind of block that they do not know, and adapters pass models blocks
    that these cannot take."""
    return CallToolResult(content=[TextContent(type="text", text=text)], structured_content=result.structured())


def failed(error: Bitrix24Error, redact: Redactor) -> CallToolResult:
    """Return a failed call's result, without secrets, with the state of a half-made change."""
    failure = Failure(
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
            from bitrix24_directories.changing.merging.models import Merge  # few calls need it
            from bitrix24_directories.mcp_server.texts.merges import merge_text

            assert isinstance(merge, Merge)
            lines.append(merge_text(merge))
    structured: dict[str, Any] = {"error": failure.structured()}
    if isinstance(error.partial_result, Result):
        structured |= error.partial_result.structured()
    return CallToolResult(
        content=[TextContent(type="text", text=redact("\n".join(lines)))],
        structured_content=redact.values(structured),
        is_error=True,
    )
