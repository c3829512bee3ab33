"""Schema of the tool that counts a directory's codes in records; `records` does the work."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import Annotated

import anyio
from mcp_types import CallToolResult
from pydantic import Field

from bitrix24_directories.directories.models import Item
from bitrix24_directories.mcp_server.picture.data import of_usage, with_picture
from bitrix24_directories.mcp_server.scopes import READING
from bitrix24_directories.mcp_server.session import Session
from bitrix24_directories.mcp_server.texts.usage import usage_text
from bitrix24_directories.records.models import DirectoryUsage
from bitrix24_directories.rest import Bitrix24Error

from .results import both
from .spec import EntityId, ToolSpec

_LOOKS_SECONDS = 3.0
_CODE_LIMIT = 500  # as a text prints it


async def get_directory_usage(
    session: Session,
    entityId: EntityId,
    fresh: Annotated[bool, Field(description="Count now, not from the cache")] = False,
    after: Annotated[str, Field(description="Continue after this code", max_length=_CODE_LIMIT)] = "",
) -> Annotated[CallToolResult, DirectoryUsage]:
    """Count the CRM records that carry each code of a directory, and find codes that it lacks. Use it before
    deleting an item.
    """
    from bitrix24_directories.records.usage import part_of_usage, usage  # few calls need its matcher

    directories = session.directories
    whole = await usage(directories, entityId, fresh=fresh)
    result = part_of_usage(whole, after)
    answer = both(usage_text(result), result)
    if not session.shows_pictures:
        return answer
    detailed: Sequence[Item] = ()
    with anyio.move_on_after(_LOOKS_SECONDS), contextlib.suppress(Bitrix24Error):  # colours are optional
        detailed = (await directories.items(result.entity_id, details=True, fresh=fresh)).items
    pictured = whole if len(result.items) == len(whole.items) else result
    return with_picture(answer, of_usage(pictured, detailed, after.strip()))


SPEC = ToolSpec(
    get_directory_usage, "Count the records that carry a directory's codes", scopes=READING, has_picture=True
)
