"""Reads the portal's rows of kinds of records and fields into `fields`. Calls nothing.

`crm.item.fields` and the old `crm.deal.fields` describe the same fields in two spellings; each has some that the other
lacks (`fm`, `PHONE`). `statusType` is a text, `{"ID": ...}`, or a list of either.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from bitrix24_directories.directories.models import Item
from bitrix24_directories.directories.rows import NAME_LIMIT, expect_list, expect_object
from bitrix24_directories.rest import Answer, failure
from bitrix24_directories.text import one_line

from .fields import Field, RecordType

_NAME = re.compile(r"\w{1,100}")
_CUSTOM = re.compile(r"ufCrm(\d*)_?(\w*)")

# Field names of old methods that differ from `upperName`.
_OLD_NAMES = {(1, "stageId"): "STATUS_ID", (7, "stageId"): "STATUS_ID", (4, "typeId"): "COMPANY_TYPE"}


class CountedRecords(NamedTuple):
    """The number of records that fit, and the first of them."""

    total: int
    first: list[dict[str, Any]]


def read_types(result: Any) -> list[RecordType]:
    """Kinds of records from `crm.enum.ownertype`. Rows without a number are left out."""
    rows = [row for row in expect_list(result) if isinstance(row, dict) and str(row.get("ID", "")).isdecimal()]
    return [RecordType(int(row["ID"]), _text(row.get("NAME")), _text(row.get("SYMBOL_CODE"))) for row in rows]


def read_currencies(result: Any) -> list[Item]:
    """Currencies as items from `crm.currency.list`."""
    rows = [row for row in expect_list(result) if isinstance(row, dict) and isinstance(row.get("CURRENCY"), str)]
    return [
        Item(status_id=row["CURRENCY"], name=_text(row.get("FULL_NAME")), sort=10 * position)
        for position, row in enumerate(rows, 1)
    ]


def read_listed_records(result: Any) -> list[dict[str, Any]]:
    """Records as `crm.item.list` gives them."""
    rows = result.get("items") if isinstance(result, dict) else None
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise failure("UNEXPECTED_ANSWER", http_status=200, detail="a list of items was expected")
    return rows


def read_counted_records(answer: Answer) -> list[CountedRecords]:
    """Return the number of all records, and those of the first page.

    Raises Bitrix24Error for a count that contradicts itself: less than the page has, or not beyond the next page's
    start.
    """
    records = read_listed_records(answer.result)
    if answer.total is None or answer.total < len(records) or (answer.next is not None and answer.total <= answer.next):
        raise failure("UNEXPECTED_ANSWER", http_status=200, detail="the list of items does not say how many there are")
    return [CountedRecords(answer.total, records)]


def read_new_fields(result: Any) -> list[Field]:
    """Fields from `crm.item.fields`; `old_name` is what `upperName` says."""
    rows = result.get("fields") if isinstance(result, dict) else None
    fields: list[Field] = []
    for name, row, field in _read_fields(rows):
        if custom := _CUSTOM.fullmatch(name):  # `ufCrm44_1724` -> `UF_CRM_44_1724`, as in `upperName`
            upper = "_".join(["UF_CRM", *(part for part in custom.groups() if part)]).upper()
        else:  # `sourceId` -> `SOURCE_ID`
            upper = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).upper()
        upper = _text(row.get("upperName")) or upper
        original, upper_name = (upper, "") if upper.startswith("UF_") else ("", upper)
        fields.append(replace(field, name=name, old_name=upper, original=original, upper_name=upper_name))
    return fields


def read_old_fields(result: Any) -> list[Field]:
    """Fields from `crm.deal.fields` and its like, without new names."""
    return [replace(field, old_name=name) for name, _, field in _read_fields(result)]


def both_spellings(type_id: int, new: Sequence[Field], old: Sequence[Field]) -> list[Field]:
    """Return one list from both methods; if the old one lists no fields, its names are derived."""
    by_old_name = {field.old_name: field for field in old}
    merged: list[Field] = []
    for field in new:
        old_name = _OLD_NAMES.get((type_id, field.name), field.old_name)
        if old and old_name not in by_old_name:
            old_name = field.old_name if field.old_name in by_old_name else ""
        by_old_name.pop(old_name, None)
        merged.append(replace(field, old_name=old_name))
    return merged + list(by_old_name.values())


def _read_fields(rows: Any) -> Iterator[tuple[str, Mapping[str, Any], Field]]:
    for name, row in expect_object(rows).items():
        if not _NAME.fullmatch(name):
            continue
        described: Mapping[str, Any] = row if isinstance(row, dict) else {}
        # A custom field also has its directory in its settings.
        settings = described.get("settings")
        status_type = described.get("statusType") or (
            settings.get("ENTITY_TYPE") if isinstance(settings, dict) else None
        )
        ids = [
            reference.get("ID") if isinstance(reference, dict) else reference
            for reference in (status_type if isinstance(status_type, list) else [status_type])
        ]
        # An enumeration's values: none if one of them cannot be read, or the rest would look like all.
        items = described.get("items")
        values = items if isinstance(items, list) else []
        if not all(isinstance(value, dict) and isinstance(value.get("ID"), str | int) for value in values):
            values = []
        field = Field(
            name="",
            old_name="",
            kind=_text(described.get("type")),
            title=_text(described.get("title")),
            directories=tuple(
                entity_id.upper()
                for entity_id in ids
                if isinstance(entity_id, str) and entity_id and described.get("type") == "crm_status"
            ),
            choices=tuple(
                Item(status_id=str(value["ID"]), name=_text(value.get("VALUE")), sort=10 * position)
                for position, value in enumerate(values, 1)
            ),
            required=described.get("isRequired") is True,
            read_only=described.get("isReadOnly") is True,
            immutable=described.get("isImmutable") is True,
            multiple=described.get("isMultiple") is True,
        )
        yield name, described, field


def _text(value: Any) -> str:
    return one_line(str(value), NAME_LIMIT) if isinstance(value, str | int) else ""
