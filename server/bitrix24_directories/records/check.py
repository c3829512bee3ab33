"""Checks a record before it is written: what is right, what is to be written instead, what Bitrix24 would have done.

`knowledge` reads, `judging` decides. A value is called wrong only after its list was read past the cache.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import anyio

from bitrix24_directories.directories.directories import Directories
from bitrix24_directories.rest import Bitrix24Error, ErrorKind
from bitrix24_directories.text import shown_id
from bitrix24_directories.words import name_key

from .judging import judge_record
from .knowledge import Gathering
from .models import AS_IT_STANDS, CheckedRecord, RecordVerdict

_CERTAIN = (*AS_IT_STANDS, "changed", "clears")


async def check_record(
    directories: Directories,
    entity: str,
    records: Sequence[Sequence[tuple[str, Any]]],
    record_id: int | None = None,
    *,
    entity_type_id: int | None = None,
) -> CheckedRecord:
    """Check the fields (key, value) of a record of the kind `entity`, or of several; new ones unless `record_id` names
    one that there is. `entity_type_id` is what was said of the kind beside the fields.

    Raises Bitrix24Error: UNKNOWN_RECORD_TYPE, RECORD_NOT_FOUND, INVALID_ARGUMENTS where `entity_type_id` is another
    kind than `entity`, and whatever keeps fields or lists from being read.
    """
    asked_at = anyio.current_time()
    given: list[dict[str, list[Any]]] = [{} for _ in records]
    for fields, record in zip(given, records, strict=True):
        for key, value in record:
            fields.setdefault(key, []).append(value)
    keys = list(dict.fromkeys(key for fields in given for key in fields))
    gathering = Gathering(directories, entity, keys, record_id, as_items=entity_type_id is not None)
    known = await gathering.gather()
    if entity_type_id not in (None, known.type.id):
        why = (
            f"is {known.type.shown} ({known.type.id}), and the entityTypeId beside fields is {entity_type_id}: call "
            "again with one of them"
        )
        todo = f'Correct them and call again:\n- entity: "{shown_id(entity, 100)}" {why}'
        raise Bitrix24Error(
            "INVALID_ARGUMENTS", ErrorKind("check_record was called with wrong arguments", todo, "input")
        )
    verdicts = [judge_record(known, fields) for fields in given]
    checked = [field for verdict in verdicts for field in verdict.fields or ()]
    named = [one for one in checked if one.outcome == "changed" and one.name is not None]
    # An item's own name is as good as its code: nothing that may have come since makes it another verdict.
    is_certain = all(name_key(one.given or "") == name_key(one.name or "") for one in named)
    if not is_certain or any(one.outcome not in _CERTAIN for one in checked):
        again = await gathering.gather_again(asked_at)
        if again is not None:
            known, verdicts = again, [judge_record(again, fields) for fields in given]
    kind = known.type
    if len(verdicts) == 1:
        return CheckedRecord(entity_type_id=kind.id, entity=kind.shown, **dict(verdicts[0]))
    without_what_is_right: list[RecordVerdict] = []
    for verdict in verdicts:
        told = [field for field in verdict.fields or () if field.outcome not in AS_IT_STANDS]
        without_what_is_right.append(verdict.model_copy(update={"fields": told or None}))
    return CheckedRecord(
        entity_type_id=kind.id,
        entity=kind.shown,
        ok=all(verdict.ok for verdict in verdicts),
        records=without_what_is_right,
    )
