"""Reads the portal's field map: the kinds of records, and the fields of each, in as few batches as can be."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import anyio

from bitrix24_directories.rest import BATCH_LENGTH, Bitrix24Error

from .fields.fields import FIRST_SMART_PROCESS, NOTHING_READ, OLD_METHODS, TYPE_NAMES, Field, FieldMap, RecordType
from .fields.rows import both_spellings
from .reading.cache import Cached
from .reading.cached_reader import CachedReader, Read, ReadRows
from .reads import OWNERS, new_fields_of, old_fields_of

PATIENCE = 5.0
"""Seconds that an answer waits for fields that only add to it."""

_LATE_SECONDS = 60.0  # for which answers do without what came too late

_RECENT_SECONDS = 300.0  # seconds for which an answer names the same fields, although nothing else may be cached

ON_EVERY_PORTAL = (1, 2, 3, 4, 7, 31)
"""Types whose fields can be asked for before it is known which types there are."""

Found = dict[Read[Any], ReadRows]
Following = Callable[[Found], Iterable[Read[Any]]]
"""From what was found to what is to be read next."""

_DISPENSABLE = {"fields", "old fields", "pipelines", "meanings"}
"""What the keys of reads begin with whose refusal is as good as an empty answer."""

_NO_ROWS: list[Any] = []


@dataclass
class _Built:
    """The last field map, the rows that it was made of, and whether it lacks nothing that could be had another time."""

    of: list[list[Any]] = field(default_factory=list)
    map: FieldMap = NOTHING_READ
    whole: bool = False
    late_until: float = -math.inf
    """The time (anyio's clock) until which nobody waits again for what came too late."""
    lock: anyio.Lock = field(default_factory=anyio.Lock)
    """So that calls at the same time read it once."""


class Fields:
    """The field map of the portal behind `reader`; what was read is cached as directories are."""

    def __init__(self, reader: CachedReader) -> None:
        self._reader = reader

    @property
    def _last(self) -> _Built:
        memos = self._reader.memos
        if "fields" not in memos:
            memos["fields"] = _Built()
        built: _Built = memos["fields"]
        return built

    def recent(self) -> FieldMap | None:
        """The last whole field map, if it is not older than the cache's default; costs nothing."""
        last = self._last
        return last.map if last.whole and anyio.current_time() - last.map.read_at < _RECENT_SECONDS else None

    def cached(self) -> FieldMap | None:
        """The field map, if all of it was read lately, so that it needs no request now."""
        found: Found = self._reader.cached_outcomes(reads_of_map(ON_EVERY_PORTAL))
        found |= self._reader.cached_outcomes(map(new_fields_of, _other_types(found)))
        if len(found) < len(reads_of_map((*ON_EVERY_PORTAL, *_other_types(found)))):
            return None
        return self._build(found)

    async def read_with(
        self, reads: Iterable[Read[Any]], following: Following, *, fresh: bool = False
    ) -> tuple[FieldMap, Found]:
        """The field map, and what came of `reads`, which go out with it, and of those `following` from them, as far as
        one request holds them beside the fields of smart processes.

        Types whose fields the portal refuses, or does not give in time, have none. Raises Bitrix24Error when nothing at
        all can be read.
        """
        if not fresh and (known := self.cached()) is not None:
            return known, await self._read_besides(known, list(reads), following)
        async with self._last.lock:
            found = await self._reader.get_many([*reads_of_map(ON_EVERY_PORTAL), *reads], fresh=fresh)
            others: list[Read[Any]] = [new_fields_of(type_id) for type_id in _other_types(found)]
            more = [*others, *self._after(found, following)]
            found |= await self._read_more(more[: max(BATCH_LENGTH, len(others))], fresh=fresh)
            self._store_refusals(found)
            return self._build(found), found

    async def _read_besides(self, known: FieldMap, reads: list[Read[Any]], following: Following) -> Found:
        """What came of reads beside a field map that is cached; calls at the same time make them once."""
        room = max(0, BATCH_LENGTH - sum(kind.id not in ON_EVERY_PORTAL for kind in known.types))
        found = self._reader.cached_outcomes(reads)
        missing = [read for read in reads if read not in found]
        if not missing:
            found |= self._reader.cached_outcomes(more := self._after(found, following)[:room])
            missing = [read for read in more if read not in found]
        if not missing:
            return found
        async with self._last.lock if len(missing) > 1 else contextlib.nullcontext():  # a single call is shared anyway
            found = await self._reader.get_many(reads)
            self._store_refusals(found)
            return found | await self._read_more(self._after(found, following)[:room], fresh=False)

    def _after(self, found: Found, following: Following) -> list[Read[Any]]:
        """What follows from what was found; nothing on portals where each costs a request of its own."""
        return [*following(found)] if self._reader.client.batches else []

    async def prefetch(self, reads: Iterable[Read[Any]], following: Following) -> None:
        """Store what the field map is made of, and what `reads` and those `following` from what they found give, as far
        as two requests can hold it. Raises Bitrix24Error where a request fails.
        """
        async with self._last.lock:
            found = await self._reader.prefetch([*reads_of_map(ON_EVERY_PORTAL), *reads][:BATCH_LENGTH])
            more = [*map(new_fields_of, _other_types(found)), *following(found)]
            found |= await self._reader.prefetch(more[:BATCH_LENGTH])
            self._store_refusals(found)
            self._build(found)

    def _build(self, found: Found) -> FieldMap:
        """The last map, as long as the cache gives the same rows.

        It is whole if nothing is missing that could be had another time, or by another caller who shares the map.
        """
        last = self._last  # of the owner by now
        type_ids = [*ON_EVERY_PORTAL, *_other_types(found)]
        reads = reads_of_map(type_ids)
        made_of = [rows(found, read) for read in reads]
        if not are_same(made_of, last.of):
            titled = {one.id: one for one in rows(found, OWNERS)}
            types = [titled.get(type_id, RecordType(type_id)) for type_id in type_ids]
            read_at = min((outcome.read_at for outcome in found.values() if isinstance(outcome, Cached)), default=0.0)
            last.map = FieldMap(types, {type_id: fields_of(found, type_id) for type_id in type_ids}, read_at)
            last.of = made_of
        errors = [one for read in reads if isinstance(one := found.get(read), Bitrix24Error)]
        can_be_had = any(self._reader.is_shared or one.retryable for one in errors)
        last.whole = all(read in found for read in reads) and not can_be_had
        return last.map

    async def _read_more(self, reads: list[Read[Any]], *, fresh: bool) -> Found:
        """What came of reads that the answer can do without; nothing of those that take too long."""
        if anyio.current_time() < self._last.late_until and not fresh:
            return self._reader.cached_outcomes(reads)
        with anyio.move_on_after(PATIENCE):
            try:
                found = await self._reader.get_many(reads, fresh=fresh)
            except Bitrix24Error as exc:
                found = dict.fromkeys(reads, exc)
            self._store_refusals(found)
            return found
        self._last.late_until = anyio.current_time() + _LATE_SECONDS
        return {}

    def _store_refusals(self, found: Found) -> None:
        """Store that there is nothing to be had, or answers would ask for it again and again."""
        for read, outcome in found.items():
            if isinstance(outcome, Bitrix24Error) and not outcome.retryable and read.key[0] in _DISPENSABLE:
                self._reader.store_refusal(read, outcome)


def are_same(parts: Sequence[object], others: Sequence[object]) -> bool:
    """Whether the very same objects are meant: rows that are read apart may be equal in all but time."""
    return len(parts) == len(others) and all(part is other for part, other in zip(parts, others, strict=True))


def has_fields(type_id: int) -> bool:
    """Whether `crm.item.fields` knows a type: `crm.enum.ownertype` lists activities and the like, too."""
    return type_id in TYPE_NAMES or type_id >= FIRST_SMART_PROCESS


def other_types(owners: Iterable[RecordType]) -> list[int]:
    """Those of the kinds of records that a portal has besides those of every portal, and that have fields."""
    return [one.id for one in owners if one.id not in ON_EVERY_PORTAL and has_fields(one.id)]


def _other_types(found: Found) -> list[int]:
    return other_types(rows(found, OWNERS))


def reads_of_fields(type_id: int) -> list[Read[Field]]:
    """What tells all fields of a type."""
    return [new_fields_of(type_id)] + ([old_fields_of(type_id)] if type_id in OLD_METHODS else [])


def reads_of_map(type_ids: Iterable[int]) -> list[Read[Any]]:
    """What tells all types, and all fields of some."""
    reads: list[Read[Any]] = [OWNERS]
    for type_id in type_ids:
        reads += reads_of_fields(type_id)
    return reads


def fields_of(found: Mapping[Read[Any], ReadRows], type_id: int) -> list[Field]:
    """The fields of a type out of what `reads_of_fields` found; none where they could not be read."""
    new = rows(found, new_fields_of(type_id))
    old = rows(found, old_fields_of(type_id)) if type_id in OLD_METHODS else []
    return both_spellings(type_id, new, old) if new else []


def rows(found: Mapping[Read[Any], ReadRows], read: Read[Any]) -> list[Any]:
    """What was found for a read; nothing where it failed."""
    outcome = found.get(read)
    return outcome.rows if isinstance(outcome, Cached) else _NO_ROWS  # the same each time, for what compares rows
