"""The picture of a directory in the chat, for clients with MCP Apps: the page and its data.

The page is the resource PAGE. Its data is in a result's `_meta`, which hosts pass to the page and to no model. Clients
without apps get neither.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mcp.server.apps import APP_MIME_TYPE
from mcp_types import CallToolResult, Resource, TextResourceContents

from bitrix24_directories.changing.planning.sorting import longest_rising
from bitrix24_directories.directories.models import Item, Step
from bitrix24_directories.records.models import DirectoryUsage

from .page import page

PAGE = "ui://bitrix24-directories/picture.html"
PICTURE = "bitrix24-directories/picture"
"""Key of a picture in a result's `_meta`."""

RESOURCE = Resource(uri=PAGE, name="picture", title="Picture of a directory", mime_type=APP_MIME_TYPE)


def page_contents() -> TextResourceContents:
    """Return the page as the contents of a resource."""
    return TextResourceContents(uri=PAGE, text=page(), mime_type=APP_MIME_TYPE, _meta={"ui": {"prefersBorder": True}})


def with_picture(result: CallToolResult, picture: Mapping[str, Any]) -> CallToolResult:
    """Return a copy of a result with a picture in its `_meta`."""
    return result.model_copy(update={"meta": {**(result.meta or {}), PICTURE: picture}})


def of_usage(result: DirectoryUsage, detailed: Sequence[Item], after: str = "") -> dict[str, Any]:
    """Return the items with colours, counts, and the first ids of the records that carry them.
    They are a whole directory in its own order, or the part after the code `after`."""
    looks = {item.status_id: item for item in detailed}
    data = result.structured()
    items = [
        {**row, **_look(looks.get(item.status_id)), **({"ids": item.ids} if item.ids else {})}
        for item, row in zip(result.items, data["items"], strict=True)
    ]
    keys = ("entityId", "fields", "records", "more", "unknown", "unknownCodes", "partial")
    summary: dict[str, Any] = {key: data[key] for key in keys if key in data}
    return {"kind": "usage", "items": items} | summary | ({"after": after} if after else {})


def of_plan(entity_id: str, before: Sequence[Item], after: Sequence[Item], steps: Sequence[Step]) -> dict[str, Any]:
    """Return a directory before and after a plan, with marks on differences, and refused steps."""
    old, new = ({item.status_id: item for item in items} for items in (before, after))
    # Find the fewest codes that have to move to turn one order into the other.
    positions = {code: number for number, code in enumerate((code for code in old if code in new), 1)}
    remaining = [code for code in new if code in old]
    stays = longest_rising([(positions[code], 0) for code in remaining])
    moved = {code for number, code in enumerate(remaining) if number not in stays}

    rows_after = []
    for code, item in new.items():
        old_item, row = old.get(code), _row(item)
        differs = {
            "added": old_item is None,
            "renamed": old_item is not None and old_item.name != item.name,
            "recoloured": old_item is not None and (old_item.color or "").casefold() != (item.color or "").casefold(),
            "moved": code in moved,
        }
        if marks := [mark for mark, is_so in differs.items() if is_so]:
            row["marks"] = marks
        if old_item and old_item.name != item.name:
            row["was"] = old_item.name
        rows_after.append(row)
    removed = {"marks": ["removed"]}
    refused = [{"name": step.name, "why": step.why} for step in steps if step.action == "refused"]
    return {
        "kind": "plan",
        "entityId": entity_id,
        "before": [_row(item) | (removed if code not in new else {}) for code, item in old.items()],
        "after": rows_after,
        **({"refused": refused} if refused else {}),
    }


def _look(item: Item | None) -> dict[str, Any]:
    look = {"color": item.color, "semantics": item.semantics} if item else {}
    return {key: value for key, value in look.items() if value}


def _row(item: Item) -> dict[str, Any]:
    return {"statusId": item.status_id, "name": item.name, **_look(item)}
