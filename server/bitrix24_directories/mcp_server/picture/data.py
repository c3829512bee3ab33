"""The picture of a directory in the chat, where a client shows MCP Apps: the page, and what it draws.

The page comes as the resource PAGE; what it draws travels in a result's `_meta`, which hosts hand to the page and to no
model. Clients without apps are told of neither.
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
"""What a picture is called in a result's `_meta`."""

RESOURCE = Resource(uri=PAGE, name="picture", title="Picture of a directory", mime_type=APP_MIME_TYPE)


def page_contents() -> TextResourceContents:
    return TextResourceContents(uri=PAGE, text=page(), mime_type=APP_MIME_TYPE, _meta={"ui": {"prefersBorder": True}})


def with_picture(result: CallToolResult, picture: Mapping[str, Any]) -> CallToolResult:
    return result.model_copy(update={"meta": {**(result.meta or {}), PICTURE: picture}})


def of_usage(result: DirectoryUsage, detailed: Sequence[Item], after: str = "") -> dict[str, Any]:
    """The items in their colours, each with its count and the first ids of the records that carry it: a whole directory
    in its own order, or a part that stands behind the code `after`."""
    looks = {item.status_id: item for item in detailed}
    said = result.structured()
    items = [
        {**one, **_look(looks.get(item.status_id)), **({"ids": item.ids} if item.ids else {})}
        for item, one in zip(result.items, said["items"], strict=True)
    ]
    keys = ("entityId", "fields", "records", "more", "unknown", "unknownCodes", "partial")
    kept: dict[str, Any] = {key: said[key] for key in keys if key in said}
    return {"kind": "usage", "items": items} | kept | ({"after": after} if after else {})


def of_plan(entity_id: str, before: Sequence[Item], after: Sequence[Item], steps: Sequence[Step]) -> dict[str, Any]:
    """A directory as it is and as it would be, with marks at what differs; and what was refused."""
    old, new = ({item.status_id: item for item in items} for items in (before, after))
    # The fewest codes that have to move to make one order of the other.
    place = {code: number for number, code in enumerate((code for code in old if code in new), 1)}
    kept = [code for code in new if code in old]
    stays = longest_rising([(place[code], 0) for code in kept])
    moved = {code for number, code in enumerate(kept) if number not in stays}

    shown_after = []
    for code, item in new.items():
        was, shown = old.get(code), _shown(item)
        differs = {
            "added": was is None,
            "renamed": was is not None and was.name != item.name,
            "recoloured": was is not None and (was.color or "").casefold() != (item.color or "").casefold(),
            "moved": code in moved,
        }
        if marks := [mark for mark, is_so in differs.items() if is_so]:
            shown["marks"] = marks
        if was and was.name != item.name:
            shown["was"] = was.name
        shown_after.append(shown)
    removed = {"marks": ["removed"]}
    refused = [{"name": step.name, "why": step.why} for step in steps if step.action == "refused"]
    return {
        "kind": "plan",
        "entityId": entity_id,
        "before": [_shown(item) | (removed if code not in new else {}) for code, item in old.items()],
        "after": shown_after,
        **({"refused": refused} if refused else {}),
    }


def _look(item: Item | None) -> dict[str, Any]:
    look = {"color": item.color, "semantics": item.semantics} if item else {}
    return {key: value for key, value in look.items() if value}


def _shown(item: Item) -> dict[str, Any]:
    return {"statusId": item.status_id, "name": item.name, **_look(item)}
