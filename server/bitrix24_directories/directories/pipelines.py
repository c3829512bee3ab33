"""Names of pipelines, and start and final stages, that `crm.status.entity.types` leaves out.

Facts: it names the pipelines of smart processes only, on older portals none, and has the final stages of leads, deals
and quotes only. `crm.category.list` has the names that the user may see; the items' meanings identify the stages. Pure.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .field_map import Results, rows
from .models import Directory
from .reading.cached_reader import Read
from .reads import meanings_of, pipelines_of

_NEVER_NAMED = (2, 31)

ALONG: tuple[Read[Any], ...] = tuple(map(pipelines_of, _NEVER_NAMED))
"""Reads that complete the directories of every portal."""


def reads_to_complete(directories: Sequence[Directory]) -> list[Read[Any]]:
    """Return the reads besides ALONG that give the missing parts of these directories."""
    in_use = [directory for directory in directories if not directory.switched_off]
    unnamed = {
        directory.entity_type_id: None
        for directory in in_use
        if directory.category_id is not None
        and directory.pipeline is None
        and directory.entity_type_id not in (None, *_NEVER_NAMED)
    }
    without_stages = [
        directory.entity_id for directory in in_use if directory.kind == "stages" and directory.start is None
    ]
    return [*(pipelines_of(type_id) for type_id in unnamed if type_id), *map(meanings_of, without_stages)]


def completed(directories: Sequence[Directory], results: Results) -> list[Directory]:
    """Return the directories with their pipelines and stages from the results."""
    complete: list[Directory] = []
    for directory in directories:
        parts: dict[str, str | None] = {}
        if directory.pipeline is None and directory.category_id is not None and directory.entity_type_id is not None:
            names = rows(results, pipelines_of(directory.entity_type_id))
            parts["pipeline"] = next((row.name for row in names if row.number == directory.category_id), None)
        if directory.start is None and (items := rows(results, meanings_of(directory.entity_id))):
            first = {item.semantics: item.status_id for item in reversed(items)}
            stages = {"start": "process", "success": "success", "failure": "failure"}
            parts |= {part: first.get(meaning) for part, meaning in stages.items()}
        complete.append(directory.model_copy(update=parts))
    return complete
