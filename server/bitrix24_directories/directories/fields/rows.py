"""From what the portal says of kinds of records and their fields to `fields`. Nothing here calls anybody.

`crm.item.fields` and the old `crm.deal.fields` describe the same fields under two spellings; each has some that the
other lacks (`fm`, `PHONE`). `statusType` comes as a text, as `{"ID": ...}` or as a list of either.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from bitrix24_directories.directories.models import Item
from bitrix24_directories.directories.rows import NAME_LIMIT, keyed, listed
from bitrix24_directories.rest import Answer, failure
from bitrix24_directories.text import one_line

from .fields import Field, RecordType

_NAME = re.compile(r"\w{1,100}")
_CUSTOM = re.compile(r"ufCrm(\d*)_?(\w*)")

# What old methods call a field otherwise than `upperName` says.
_OLD_NAMES = {(1, "stageId"): "STATUS_ID", (7, "stageId"): "STATUS_ID", (4, "typeId"): "COMPANY_TYPE"}


class CountedRecords(NamedTuple):
    """How many records fit, and the first of them."""

    total: int
    first: list[dict[str, Any]]


def read_types(result: Any) -> list[RecordType]:
    """Kinds of records from `crm.enum.ownertype`. Rows without a number are left out."""
    rows = [row for row in listed(result) if isinstance(row, dict) and str(row.get("ID", "")).isdecimal()]
    return [RecordType(int(row["ID"]), _text(row.get("NAME")), _text(row.get("SYMBOL_CODE"))) for row in rows]


def read_currencies(result: Any) -> list[Item]:
    """Currencies as items from `crm.currency.list`."""
    rows = [row for row in listed(result) if isinstance(row, dict) and isinstance(row.get("CURRENCY"), str)]
    return [
        Item(status_id=row["CURRENCY"], name=_text(row.get("FULL_NAME")), sort=10 * place)
        for place, row in enumerate(rows, 1)
    ]


def read_listed_records(result: Any) -> list[dict[str, Any]]:
    """Records as `crm.item.list` gives them."""
    rows = result.get("items") if isinstance(result, dict) else None
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise failure("UNEXPECTED_ANSWER", http_status=200, detail="a list of items was expected")
    return rows


def read_counted_records(answer: Answer) -> list[CountedRecords]:
    """How many records there are in all, and those of the first page.

    Raises Bitrix24Error for a count that contradicts itself: fewer than came, or than lie before the next page.
    """
    records = read_listed_records(answer.result)
    if answer.total is None or answer.total < len(records) or (answer.next is not None and answer.total <= answer.next):
        raise failure("UNEXPECTED_ANSWER", http_status=200, detail="the list of items does not say how many there are")
    return [CountedRecords(answer.total, records)]


def read_new_fields(result: Any) -> list[Field]:
    """Fields from `crm.item.fields`; `old_name` is what `upperName` says."""
    rows = result.get("fields") if isinstance(result, dict) else None
    fields: list[Field] = []
    for name, row, field in _described(rows):
        if custom := _CUSTOM.fullmatch(name):  # `ufCrm44_1724` -> `UF_CRM_44_1724`: how `upperName` is made
            upper = "_".join(["UF_CRM", *(part for part in custom.groups() if part)]).upper()
        else:  # `sourceId` -> `SOURCE_ID`
            upper = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).upper()
        upper = _text(row.get("upperName")) or upper
        original, upper_name = (upper, "") if upper.startswith("UF_") else ("", upper)
        fields.append(replace(field, name=name, old_name=upper, original=original, upper_name=upper_name))
    return fields


def read_old_fields(result: Any) -> list[Field]:
    """Fields from `crm.deal.fields` and its like, without new names."""
    return [replace(field, old_name=name) for name, _, field in _described(result)]


def both_spellings(type_id: int, new: Sequence[Field], old: Sequence[Field]) -> list[Field]:
    """One list of what the two methods told; where the old one told nothing, names are taken as they should be."""
    by_old_name = {field.old_name: field for field in old}
    merged: list[Field] = []
    for field in new:
        old_name = _OLD_NAMES.get((type_id, field.name), field.old_name)
        if old and old_name not in by_old_name:
            old_name = field.old_name if field.old_name in by_old_name else ""
        by_old_name.pop(old_name, None)
        merged.append(replace(field, old_name=old_name))
    return merged + list(by_old_name.values())


def _described(rows: Any) -> Iterator[tuple[str, Mapping[str, Any], Field]]:
    for name, row in keyed(rows).items():
        if not _NAME.fullmatch(name):
            continue
        described: Mapping[str, Any] = row if isinstance(row, dict) else {}
        # A custom field tells its directory in its settings as well.
        settings = described.get("settings")
        told = described.get("statusType") or (settings.get("ENTITY_TYPE") if isinstance(settings, dict) else None)
        ids = [one.get("ID") if isinstance(one, dict) else one for one in (told if isinstance(told, list) else [told])]
        # An enumeration's values: none where one of them cannot be read, for the rest would pass for all.
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
                one.upper() for one in ids if isinstance(one, str) and one and described.get("type") == "crm_status"
            ),
            choices=tuple(
                Item(status_id=str(value["ID"]), name=_text(value.get("VALUE")), sort=10 * place)
                for place, value in enumerate(values, 1)
            ),
            required=described.get("isRequired") is True,
            read_only=described.get("isReadOnly") is True,
            immutable=described.get("isImmutable") is True,
            multiple=described.get("isMultiple") is True,
        )
        yield name, described, field


def _text(value: Any) -> str:
    return one_line(str(value), NAME_LIMIT) if isinstance(value, str | int) else ""
