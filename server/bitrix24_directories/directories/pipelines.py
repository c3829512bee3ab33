"""Names of pipelines, and start and final stages, where `crm.status.entity.types` leaves them out.

Facts: it names the pipelines of smart processes alone, on older portals none, and tells the final stages of leads,
deals and quotes alone. `crm.category.list` has the names that the user may see; the items' meanings tell the stages.
Pure.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .field_map import Found, rows
from .models import Directory
from .reading.cached_reader import Read
from .reads import meanings_of, pipelines_of

_NEVER_NAMED = (2, 31)

ALONG: tuple[Read[Any], ...] = tuple(map(pipelines_of, _NEVER_NAMED))
"""Reads that complete the directories of every portal."""


def reads_to_complete(directories: Sequence[Directory]) -> list[Read[Any]]:
    """The reads besides ALONG that tell what these directories lack."""
    in_use = [directory for directory in directories if not directory.switched_off]
    unnamed = {
        directory.entity_type_id: None
        for directory in in_use
        if directory.category_id is not None
        and directory.pipeline is None
        and directory.entity_type_id not in (None, *_NEVER_NAMED)
    }
    without_stages = [one.entity_id for one in in_use if one.kind == "stages" and one.start is None]
    return [*(pipelines_of(type_id) for type_id in unnamed if type_id), *map(meanings_of, without_stages)]


def completed(directories: Sequence[Directory], found: Found) -> list[Directory]:
    """The directories with what was found of their pipelines and stages."""
    complete: list[Directory] = []
    for one in directories:
        parts: dict[str, str | None] = {}
        if one.pipeline is None and one.category_id is not None and one.entity_type_id is not None:
            names = rows(found, pipelines_of(one.entity_type_id))
            parts["pipeline"] = next((row.name for row in names if row.number == one.category_id), None)
        if one.start is None and (items := rows(found, meanings_of(one.entity_id))):
            first = {item.semantics: item.status_id for item in reversed(items)}
            stages = {"start": "process", "success": "success", "failure": "failure"}
            parts |= {part: first.get(meaning) for part, meaning in stages.items()}
        complete.append(one.model_copy(update=parts))
    return complete
