"""Reads a portal's kinds of records and their fields in as few batches as possible."""

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
"""Seconds that an answer waits for optional fields."""

_LATE_SECONDS = 60.0  # seconds for which answers do without late reads

_RECENT_SECONDS = 300.0  # seconds for which answers use the same fields, even if nothing else is cached

ON_EVERY_PORTAL = (1, 2, 3, 4, 7, 31)
"""Types whose fields can be read before the list of types."""

Results = dict[Read[Any], ReadRows]
Following = Callable[[Results], Iterable[Read[Any]]]
"""Returns the next reads from the results so far."""

_DISPENSABLE = {"fields", "old fields", "pipelines", "meanings"}
"""Starts of the keys of reads whose refusal counts as an empty answer."""

_NO_ROWS: list[Any] = []


@dataclass
class _MapState:
    """The last field map, its source rows, and whether it is as complete as it can ever be."""

    sources: list[list[Any]] = field(default_factory=list)
    map: FieldMap = NOTHING_READ
    whole: bool = False
    late_until: float = -math.inf
    """The time (anyio's clock) until which no answer waits again for late reads."""
    lock: anyio.Lock = field(default_factory=anyio.Lock)
    """Makes concurrent calls read the map once."""


class Fields:
    """The field map of the portal behind `reader`, cached like directories."""

    def __init__(self, reader: CachedReader) -> None:
        self._reader = reader

    @property
    def _last(self) -> _MapState:
        memos = self._reader.memos
        if "fields" not in memos:
            memos["fields"] = _MapState()
        state: _MapState = memos["fields"]
        return state

    def recent(self) -> FieldMap | None:
        """Return the last whole field map if it is not older than the cache's default, at no cost."""
        last = self._last
        return last.map if last.whole and anyio.current_time() - last.map.read_at < _RECENT_SECONDS else None

    def cached(self) -> FieldMap | None:
        """Return the field map if all of it is cached, so that it needs no request now."""
        results: Results = self._reader.cached_outcomes(reads_of_map(ON_EVERY_PORTAL))
        results |= self._reader.cached_outcomes(map(new_fields_of, _other_types(results)))
        if len(results) < len(reads_of_map((*ON_EVERY_PORTAL, *_other_types(results)))):
            return None
        return self._build(results)

    async def read_with(
        self, reads: Iterable[Read[Any]], following: Following, *, fresh: bool = False
    ) -> tuple[FieldMap, Results]:
        """Return the field map and the results of `reads` and of those `following` from them.

        `reads` go out with the field map; the reads `following` from them if one request holds them beside the fields
        of smart processes. Types whose fields the portal refuses, or sends too late, have none. Raises Bitrix24Error if
        nothing at all can be read.
        """
        if not fresh and (cached := self.cached()) is not None:
            return cached, await self._read_besides(cached, list(reads), following)
        async with self._last.lock:
            results = await self._reader.get_many([*reads_of_map(ON_EVERY_PORTAL), *reads], fresh=fresh)
            new_fields: list[Read[Any]] = [new_fields_of(type_id) for type_id in _other_types(results)]
            more = [*new_fields, *self._reads_after(results, following)]
            results |= await self._read_more(more[: max(BATCH_LENGTH, len(new_fields))], fresh=fresh)
            self._store_refusals(results)
            return self._build(results), results

    async def _read_besides(self, field_map: FieldMap, reads: list[Read[Any]], following: Following) -> Results:
        """Return the results of reads beside a cached field map; concurrent calls make them once."""
        limit = max(0, BATCH_LENGTH - sum(kind.id not in ON_EVERY_PORTAL for kind in field_map.types))
        results = self._reader.cached_outcomes(reads)
        missing = [read for read in reads if read not in results]
        if not missing:
            results |= self._reader.cached_outcomes(more := self._reads_after(results, following)[:limit])
            missing = [read for read in more if read not in results]
        if not missing:
            return results
        async with self._last.lock if len(missing) > 1 else contextlib.nullcontext():  # a single call is shared anyway
            results = await self._reader.get_many(reads)
            self._store_refusals(results)
            return results | await self._read_more(self._reads_after(results, following)[:limit], fresh=False)

    def _reads_after(self, results: Results, following: Following) -> list[Read[Any]]:
        """Return the reads that follow from results; none if each would cost its own request."""
        return [*following(results)] if self._reader.client.batches else []

    async def prefetch(self, reads: Iterable[Read[Any]], following: Following) -> None:
        """Cache the parts of the field map, `reads`, and the reads `following` from them.
        Two requests at most; reads beyond that are left out. Raises Bitrix24Error if a request fails."""
        async with self._last.lock:
            results = await self._reader.prefetch([*reads_of_map(ON_EVERY_PORTAL), *reads][:BATCH_LENGTH])
            more = [*map(new_fields_of, _other_types(results)), *following(results)]
            results |= await self._reader.prefetch(more[:BATCH_LENGTH])
            self._store_refusals(results)
            self._build(results)

    def _build(self, results: Results) -> FieldMap:
        """Return the last map if the cache still gives the same rows, else a new one.

        It is whole if it lacks nothing that a later read could give, or another caller who shares the map.
        """
        last = self._last  # of the current owner
        type_ids = [*ON_EVERY_PORTAL, *_other_types(results)]
        reads = reads_of_map(type_ids)
        sources = [rows(results, read) for read in reads]
        if not are_same(sources, last.sources):
            titled = {owner.id: owner for owner in rows(results, OWNERS)}
            types = [titled.get(type_id, RecordType(type_id)) for type_id in type_ids]
            read_at = min((outcome.read_at for outcome in results.values() if isinstance(outcome, Cached)), default=0.0)
            last.map = FieldMap(types, {type_id: fields_of(results, type_id) for type_id in type_ids}, read_at)
            last.sources = sources
        errors = [error for read in reads if isinstance(error := results.get(read), Bitrix24Error)]
        can_change = any(self._reader.is_shared or error.retryable for error in errors)
        last.whole = all(read in results for read in reads) and not can_change
        return last.map

    async def _read_more(self, reads: list[Read[Any]], *, fresh: bool) -> Results:
        """Return the results of reads that the answer can do without; none if they take too long."""
        if anyio.current_time() < self._last.late_until and not fresh:
            return self._reader.cached_outcomes(reads)
        with anyio.move_on_after(PATIENCE):
            try:
                results = await self._reader.get_many(reads, fresh=fresh)
            except Bitrix24Error as exc:
                results = dict.fromkeys(reads, exc)
            self._store_refusals(results)
            return results
        self._last.late_until = anyio.current_time() + _LATE_SECONDS
        return {}

    def _store_refusals(self, results: Results) -> None:
        """Cache permanent refusals, so that not every answer asks for them again."""
        for read, outcome in results.items():
            if isinstance(outcome, Bitrix24Error) and not outcome.retryable and read.key[0] in _DISPENSABLE:
                self._reader.store_refusal(read, outcome)


def are_same(parts: Sequence[object], other_parts: Sequence[object]) -> bool:
    """True if all parts are the very same objects: rows read apart may be equal but for time."""
    return len(parts) == len(other_parts) and all(part is other for part, other in zip(parts, other_parts, strict=True))


def has_fields(type_id: int) -> bool:
    """True if `crm.item.fields` knows a type; `crm.enum.ownertype` also lists activities etc."""
    return type_id in TYPE_NAMES or type_id >= FIRST_SMART_PROCESS


def other_types(owners: Iterable[RecordType]) -> list[int]:
    """Return the types with fields that this portal has beyond those of every portal."""
    return [owner.id for owner in owners if owner.id not in ON_EVERY_PORTAL and has_fields(owner.id)]


def _other_types(results: Results) -> list[int]:
    return other_types(rows(results, OWNERS))


def reads_of_fields(type_id: int) -> list[Read[Field]]:
    """Return the reads that give all fields of a type."""
    return [new_fields_of(type_id)] + ([old_fields_of(type_id)] if type_id in OLD_METHODS else [])


def reads_of_map(type_ids: Iterable[int]) -> list[Read[Any]]:
    """Return the reads that give all types, and all fields of some."""
    reads: list[Read[Any]] = [OWNERS]
    for type_id in type_ids:
        reads += reads_of_fields(type_id)
    return reads


def fields_of(results: Mapping[Read[Any], ReadRows], type_id: int) -> list[Field]:
    """Return a type's fields from the results of `reads_of_fields`; none if they failed."""
    new = rows(results, new_fields_of(type_id))
    old = rows(results, old_fields_of(type_id)) if type_id in OLD_METHODS else []
    return both_spellings(type_id, new, old) if new else []


def rows(results: Mapping[Read[Any], ReadRows], read: Read[Any]) -> list[Any]:
    """Return the rows of a read; none if it failed."""
    outcome = results.get(read)
    return outcome.rows if isinstance(outcome, Cached) else _NO_ROWS  # always the same object, for are_same
