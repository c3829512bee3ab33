"""What a record is checked against: its type, fields, pipelines and lists of codes, read in two batches from cold.

Reads through `directories`; judges nothing.
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
class Knowledge:
    """All that there is to know about one type of records, and about the record's pipeline where it exists.

    `lists` has the directories by id, an unknown one empty; `currencies` is None where they cannot be read. `as_items`
    tells that the kind was named as `crm.item.*` names it, `item(2)`.
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

    def choices(self, of: Field) -> CodeList:
        """The values of an enumeration; made once, for many records."""
        name = of.old_name or of.name
        if name not in self._choices:
            directory = Directory(entity_id=name, name=of.title, kind="enumeration")
            self._choices[name] = CodeList(directory, of.choices)
        return self._choices[name]


class Gathering:
    """Reads what is known about `entity` as far as `keys`, the names of fields, need it."""

    def __init__(
        self, directories: Directories, entity: str, keys: Sequence[str], record_id: int | None, *, as_items: bool
    ) -> None:
        self._reader = directories.reader
        self._as_items = as_items or folded(entity).startswith("item(")
        self._entity, self._keys, self._record_id = entity, keys, record_id
        self._found: dict[Read[Any], ReadRows] = {}

    async def gather(self) -> Knowledge:
        """Raises Bitrix24Error: UNKNOWN_RECORD_TYPE, RECORD_NOT_FOUND, and what reading fails with."""
        number = number_in(self._entity)
        await self._read([TYPES, OWNERS, *(self._of_type(number) if number else ())])
        kind = self._type()
        if kind.id != number:
            # Whatever may be needed of its stages and of all lists is read along, to spare a third batch.
            ids = [one.entity_id for one in self._directories() if one.kind == "list" or one.entity_type_id == kind.id]
            stages = reads_to_complete(self._stages_of(kind))
            await self._read([*self._of_type(kind.id), CURRENCIES, *map(items_of, ids), *stages])
        if not rows(self._found, new_fields_of(kind.id)):  # it may be kept for long that they could not be had
            since = anyio.current_time() - FAILURE_SECONDS
            self._found |= await self._reader.get_many([new_fields_of(kind.id)], since=since)
        return await self._rest(kind)

    async def gather_again(self, asked_at: float) -> Knowledge | None:
        """The same with all that was kept before `asked_at` read anew; None where nothing was.

        What several callers share may have been read for another a moment before.
        """
        since = asked_at - self._reader.freshness_window
        old = [
            read
            for read, outcome in self._found.items()
            if (outcome.read_at < since if isinstance(outcome, Cached) else read.key[0] == "pipelines")
        ]
        if not old:
            return None
        self._found |= await self._reader.get_many(old, since=since)
        return await self._rest(self._type())

    async def _rest(self, kind: RecordType) -> Knowledge:
        """What the fields of the type lead to, read where it is not found yet."""
        for read in reads_of_fields(kind.id):
            outcome = self._found[read]
            if isinstance(outcome, Bitrix24Error) and (outcome.retryable or read == new_fields_of(kind.id)):
                raise outcome
        fields = fields_of(self._found, kind.id)
        if not fields:
            raise failure("UNEXPECTED_ANSWER", http_status=200, detail=f"the fields of {kind.shown} are empty")
        needed: list[Read[Any]] = []  # the lists that the fields take codes from; of stages those of all pipelines
        for key in read_keys(fields, self._keys, style_of(kind.id, fields, self._keys)):
            if key.field is None:
                continue
            if key.field.is_stage or key.field.name == "closed":
                stages = self._stages_of(kind)
                needed += [*map(items_of, (one.entity_id for one in stages)), *reads_to_complete(stages)]
            elif key.field.kind == "crm_currency":
                needed.append(CURRENCIES)
            else:
                needed += map(items_of, key.field.directories)
        await self._read(needed)
        pipelines = completed(self._stages_of(kind), self._found)
        known = {one.entity_id: one for one in (*self._directories(), *pipelines)}
        lists: dict[str, CodeList] = {}
        for read, outcome in self._found.items():
            if read.key[0] != "items":
                continue
            if isinstance(outcome, Bitrix24Error):
                if read in needed:
                    raise outcome
                continue  # it was read for the case that it might be needed
            entity_id = read.key[1]
            name = entity_id if outcome.rows else f"{entity_id} (not among the portal's directories)"
            unlisted = Directory(entity_id=entity_id, name=name, kind="list")  # or gone
            lists[entity_id] = CodeList(known.get(entity_id, unlisted), outcome.rows)
        return self._knowledge(kind, fields, pipelines, lists, with_currencies=CURRENCIES in needed)

    async def _read(self, reads: Iterable[Read[Any]]) -> None:
        self._found |= await self._reader.get_many([read for read in dict.fromkeys(reads) if read not in self._found])

    def _of_type(self, type_id: int) -> list[Read[Any]]:
        reads: list[Read[Any]] = [*reads_of_fields(type_id)]
        # The list of directories may be known to have the names of the type's pipelines.
        known = self._reader.cached([TYPES]).get(TYPES)
        directories = known.rows if known and type_id >= FIRST_SMART_PROCESS else []
        stages = [one for one in directories if one.entity_type_id == type_id and one.category_id is not None]
        if type_id not in _WITHOUT_PIPELINES and not (stages and all(one.pipeline for one in stages)):
            reads.append(pipelines_of(type_id))
        if self._record_id is not None:
            reads.append(record_of(type_id, self._record_id))
        return reads

    def _type(self) -> RecordType:
        """The kind of records that `entity` names. Raises Bitrix24Error where it names none, or several."""
        known: list[RecordType] = [one for one in rows(self._found, OWNERS) if has_fields(one.id)]
        known += [RecordType(type_id) for type_id in TYPE_NAMES if all(one.id != type_id for one in known)]
        found = called(self._entity, known)
        if len(found) == 1:
            return found[0]
        if isinstance(error := self._found[OWNERS], Bitrix24Error):
            number = number_in(self._entity)
            if number is None:
                raise error
            return RecordType(number)
        near = nearest(self._entity, known, lambda one: one.names, most=SUGGESTIONS, close=_CLOSE)
        titled = [f"{one.shown} ({one.id})" for one in found or [*near, *(one for one in known if one not in near)]]
        listed = ", ".join(titled[:_LISTED]) + (f", and {len(titled) - _LISTED} more" if len(titled) > _LISTED else "")
        name = shown_id(self._entity, _SHOWN)
        happened = f'This portal has no kind of records "{name}"'
        todo = f"Use one of these, by name or number: {listed}."
        if found:
            happened = f'Several kinds of records are called "{name}": {listed}'
            todo = "Ask the user which of them is meant, unless you know, and call again with its number."
        raise Bitrix24Error("UNKNOWN_RECORD_TYPE", ErrorKind(happened, todo, "input"))

    def _directories(self) -> list[Directory]:
        if isinstance(error := self._found[TYPES], Bitrix24Error):
            raise error
        return rows(self._found, TYPES)

    def _stages_of(self, kind: RecordType) -> list[Directory]:
        return [one for one in self._directories() if one.entity_type_id == kind.id]

    def _knowledge(
        self,
        kind: RecordType,
        fields: Sequence[Field],
        pipelines: Sequence[Directory],
        lists: dict[str, CodeList],
        *,
        with_currencies: bool,
    ) -> Knowledge:
        """What is known once all is read, with the pipeline and the stage of the record; a new one has neither yet."""
        record: dict[str, Any] = {}
        if self._record_id is not None:
            outcome = self._found[record_of(kind.id, self._record_id)]
            if isinstance(outcome, Bitrix24Error):
                raise outcome
            found = [row for row in outcome.rows if str(row.get("id")) == str(self._record_id)]
            if not found:
                entry = ErrorKind(
                    f"There is no {kind.shown} {self._record_id}, or the webhook's user may not read it",
                    "Make sure of the record's id with the user; leave recordId out to check a new record.",
                    "input",
                )
                raise Bitrix24Error("RECORD_NOT_FOUND", entry)
            record = found[0]
        currencies = self._found.get(CURRENCIES) if with_currencies else None
        if isinstance(currencies, Bitrix24Error) and currencies.retryable:
            raise currencies
        listed = Directory(entity_id="currencies", name="the portal's currencies", kind="list")
        stage = next((one for one in fields if one.is_stage), None)
        defaults = stage.directories if stage is not None else ()
        items = {entity_id: codes.items for entity_id, codes in lists.items()}
        number = str(record.get("categoryId"))
        return Knowledge(
            type=kind,
            fields=fields,
            stage=stage,
            pipelines=[Pipeline(one, items.get(one.entity_id, ()), one.entity_id in defaults) for one in pipelines],
            lists=lists,
            currencies=CodeList(listed, currencies.rows) if isinstance(currencies, Cached) else None,
            record_id=self._record_id,
            record_pipeline=int(number) if number.isdecimal() else None,
            record_stage=record.get("stageId"),
            as_items=self._as_items,
        )
