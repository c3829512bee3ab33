"""CRM records of the demo portal, and the effect of writes in each age of the server code.

Facts: unknown, read-only and computed fields are dropped silently; a code of a directory is stored as sent, except
stages and currencies; the old methods run the same code as the new ones, except on older portals. Imports
`record_types`, `record_values` and `store`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from .record_types import RecordType
from .record_values import Stored, stored_value
from .store import Item, PortalError, Store

Values = dict[str, Any]

_NEVER_EMPTIED = {"title", "currencyId", "assignedById", "opened", "begindate", "closedate"}


@dataclass
class Records:
    """All records, by type and id; `currencies` are (code, name), the portal's own first."""

    currencies: tuple[tuple[str, str], ...] = ()
    types: dict[int, RecordType] = field(default_factory=dict)
    all: dict[tuple[int, int], Values] = field(default_factory=dict)
    last_id: int = 0

    def type(self, number: int) -> RecordType:
        """Return a type of records. Raises PortalError if there is none."""
        if number not in self.types:
            raise PortalError("Entity type is not found", code="NOT_FOUND")
        return self.types[number]

    def of(self, number: int) -> list[Values]:
        """Return all records of a type."""
        return [values for (kind, _), values in self.all.items() if kind == number]

    def get(self, number: int, record_id: int) -> Values:
        """Return a record. Raises PortalError if there is none."""
        self.type(number)
        if (number, record_id) not in self.all:
            raise PortalError("Item is not found", code="NOT_FOUND")
        return self.all[number, record_id]

    def add(self, store: Store, number: int, sent: Mapping[str, Any], *, original: bool = False) -> Values:
        """Store a record as `crm.item.add` does, and return it. `original` is useOriginalUfNames."""
        kind = self.type(number)
        values = _empty(kind)
        self._write(store, kind, values, dict(_by_new_names(kind, sent, original=original)), adding=True)
        _refuse_missing(kind, values)
        return self._keep(kind, values)

    def update(
        self, store: Store, number: int, record_id: int, sent: Mapping[str, Any], *, original: bool = False
    ) -> Values:
        """Change a record as `crm.item.update` does, and return it."""
        kind, values = self.type(number), dict(self.get(number, record_id))
        self._write(store, kind, values, dict(_by_new_names(kind, sent, original=original)), adding=False)
        _refuse_missing(kind, values)
        self.all[number, record_id] = values
        return values

    def add_by_old_method(self, store: Store, number: int, sent: Mapping[str, Any]) -> int:
        """Add a record as `crm.deal.add` and its like do, by default in the main pipeline."""
        kind = self.type(number)
        values = _empty(kind)
        if kind.has_pipelines:
            values["categoryId"] = 0
        self._write(store, kind, values, dict(_by_old_names(kind, sent)), adding=True, old_method=True)
        if values.get("stageId") is None and (stages := kind.stages_of(store, values.get("categoryId"))):
            values["stageId"] = store.of(stages.id)[0].status_id
        _refuse_missing(kind, values)
        record_id: int = self._keep(kind, values)["id"]
        return record_id

    def update_by_old_method(self, store: Store, number: int, record_id: int, sent: Mapping[str, Any]) -> None:
        """Update as `crm.deal.update` and its like do; they never change the pipeline."""
        kind, values = self.type(number), dict(self.get(number, record_id))
        by_name = {name: value for name, value in _by_old_names(kind, sent) if name != "categoryId"}
        self._write(store, kind, values, by_name, adding=False, old_method=True)
        _refuse_missing(kind, values)
        self.all[number, record_id] = values

    def _keep(self, kind: RecordType, values: Values) -> Values:
        self.last_id += 1
        values |= {"id": self.last_id, "createdTime": "2026-01-15T09:00:00+03:00"}
        self.all[kind.id, self.last_id] = values
        return values

    def _write(
        self,
        store: Store,
        kind: RecordType,
        values: Values,
        sent: Mapping[str, Any],
        *,
        adding: bool,
        old_method: bool = False,
    ) -> None:
        before = dict(values)
        stored = Stored(zero_is_value=store.age == "today", old_method=old_method)
        for described in kind.fields:
            name = described.name
            if name not in sent or name in ("stageId", "categoryId") or described.read_only or described.computed:
                continue
            if described.immutable and not adding:
                continue
            value = stored_value(described, sent[name], before[name], stored)
            if value is None and name in _NEVER_EMPTIED:
                value = before[name]
            if described.kind == "crm_currency" and store.age == "today":
                self._refuse_unknown_currency(value, described.title)
            values[name] = value
        if kind.has_pipelines:
            values["categoryId"] = _pipeline(store, kind, sent.get("categoryId"), before)
        if not old_method or store.age == "today":
            _write_stage(store, kind, values, sent, before, adding=adding)
        elif "stageId" in sent:
            values["stageId"] = sent["stageId"]
        if kind.field("closed"):
            values["closed"] = "Y" if _meaning(store, kind, values["stageId"]) else "N"

    def _refuse_unknown_currency(self, value: Any, title: str) -> None:
        if value is not None and value not in [code for code, _ in self.currencies]:
            raise _invalid_value(title)


@dataclass
class CrmStore(Store):
    """All data of one portal: directories and records."""

    records: Records = field(default_factory=Records)

    def stands_in_the_way(self, item: Item) -> bool:
        """Records protect only stages: the portal does not check other directories."""
        directory = self.directories[item.entity_id]
        return directory.is_stages and any(
            number == directory.entity_type_id and values.get("stageId") == item.status_id
            for (number, _), values in self.records.all.items()
        )


def _by_new_names(kind: RecordType, sent: Mapping[str, Any], *, original: bool) -> Iterator[tuple[str, Any]]:
    """Yield the sent fields that `crm.item.*` accepts, under their new names."""
    for name, value in sent.items():
        if (described := kind.field(name, original=original)) is not None:
            yield described.name, value


def _by_old_names(kind: RecordType, sent: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Return the sent fields that the type's own methods accept, under their new names."""
    names = {described.old_name: described.name for described in kind.fields if described.only != "new"}
    return ((names[name], value) for name, value in sent.items() if name in names)


def _write_stage(
    store: Store, kind: RecordType, values: Values, sent: Mapping[str, Any], before: Values, *, adding: bool
) -> None:
    """Take the stage that was sent, refuse it, or use another one, as the portal's age does."""
    moved = adding or values.get("categoryId") != before.get("categoryId")
    stages = kind.stages_of(store, values.get("categoryId")) if kind.field("stageId") else None
    if stages is None:
        return
    items = store.of(stages.id)
    stage = sent.get("stageId", None if adding else before["stageId"])
    if any(item.status_id == stage for item in items):
        values["stageId"] = stage
    elif "stageId" in sent and (store.age == "oldest" or (store.age == "older" and (adding or not moved))):
        raise _invalid_value(next(described.title for described in kind.fields if described.is_stage))
    elif moved:
        meaning = _meaning(store, kind, stage)
        values["stageId"] = next((item.status_id for item in items if item.semantics == meaning), None)


def _meaning(store: Store, kind: RecordType, stage: Any) -> str:
    """Return S, F, or empty for a stage in progress and for an unknown one."""
    stages = (
        item
        for directory in store.directories.values()
        if directory.entity_type_id == kind.id
        for item in store.of(directory.id)
    )
    return next((item.semantics for item in stages if item.status_id == stage), "")


def _pipeline(store: Store, kind: RecordType, sent: Any, before: Values) -> Any:
    numbers = [
        int(directory.category_id)
        for directory in store.directories.values()
        if directory.entity_type_id == kind.id and directory.category_id is not None
    ]
    if sent in (None, "", []):
        return min(numbers) if before["categoryId"] is None else before["categoryId"]
    if not str(sent).isdecimal() or int(sent) not in numbers:
        raise PortalError("Category is not available", code="CRM_FIELD_ERROR_CATEGORY_NOT_AVAILABLE")
    return int(sent)


def _invalid_value(title: str) -> PortalError:
    return PortalError(f'Invalid value for field "{title}"', code="CRM_FIELD_ERROR_VALUE_NOT_VALID")


def _refuse_missing(kind: RecordType, values: Values) -> None:
    """Raise PortalError if a required field is empty; custom fields are not checked."""
    required = [described for described in kind.fields if described.required and not described.custom]
    missing = [described.title for described in required if values[described.name] is None]
    if missing:
        raise PortalError(f'Required field "{missing[0]}" is not filled', code="CRM_FIELD_ERROR_REQUIRED")


def _empty(kind: RecordType) -> Values:
    """Return a new record before any write: only booleans have a default."""
    defaults: dict[str, Any] = {"boolean": "N"}
    return {
        described.name: [] if described.multiple else None if described.custom else defaults.get(described.kind)
        for described in kind.fields
    }
