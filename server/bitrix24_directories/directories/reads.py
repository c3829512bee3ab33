"""What is read of a portal, a call each: REST method, parameters, and how its rows become models."""

from __future__ import annotations

from typing import Any

from .field_rows import read_currencies, read_listed_records, read_new_fields, read_old_fields, read_types
from .fields import TYPE_NAMES, Field, RecordType
from .kept_reads import Read
from .models import Directory, Item
from .rows import read_directories, read_items

TYPES: Read[Directory] = Read(("directories",), "crm.status.entity.types", {}, read_directories)
"""All directories, without the fields that take their codes."""

OWNERS: Read[RecordType] = Read(("record types",), "crm.enum.ownertype", {}, read_types)
"""All kinds of records."""

CURRENCIES: Read[Item] = Read(("currencies",), "crm.currency.list", {}, read_currencies)


def items_of(entity_id: str) -> Read[Item]:
    """The items of a directory; an unknown one has none."""
    return Read(("items", entity_id), "crm.status.entity.items", {"entityId": entity_id}, read_items)


def new_fields_of(type_id: int) -> Read[Field]:
    """A type's fields as `crm.item.*` knows them."""
    return Read(("fields", str(type_id)), "crm.item.fields", {"entityTypeId": type_id}, read_new_fields)


def old_fields_of(type_id: int) -> Read[Field]:
    """The same as the methods of its own know them, for the types that have some."""
    return Read(("old fields", str(type_id)), f"crm.{TYPE_NAMES[type_id]}.fields", {}, read_old_fields)


def record_of(type_id: int, record_id: int) -> Read[dict[str, Any]]:
    """A record's id and pipeline, nothing else of it; no row where there is none that the caller may read."""
    params = {
        "entityTypeId": type_id,
        "filter": {"=id": record_id},
        "select": ["id", "categoryId"],
        "order": {"id": "ASC"},
        "start": -1,
    }
    return Read(("record", str(type_id), str(record_id)), "crm.item.list", params, read_listed_records, keep=False)
