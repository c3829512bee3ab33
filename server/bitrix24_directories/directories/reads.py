"""The reads of a portal, one call each: REST method, parameters, and rows as models."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from bitrix24_directories.rest import Answer

from .fields.fields import TYPE_NAMES, Field, RecordType
from .fields.rows import (
    CountedRecords,
    read_counted_records,
    read_currencies,
    read_listed_records,
    read_new_fields,
    read_old_fields,
    read_types,
)
from .models import Directory, Item
from .reading.cached_reader import PERSONAL, Read
from .rows import PipelineName, read_directories, read_items, read_pipelines, read_statuses

T = TypeVar("T")

_ORIGINAL = {"useOriginalUfNames": "Y"}
"""Lets custom fields go by their own names: filters take nothing else for some of them."""

COUNTS = PERSONAL
"""Start of the keys of all counts."""


def _of_result(read: Callable[[Any], list[T]]) -> Callable[[Answer], list[T]]:
    return lambda answer: read(answer.result)


TYPES: Read[Directory] = Read(("directories",), "crm.status.entity.types", {}, _of_result(read_directories))
"""All directories, without the fields that take their codes."""

OWNERS: Read[RecordType] = Read(("record types",), "crm.enum.ownertype", {}, _of_result(read_types))
"""All kinds of records."""

CURRENCIES: Read[Item] = Read(("currencies",), "crm.currency.list", {}, _of_result(read_currencies))


def items_of(entity_id: str) -> Read[Item]:
    """The items of a directory; an unknown one has none."""
    return Read(("items", entity_id), "crm.status.entity.items", {"entityId": entity_id}, _of_result(read_items))


def pipelines_of(type_id: int) -> Read[PipelineName]:
    """The names of a type's pipelines, as far as the user may see them."""
    params = {"entityTypeId": type_id}
    return Read(("pipelines", str(type_id)), "crm.category.list", params, _of_result(read_pipelines))


def meanings_of(entity_id: str) -> Read[Item]:
    """The first 50 items of a directory of stages, in order, with their meanings."""
    return Read(
        ("meanings", entity_id),
        "crm.status.list",
        {"filter": {"ENTITY_ID": entity_id}, "order": {"SORT": "ASC", "ID": "ASC"}},
        lambda answer: read_statuses(answer.result, entity_id),
    )


def new_fields_of(type_id: int) -> Read[Field]:
    """Return the read of a type's fields in `crm.item.*`."""
    return Read(("fields", str(type_id)), "crm.item.fields", {"entityTypeId": type_id}, _of_result(read_new_fields))


def old_fields_of(type_id: int) -> Read[Field]:
    """Return the read of the same fields in the type's own methods, for types that have some."""
    return Read(("old fields", str(type_id)), f"crm.{TYPE_NAMES[type_id]}.fields", {}, _of_result(read_old_fields))


def record_of(type_id: int, record_id: int) -> Read[dict[str, Any]]:
    """Return the read of a record's id, pipeline and stage; no row if the caller may not see it."""
    params = _listing_params(type_id, {"=id": record_id}, ["id", "categoryId", "stageId"], start=-1)
    key = ("record", str(type_id), str(record_id))
    return Read(key, "crm.item.list", params, _of_result(read_listed_records), cacheable=False)


def records_after(
    type_id: int, fitting: Mapping[str, Any], select: Sequence[str], after: int = 0
) -> Read[dict[str, Any]]:
    """Return the read of the next 50 records, by id, that fit a filter of `crm.item.list`.
    It does not count them, which is far cheaper. Custom fields have their original names."""
    params = _listing_params(type_id, {**fitting, ">id": after}, select, start=-1) | _ORIGINAL
    return Read((), "crm.item.list", params, _of_result(read_listed_records), cacheable=False)


def records_with(type_id: int, fitting: Mapping[str, Any], select: Sequence[str]) -> Read[CountedRecords]:
    """Return the read of the number of records that fit a filter of `crm.item.list`.
    Its only row also has the first 50 of them, with `select` alone. It counts records that the caller may read. Custom
    fields have their original names."""
    # A start of -1 would be far cheaper, but its total means nothing.
    params = _listing_params(type_id, fitting, select, start=0) | _ORIGINAL
    key = (COUNTS, str(type_id), json.dumps(params, sort_keys=True))
    return Read(key, "crm.item.list", params, read_counted_records)


def _listing_params(type_id: int, fitting: Mapping[str, Any], select: Sequence[str], *, start: int) -> dict[str, Any]:
    """Return the parameters of `crm.item.list`; with a `start` of -1 the portal does not count."""
    order = {"id": "ASC"}
    return {"entityTypeId": type_id, "filter": {**fitting}, "select": [*select], "order": order, "start": start}
