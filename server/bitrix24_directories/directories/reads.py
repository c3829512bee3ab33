"""What is read of a portal, a call each: REST method, parameters, and how its rows become models."""

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
"""Lets custom fields go by their own names, which is all that filters take for some of them."""

COUNTS = PERSONAL
"""What the keys of all counts begin with."""


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
    """A type's fields as `crm.item.*` knows them."""
    return Read(("fields", str(type_id)), "crm.item.fields", {"entityTypeId": type_id}, _of_result(read_new_fields))


def old_fields_of(type_id: int) -> Read[Field]:
    """The same as the methods of its own know them, for the types that have some."""
    return Read(("old fields", str(type_id)), f"crm.{TYPE_NAMES[type_id]}.fields", {}, _of_result(read_old_fields))


def record_of(type_id: int, record_id: int) -> Read[dict[str, Any]]:
    """A record's id and pipeline, nothing else of it; no row where there is none that the caller may read."""
    params = _listing(type_id, {"=id": record_id}, ["id", "categoryId", "stageId"], start=-1)
    key = ("record", str(type_id), str(record_id))
    return Read(key, "crm.item.list", params, _of_result(read_listed_records), keep=False)


def records_after(
    type_id: int, fitting: Mapping[str, Any], select: Sequence[str], after: int = 0
) -> Read[dict[str, Any]]:
    """The next 50 records, by id, that fit a filter of `crm.item.list`; not counted, which is far cheaper. Custom
    fields go by their original names."""
    params = _listing(type_id, {**fitting, ">id": after}, select, start=-1) | _ORIGINAL
    return Read((), "crm.item.list", params, _of_result(read_listed_records), keep=False)


def records_with(type_id: int, fitting: Mapping[str, Any], select: Sequence[str]) -> Read[CountedRecords]:
    """How many records fit a filter of `crm.item.list`, as far as the caller may read them, and the first 50 of them
    with `select` alone. Custom fields go by their original names. The only row."""
    # -1 would be far cheaper, and its total means nothing
    params = _listing(type_id, fitting, select, start=0) | _ORIGINAL
    key = (COUNTS, str(type_id), json.dumps(params, sort_keys=True))
    return Read(key, "crm.item.list", params, read_counted_records)


def _listing(type_id: int, fitting: Mapping[str, Any], select: Sequence[str], *, start: int) -> dict[str, Any]:
    """The parameters of `crm.item.list`; a `start` of -1 lets the portal count nothing."""
    order = {"id": "ASC"}
    return {"entityTypeId": type_id, "filter": {**fitting}, "select": [*select], "order": order, "start": start}
