"""Checks a record before it is written: what is right, what is to be written instead, what Bitrix24 would have done.

`Gathering` reads, `Judge` decides. A value is called wrong only after its list was read past the cache.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import anyio

from bitrix24_directories.directories.directories import Directories

from .judging import Judge
from .knowledge import Gathering
from .models import CheckedRecord

_CERTAIN = ("right", "unchecked", "changed", "clears")


async def check_record(
    directories: Directories, entity: str, given: Sequence[tuple[str, Any]], record_id: int | None = None
) -> CheckedRecord:
    """Check the fields `given` (key, value) of a record of the kind `entity`; a new one unless `record_id` names it.

    Raises Bitrix24Error: UNKNOWN_RECORD_TYPE, RECORD_NOT_FOUND, and whatever keeps fields or lists from being read.
    """
    asked_at = anyio.current_time()
    fields: dict[str, list[Any]] = {}
    for key, value in given:
        fields.setdefault(key, []).append(value)
    gathering = Gathering(directories, entity, list(fields), record_id)
    checked = Judge(await gathering.gather(), fields).record()
    if any(field.outcome not in _CERTAIN for field in checked.fields):
        known = await gathering.gather_again(asked_at)
        if known is not None:
            checked = Judge(known, fields).record()
    return checked
