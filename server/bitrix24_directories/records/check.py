"""Checks a record before it is written: what is right, what is to be written instead, what Bitrix24 would have done.

`Gathering` reads, `Judge` decides. A value is called wrong only after its list was read past the cache.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import anyio

from bitrix24_directories.directories.directories import Directories
from bitrix24_directories.directories.fields.fields import RecordType
from bitrix24_directories.rest import Bitrix24Error, Entry
from bitrix24_directories.text import shown_id
from bitrix24_directories.words import name_key

from .judging import Judge
from .knowledge import Gathering
from .models import AS_IT_STANDS, CheckedField, CheckedRecord, RecordVerdict

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
    given = [_by_key(record) for record in records]
    keys = list(dict.fromkeys(key for fields in given for key in fields))
    gathering = Gathering(directories, entity, keys, record_id, as_items=entity_type_id is not None)
    known = await gathering.gather()
    if entity_type_id not in (None, known.type.id):
        raise _another_kind(entity, known.type, entity_type_id)
    verdicts = [Judge(known, fields).record() for fields in given]
    if not all(_is_certain(field) for verdict in verdicts for field in verdict.fields or ()):
        again = await gathering.gather_again(asked_at)
        if again is not None:
            known, verdicts = again, [Judge(again, fields).record() for fields in given]
    kind = known.type
    if len(verdicts) == 1:
        return CheckedRecord(entity_type_id=kind.id, entity=kind.shown, **dict(verdicts[0]))
    return CheckedRecord(
        entity_type_id=kind.id,
        entity=kind.shown,
        ok=all(verdict.ok for verdict in verdicts),
        records=[_without_what_is_right(verdict) for verdict in verdicts],
    )


def _another_kind(entity: str, kind: RecordType, said: int | None) -> Bitrix24Error:
    why = f"is {kind.shown} ({kind.id}), and the entityTypeId beside fields is {said}: call again with one of them"
    todo = f'Correct them and call again:\n- entity: "{shown_id(entity, 100)}" {why}'
    return Bitrix24Error("INVALID_ARGUMENTS", Entry("check_record was called with wrong arguments", todo, "input"))


def _is_certain(field: CheckedField) -> bool:
    """Whether nothing that may have come since makes it another verdict: an item's own name is as good as its code."""
    if field.outcome != "changed" or field.name is None:  # it is what was given, or of no list
        return field.outcome in _CERTAIN
    return name_key(field.given or "") == name_key(field.name)


def _by_key(record: Sequence[tuple[str, Any]]) -> dict[str, list[Any]]:
    fields: dict[str, list[Any]] = {}
    for key, value in record:
        fields.setdefault(key, []).append(value)
    return fields


def _without_what_is_right(verdict: RecordVerdict) -> RecordVerdict:
    told = [field for field in verdict.fields or () if field.outcome not in AS_IT_STANDS]
    return verdict.model_copy(update={"fields": told or None})
