"""Checks a record before it is written, and proposes the fields to write instead.

`context` reads, `judging` decides. A value is reported as wrong only after its list was read past the cache.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import anyio

from bitrix24_directories.directories.directories import Directories
from bitrix24_directories.rest import Bitrix24Error, ErrorKind
from bitrix24_directories.text import shown_id
from bitrix24_directories.words import name_key

from .context import RecordContextLoader
from .judging import judge_record
from .models import ACCEPTED, CheckedRecord, RecordVerdict

_CERTAIN = (*ACCEPTED, "changed", "clears")


async def check_record(
    directories: Directories,
    entity: str,
    records: Sequence[Sequence[tuple[str, Any]]],
    record_id: int | None = None,
    *,
    entity_type_id: int | None = None,
) -> CheckedRecord:
    """Check the fields (key, value) of one or several records of the kind `entity`.

    The records are new unless `record_id` is the id of an existing one. `entity_type_id` is the kind passed beside the
    fields. Raises Bitrix24Error: UNKNOWN_RECORD_TYPE, RECORD_NOT_FOUND, INVALID_ARGUMENTS if `entity_type_id` and
    `entity` are different kinds, and all errors of reading fields and lists.
    """
    asked_at = anyio.current_time()
    raw_records: list[dict[str, list[Any]]] = [{} for _ in records]
    for fields, record in zip(raw_records, records, strict=True):
        for key, value in record:
            fields.setdefault(key, []).append(value)
    keys = list(dict.fromkeys(key for fields in raw_records for key in fields))
    loader = RecordContextLoader(directories, entity, keys, record_id, as_items=entity_type_id is not None)
    context = await loader.load()
    if entity_type_id not in (None, context.type.id):
        why = (
            f"is {context.type.shown} ({context.type.id}), and the entityTypeId beside fields is {entity_type_id}: "
            "call again with one of them"
        )
        todo = f'Correct them and call again:\n- entity: "{shown_id(entity, 100)}" {why}'
        raise Bitrix24Error(
            "INVALID_ARGUMENTS", ErrorKind("check_record was called with wrong arguments", todo, "input")
        )
    verdicts = [judge_record(context, fields) for fields in raw_records]
    checked = [field for verdict in verdicts for field in verdict.fields or ()]
    resolved = [field for field in checked if field.outcome == "changed" and field.name is not None]
    # An item's own name is as certain as its code: newer items cannot change the verdict.
    is_certain = all(name_key(field.given or "") == name_key(field.name or "") for field in resolved)
    if not is_certain or any(field.outcome not in _CERTAIN for field in checked):
        again = await loader.refresh(asked_at)
        if again is not None:
            context, verdicts = again, [judge_record(again, fields) for fields in raw_records]
    kind = context.type
    if len(verdicts) == 1:
        return CheckedRecord(entity_type_id=kind.id, entity=kind.shown, **dict(verdicts[0]))
    shortened: list[RecordVerdict] = []
    for verdict in verdicts:
        reported = [field for field in verdict.fields or () if field.outcome not in ACCEPTED]
        shortened.append(verdict.model_copy(update={"fields": reported or None}))
    return CheckedRecord(
        entity_type_id=kind.id,
        entity=kind.shown,
        ok=all(verdict.ok for verdict in verdicts),
        records=shortened,
    )
