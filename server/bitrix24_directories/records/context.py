"""Loads the context of a check: a record's type, fields, pipelines and lists of codes.

Reads through `directories`, in two batches with an empty cache; judges nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import anyio

from bitrix24_directories.directories.directories import Directories
from bitrix24_directories.directories.field_map import fields_of, has_fields, reads_of_fields, rows
from bitrix24_directories.directories.fields.fields import (
    FIRST_SMART_PROCESS,
    TYPE_NAMES,
    Field,
    RecordType,
    called,
    folded,
    number_in,
)
from bitrix24_directories.directories.models import Directory
from bitrix24_directories.directories.naming import SUGGESTIONS, nearest
from bitrix24_directories.directories.pipelines import completed, reads_to_complete
from bitrix24_directories.directories.reading.cache import Cached
from bitrix24_directories.directories.reading.cached_reader import FAILURE_SECONDS, Read, ReadRows
from bitrix24_directories.directories.reads import (
    CURRENCIES,
    OWNERS,
    TYPES,
    items_of,
    new_fields_of,
    pipelines_of,
    record_of,
)
from bitrix24_directories.rest import Bitrix24Error, ErrorKind, failure
from bitrix24_directories.text import shown_id

from .codes import CodeList, Pipeline
from .spelling import read_keys, style_of

_WITHOUT_PIPELINES = (1, 3, 4, 7)
_LISTED = 20
_SHOWN = 60
_CLOSE = 60


@dataclass(frozen=True)
class RecordContext:
    """Context of a check: one type of records, and the pipeline and stage of an existing record.

    `lists` has the directories by id, unknown ones empty; `currencies` is None if they cannot be read. `as_items` is
    true if the caller named the kind as `crm.item.*` does, `item(2)`.
    """

    type: RecordType
    fields: Sequence[Field]
    stage: Field | None
    pipelines: Sequence[Pipeline]
    lists: dict[str, CodeList]
    currencies: CodeList | None
    record_id: int | None
    record_pipeline: int | None
    record_stage: str | None
    as_items: bool
    _choices: dict[str, CodeList] = field(default_factory=dict)

    def choices(self, field: Field) -> CodeList:
        """Return the values of an enumeration; the list is built once for many records."""
        name = field.old_name or field.name
        if name not in self._choices:
            directory = Directory(entity_id=name, name=field.title, kind="enumeration")
            self._choices[name] = CodeList(directory, field.choices)
        return self._choices[name]


class RecordContextLoader:
    """Reads the context of the record type `entity`, as far as the field names `keys` need it."""

    def __init__(
        self, directories: Directories, entity: str, keys: Sequence[str], record_id: int | None, *, as_items: bool
    ) -> None:
        self._reader = directories.reader
        self._as_items = as_items or folded(entity).startswith("item(")
        self._entity, self._keys, self._record_id = entity, keys, record_id
        self._results: dict[Read[Any], ReadRows] = {}

    async def load(self) -> RecordContext:
        """Read the context. Raises Bitrix24Error: UNKNOWN_RECORD_TYPE, RECORD_NOT_FOUND."""
        number = number_in(self._entity)
        await self._read([TYPES, OWNERS, *(self._of_type(number) if number else ())])
        kind = self._type()
        if kind.id != number:
            # Read all stages and lists that may be needed along with the fields, to save a third batch.
            needed = [row for row in self._directories() if row.kind == "list" or row.entity_type_id == kind.id]
            ids = [directory.entity_id for directory in needed]
            stages = reads_to_complete(self._stages_of(kind))
            await self._read([*self._of_type(kind.id), CURRENCIES, *map(items_of, ids), *stages])
        if not rows(self._results, new_fields_of(kind.id)):  # the failure may be cached for long
            since = anyio.current_time() - FAILURE_SECONDS
            self._results |= await self._reader.get_many([new_fields_of(kind.id)], since=since)
        return await self._read_lists(kind)

    async def refresh(self, asked_at: float) -> RecordContext | None:
        """Read again all that was cached before `asked_at`; None if nothing was.

        Reads that several callers share may be older by the reader's `freshness_window`.
        """
        since = asked_at - self._reader.freshness_window
        old = [
            read
            for read, outcome in self._results.items()
            if (outcome.read_at < since if isinstance(outcome, Cached) else read.key[0] == "pipelines")
        ]
        if not old:
            return None
        self._results |= await self._reader.get_many(old, since=since)
        return await self._read_lists(self._type())

    async def _read_lists(self, kind: RecordType) -> RecordContext:
        """Read the lists that the fields of the type need, and build the context."""
        for read in reads_of_fields(kind.id):
            outcome = self._results[read]
            if isinstance(outcome, Bitrix24Error) and (outcome.retryable or read == new_fields_of(kind.id)):
                raise outcome
        fields = fields_of(self._results, kind.id)
        if not fields:
            raise failure("UNEXPECTED_ANSWER", http_status=200, detail=f"the fields of {kind.shown} are empty")
        needed: list[Read[Any]] = []  # lists of the fields' codes; for stages, the lists of all pipelines
        for key in read_keys(fields, self._keys, style_of(kind.id, fields, self._keys)):
            if key.field is None:
                continue
            if key.field.is_stage or key.field.name == "closed":
                stages = self._stages_of(kind)
                needed += [*map(items_of, (pipeline.entity_id for pipeline in stages)), *reads_to_complete(stages)]
            elif key.field.kind == "crm_currency":
                needed.append(CURRENCIES)
            else:
                needed += map(items_of, key.field.directories)
        await self._read(needed)
        pipelines = completed(self._stages_of(kind), self._results)
        directories = {directory.entity_id: directory for directory in (*self._directories(), *pipelines)}
        lists: dict[str, CodeList] = {}
        for read, outcome in self._results.items():
            if read.key[0] != "items":
                continue
            if isinstance(outcome, Bitrix24Error):
                if read in needed:
                    raise outcome
                continue  # it was read in advance
            entity_id = read.key[1]
            name = entity_id if outcome.rows else f"{entity_id} (not among the portal's directories)"
            unlisted = Directory(entity_id=entity_id, name=name, kind="list")  # or deleted
            lists[entity_id] = CodeList(directories.get(entity_id, unlisted), outcome.rows)
        return self._build_context(kind, fields, pipelines, lists, with_currencies=CURRENCIES in needed)

    async def _read(self, reads: Iterable[Read[Any]]) -> None:
        missing = [read for read in dict.fromkeys(reads) if read not in self._results]
        self._results |= await self._reader.get_many(missing)

    def _of_type(self, type_id: int) -> list[Read[Any]]:
        reads: list[Read[Any]] = [*reads_of_fields(type_id)]
        # The cached list of directories may contain the names of the type's pipelines.
        cached = self._reader.cached([TYPES]).get(TYPES)
        directories = cached.rows if cached and type_id >= FIRST_SMART_PROCESS else []
        of_type = [directory for directory in directories if directory.entity_type_id == type_id]
        stages = [directory for directory in of_type if directory.category_id is not None]
        if type_id not in _WITHOUT_PIPELINES and not (stages and all(directory.pipeline for directory in stages)):
            reads.append(pipelines_of(type_id))
        if self._record_id is not None:
            reads.append(record_of(type_id, self._record_id))
        return reads

    def _type(self) -> RecordType:
        """Return the kind of records that `entity` names. Raises Bitrix24Error for none or several."""
        kinds: list[RecordType] = [kind for kind in rows(self._results, OWNERS) if has_fields(kind.id)]
        kinds += [RecordType(type_id) for type_id in TYPE_NAMES if all(kind.id != type_id for kind in kinds)]
        matches = called(self._entity, kinds)
        if len(matches) == 1:
            return matches[0]
        if isinstance(error := self._results[OWNERS], Bitrix24Error):
            number = number_in(self._entity)
            if number is None:
                raise error
            return RecordType(number)
        near = nearest(self._entity, kinds, lambda kind: kind.names, most=SUGGESTIONS, close=_CLOSE)
        nearest_first = [*near, *(kind for kind in kinds if kind not in near)]
        titled = [f"{kind.shown} ({kind.id})" for kind in matches or nearest_first]
        choices = ", ".join(titled[:_LISTED]) + (f", and {len(titled) - _LISTED} more" if len(titled) > _LISTED else "")
        name = shown_id(self._entity, _SHOWN)
        happened = f'There is no record type "{name}"'
        todo = f"Use one of these, by name or number: {choices}."
        if matches:
            happened = f'Several kinds of records are called "{name}": {choices}'
            todo = "Ask the user which of them is meant, unless you know, and call again with its number."
        raise Bitrix24Error("UNKNOWN_RECORD_TYPE", ErrorKind(happened, todo, "input"))

    def _directories(self) -> list[Directory]:
        if isinstance(error := self._results[TYPES], Bitrix24Error):
            raise error
        return rows(self._results, TYPES)

    def _stages_of(self, kind: RecordType) -> list[Directory]:
        return [directory for directory in self._directories() if directory.entity_type_id == kind.id]

    def _build_context(
        self,
        kind: RecordType,
        fields: Sequence[Field],
        pipelines: Sequence[Directory],
        lists: dict[str, CodeList],
        *,
        with_currencies: bool,
    ) -> RecordContext:
        """Build the context with the record's pipeline and stage; a new record has neither."""
        record: dict[str, Any] = {}
        if self._record_id is not None:
            outcome = self._results[record_of(kind.id, self._record_id)]
            if isinstance(outcome, Bitrix24Error):
                raise outcome
            rows_of_record = [row for row in outcome.rows if str(row.get("id")) == str(self._record_id)]
            if not rows_of_record:
                entry = ErrorKind(
                    f"There is no {kind.shown} {self._record_id}, or the webhook's user may not read it",
                    "Make sure of the record's id with the user; leave recordId out to check a new record.",
                    "input",
                )
                raise Bitrix24Error("RECORD_NOT_FOUND", entry)
            record = rows_of_record[0]
        currencies = self._results.get(CURRENCIES) if with_currencies else None
        if isinstance(currencies, Bitrix24Error) and currencies.retryable:
            raise currencies
        currency_directory = Directory(entity_id="currencies", name="the portal's currencies", kind="list")
        stage = next((field for field in fields if field.is_stage), None)
        defaults = stage.directories if stage is not None else ()
        items = {entity_id: codes.items for entity_id, codes in lists.items()}
        number = str(record.get("categoryId"))
        return RecordContext(
            type=kind,
            fields=fields,
            stage=stage,
            pipelines=[Pipeline(row, items.get(row.entity_id, ()), row.entity_id in defaults) for row in pipelines],
            lists=lists,
            currencies=CodeList(currency_directory, currencies.rows) if isinstance(currencies, Cached) else None,
            record_id=self._record_id,
            record_pipeline=int(number) if number.isdecimal() else None,
            record_stage=record.get("stageId"),
            as_items=self._as_items,
        )
