"""The demo portal's CRM records: what becomes of a value that is written, in each generation of stage handling.

Facts: unknown and read-only fields are dropped in silence; a boolean is Y only for true, "true", "y" and "Y"; an empty
text, 0, "0" and [] clear; a code of a directory is stored as it is sent, except stages in new methods, which are
refused, swapped or left, as the portal's age would have it. Imports `record_types` and `store`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any, Literal

from .record_types import Field, RecordType
from .store import Item, PortalError, Store

Stages = Literal["refuse", "first", "keep"]
"""How the portal treats a stage that the pipeline does not have: refused; refused only where the pipeline stays, else
the first stage of the same meaning; never refused: the old stage stays, or that first stage is taken."""

_CLEARING: tuple[Any, ...] = ("", 0, "0", [])
_NUMBER = re.compile(r"-?\d+(?:\.\d+)?")

Values = dict[str, Any]


@dataclass
class Records:
    """All records, by type and id; `currencies` are (code, name), the portal's own first."""

    currencies: tuple[tuple[str, str], ...] = ()
    types: dict[int, RecordType] = field(default_factory=dict)
    stages: Stages = "keep"
    all: dict[tuple[int, int], Values] = field(default_factory=dict)
    last_id: int = 0

    def type(self, number: int) -> RecordType:
        if number not in self.types:
            raise PortalError("Entity type is not found", code="NOT_FOUND")
        return self.types[number]

    def of(self, number: int) -> list[Values]:
        return [values for (kind, _), values in self.all.items() if kind == number]

    def get(self, number: int, record_id: int) -> Values:
        self.type(number)
        if (number, record_id) not in self.all:
            raise PortalError("Item is not found", code="NOT_FOUND")
        return self.all[number, record_id]

    def add(self, store: Store, number: int, given: Mapping[str, Any]) -> Values:
        """`crm.item.add`: the record as it is stored."""
        kind = self.type(number)
        values = _empty(kind)
        self._write(store, kind, values, given, adding=True)
        _refuse_missing(kind, values)
        return self._keep(kind, values)

    def update(self, store: Store, number: int, record_id: int, given: Mapping[str, Any]) -> Values:
        """`crm.item.update`: the record as it is stored then."""
        values = dict(self.get(number, record_id))
        self._write(store, self.type(number), values, given, adding=False)
        _refuse_missing(self.type(number), values)
        self.all[number, record_id] = values
        return values

    def add_as_before(self, store: Store, number: int, given: Mapping[str, Any]) -> int:
        """`crm.deal.add` and its like: stages are stored as they are sent, in the main pipeline unless one is given."""
        kind = self.type(number)
        values = _empty(kind)
        if kind.has_pipelines:
            values["categoryId"] = 0
        self._write_as_before(kind, values, given, adding=True)
        if values.get("stageId") is None and (stages := kind.stages_of(store, values.get("categoryId"))):
            values["stageId"] = store.of(stages.id)[0].status_id
        record_id: int = self._keep(kind, values)["id"]
        return record_id

    def update_as_before(self, number: int, record_id: int, given: Mapping[str, Any]) -> None:
        """`crm.deal.update` and its like, which never change the pipeline."""
        values = dict(self.get(number, record_id))
        self._write_as_before(self.type(number), values, given, adding=False)
        self.all[number, record_id] = values

    def _keep(self, kind: RecordType, values: Values) -> Values:
        self.last_id += 1
        values |= {"id": self.last_id, "createdTime": "2026-01-15T09:00:00+03:00"}
        self.all[kind.id, self.last_id] = values
        return values

    def _write(self, store: Store, kind: RecordType, values: Values, given: Mapping[str, Any], *, adding: bool) -> None:
        before = dict(values)
        for name, value in given.items():
            one = kind.field(name)
            if one is not None and one.name not in ("stageId", "categoryId") and _may_be_written(one, adding=adding):
                values[one.name] = _stored(one, value, values[one.name])
        if kind.has_pipelines:
            values["categoryId"] = self._pipeline(store, kind, given.get("categoryId"), before)
        moved = adding or values.get("categoryId") != before.get("categoryId")
        stages = kind.stages_of(store, values.get("categoryId")) if kind.field("stageId") else None
        if stages is None:
            return
        items = store.of(stages.id)
        wanted = given.get("stageId", None if adding else before["stageId"])
        if any(item.status_id == wanted for item in items):
            values["stageId"] = wanted
        elif "stageId" in given and (self.stages == "refuse" or (self.stages == "first" and (adding or not moved))):
            title = next(one.title for one in kind.fields if one.is_stage)
            raise PortalError(f'Invalid value for field "{title}"', code="CRM_FIELD_ERROR_VALUE_NOT_VALID")
        elif moved:
            values["stageId"] = _first_of_same_meaning(store, kind, items, wanted)

    @staticmethod
    def _pipeline(store: Store, kind: RecordType, given: Any, before: Values) -> Any:
        known = [
            int(directory.category_id)
            for directory in store.directories.values()
            if directory.entity_type_id == kind.id and directory.category_id is not None
        ]
        if given is None or given == "":
            return min(known) if before["categoryId"] is None else before["categoryId"]
        if not str(given).isdecimal() or int(given) not in known:
            raise PortalError("Category is not available", code="CRM_FIELD_ERROR_CATEGORY_NOT_AVAILABLE")
        return int(given)

    @staticmethod
    def _write_as_before(kind: RecordType, values: Values, given: Mapping[str, Any], *, adding: bool) -> None:
        for name, value in given.items():
            one = next((found for found in kind.fields if found.old_name == name and found.only != "new"), None)
            if one is not None and (adding or one.name != "categoryId") and _may_be_written(one, adding=adding):
                values[one.name] = _stored(one, value, values[one.name])


@dataclass
class CrmStore(Store):
    """All that one portal holds: directories and records."""

    records: Records = field(default_factory=Records)

    def stands_in_the_way(self, item: Item) -> bool:
        """Records do so in stages alone: of sources, types and the rest the portal keeps no account."""
        directory = self.directories[item.entity_id]
        return directory.is_stages and any(
            number == directory.entity_type_id and values.get("stageId") == item.status_id
            for (number, _), values in self.records.all.items()
        )


def _refuse_missing(kind: RecordType, values: Values) -> None:
    missing = [one.title for one in kind.fields if one.required and values[one.name] in (None, [])]
    if missing:
        raise PortalError(f'Required field "{missing[0]}" is not filled', code="CRM_FIELD_ERROR_REQUIRED")


def _empty(kind: RecordType) -> Values:
    return {one.name: [] if one.multiple else None for one in kind.fields}


def _first_of_same_meaning(store: Store, kind: RecordType, items: list[Item], wanted: Any) -> str | None:
    known = (
        item
        for directory in store.directories.values()
        if directory.entity_type_id == kind.id
        for item in store.of(directory.id)
    )
    meaning = next((item.semantics for item in known if item.status_id == wanted), "")
    return next((item.status_id for item in items if item.semantics == meaning), None)


def _may_be_written(one: Field, *, adding: bool) -> bool:
    return not one.read_only and (adding or not one.immutable)


def _stored(one: Field, value: Any, before: Any) -> Any:
    """What stands in the field after `value` was written; `before` where it is dropped."""
    if one.multiple:
        if not isinstance(value, list):
            raise PortalError(f'Value of field "{one.title}" must be an array', code="100")
        return [kept for part in value if (kept := _single(one, part, None)) is not None] if value else before
    if isinstance(value, list | dict) and value:
        return before
    return _single(one, value, before)


def _single(one: Field, value: Any, before: Any) -> Any:
    if one.kind == "crm_multifield":
        return value
    if one.kind == "boolean":
        return "Y" if value is True or (isinstance(value, str) and value in ("true", "y", "Y")) else "N"
    text = str(value)
    if one.kind == "crm_category":  # 0 is a pipeline
        return int(text) if text.isdecimal() else before
    if value is None or value is False or value in _CLEARING:
        return None
    match one.kind:
        case "integer" | "user" | "crm_company":
            return int(text) if text.lstrip("-").isdecimal() else before
        case "double":
            return float(text) if _NUMBER.fullmatch(text) else before
        case "date" | "datetime":
            return text if _is_date(one.kind, text) else before
        case "enumeration":
            return int(text) if text.isdecimal() else None
    return text


def _is_date(kind: str, text: str) -> bool:
    try:
        (date if kind == "date" else datetime).fromisoformat(text)
    except ValueError:
        return False
    return True
